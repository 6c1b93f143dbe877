"""What the log says of requests and providers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from arbstr.bus import EventBus
from arbstr.events import (
    Alert,
    AlertCleared,
    AlertRaised,
    AttemptFailed,
    AttemptStarted,
    ChargeBooked,
    Event,
    FirstByte,
    OverchargeFound,
    ProviderHealthChanged,
    RequestFinished,
    StreamProgress,
)
from arbstr.logs.access_log import AccessLog
from arbstr.logs.ring import LogRing
from arbstr.logs.setup import configure
from arbstr.redaction import Redactor, Secret
from arbstr.types import Attempt, RequestRecord
from tests.support.patience import PATIENCE_S

KEY = "sk-5ecret0123456789"


def finished(**changes: Any) -> RequestFinished:
    record: dict[str, Any] = {
        "request_id": "r-1",
        "received_at_ms": 1_700_000_000_000,
        "model": "gpt-4o",
        "streaming": False,
        "success": True,
        "latency_ms": 310,
        "provider": "alpha",
        "policy": "code",
        "input_tokens": 1200,
        "output_tokens": 900,
        "cost_msats": 420,
    }
    return RequestFinished(RequestRecord(**record | changes))


def said(*events: Event, spec: str = "info", log_requests: bool = True) -> list[str]:
    """The lines for some events, as the dashboard sees them, with their levels."""
    ring, bus = LogRing(), EventBus()
    logs = configure(spec, stderr=False, ring=ring, redactor=Redactor([Secret(KEY)]))
    request_log = AccessLog(bus, logs, log_requests=log_requests, clock=lambda: 1_700_000_000)
    for event in events:
        bus.publish(event)
    request_log.close()
    logs.close()
    return [f"{line.level} {line.logger} {line.text}" for line in ring.since()]


def test_a_finished_request_is_a_line() -> None:
    (line,) = said(finished())
    assert line == (
        "20 arbstr.requests request id=r-1 status=200 sats=0.42 ms=310 model=gpt-4o provider=alpha policy=code "
        "in=1200 out=900 retries=0"
    )


def test_what_is_unknown_of_a_request_is_left_out() -> None:
    (line,) = said(finished(policy=None, input_tokens=None, output_tokens=None, cost_msats=None))
    assert line == "20 arbstr.requests request id=r-1 status=200 ms=310 model=gpt-4o provider=alpha retries=0"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"streaming": True, "stream_duration_ms": 5100},
        {"client": "ci", "policy": None, "cost_msats": 0},
        {"model": 'a "model" of = signs'},
        {"attempts": (Attempt("alpha", 0, 10, "connect"),)},
        {"success": False, "error_status": 402, "error_message": "no money"},
        {"input_tokens": None},
    ],
)
def test_the_line_of_a_usual_request_is_like_any_other(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    event = finished(**({"attempts": (Attempt("alpha", 0, 310),)} | changes))
    short = said(event)
    monkeypatch.setattr(AccessLog, "_in_short", lambda self, event: None)
    assert said(event) == short


def test_a_failed_request_says_how_and_after_how_many_failed_attempts() -> None:
    attempts = (Attempt("alpha", 0, 5, "status", 503), Attempt("alpha", 1005, 5, "status", 503))
    (line,) = said(finished(success=False, error_status=502, error_message="all failed", attempts=attempts))
    assert "status=502" in line
    assert line.endswith('retries=2 error="all failed"')


def test_a_streams_whole_duration_is_logged() -> None:
    assert "out=900 stream_ms=1200" in said(finished(streaming=True, stream_duration_ms=1200))[0]


def test_a_key_in_one_of_many_lines_is_masked_there() -> None:
    before, masked, after = said(finished(), finished(model=f"x-{KEY}"), finished())
    assert KEY not in masked
    assert "model=x-sk-5ec...***" in masked
    assert before == after == said(finished())[0]


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            AttemptFailed("r-1", "alpha", "status", 503, "try later", 12, 1000),
            (
                "30 arbstr.requests attempt failed id=r-1 provider=alpha failure=status status=503 "
                'error="try later" ms=12 retry_in_ms=1000'
            ),
        ),
        (
            ProviderHealthChanged("alpha", 1, "closed", "open", "3 failures in a row", 31),
            (
                "30 arbstr.providers health changed provider=alpha from=closed to=open in_rotation=true "
                'reason="3 failures in a row"'
            ),
        ),
        (
            OverchargeFound("alpha", "gpt-4o", 1.23456, 12_423, 10_063),
            (
                "30 arbstr.providers charges more than its rates say provider=alpha model=gpt-4o "
                "charged_sats=12.423 computed_sats=10.063 ratio=1.235"
            ),
        ),
        (
            AlertRaised(Alert("budget", "global", 1, 2, "day", 80, 8_000_000, 10_000_000)),
            "30 arbstr.alerts alert: budget scope=global period=day percent=80 sats=8000.0 limit_sats=10000.0",
        ),
        (
            AlertRaised(Alert("balance", "alpha", 1, msats=20_000, hours=1.5)),
            "30 arbstr.alerts alert: balance ends soon, top it up provider=alpha sats=20.0 hours=1.5",
        ),
        (
            AlertRaised(Alert("price_jump", "alpha", 1, models=("gpt-4o", "m"))),
            (
                "30 arbstr.alerts alert: prices jumped tenfold, doubted until they are read twice provider=alpha "
                'models="gpt-4o m"'
            ),
        ),
        (
            AlertRaised(Alert("unexplained_charge", "alpha", 1, msats=455)),
            "30 arbstr.alerts alert: took sats that no request explains provider=alpha sats=0.455",
        ),
    ],
)
def test_what_an_operator_must_know_is_a_warning(event: Event, line: str) -> None:
    assert said(event) == [line]
    assert said(event, log_requests=False) == [line]


def test_the_end_of_an_alert_is_worth_a_line() -> None:
    assert said(AlertCleared("provider_down", "alpha", 1)) == [
        "20 arbstr.alerts no longer an alert: provider down provider=alpha"
    ]


def test_the_small_steps_of_a_request_are_not_logged() -> None:
    assert said(AttemptStarted("r-1", "alpha"), FirstByte("r-1", "alpha", 3), StreamProgress("r-1", 5)) == []


def test_lines_for_requests_can_be_left_out() -> None:
    assert said(finished(), log_requests=False) == []
    assert said(finished(), spec="warning") == []
    assert said(finished(), spec="warning,arbstr.requests=info") != []


def test_a_models_name_cannot_forge_a_line_and_a_key_is_masked() -> None:
    (line,) = said(finished(model=f"x status=200\n2026 INFO fake {KEY}"))
    assert line.count("\n") == 0
    assert 'model="x status=200\N{REPLACEMENT CHARACTER}2026 INFO fake sk-5ec...***"' in line


def test_events_that_came_too_fast_are_counted() -> None:
    ring, bus = LogRing(), EventBus()
    logs = configure("warning", stderr=False, ring=ring)
    request_log = AccessLog(bus, logs)
    for _ in range(10_003):
        bus.publish(finished())
    request_log.close()
    logs.close()
    assert [line.text for line in ring.since()] == ["3 events came too fast to be logged"]


def test_after_its_end_nothing_more_is_logged() -> None:
    ring, bus = LogRing(), EventBus()
    logs = configure("info", stderr=False, ring=ring)
    request_log = AccessLog(bus, logs)
    request_log.close()
    bus.publish(finished())
    request_log.flush()
    logs.close()
    assert ring.since() == []


async def test_lines_are_written_while_it_runs(tmp_path: Path) -> None:
    file, bus = tmp_path / "arbstr.log", EventBus()
    logs = configure("info", form="json", file=str(file))
    request_log = AccessLog(bus, logs)
    task = asyncio.create_task(request_log.run())
    bus.publish(finished())
    async with asyncio.timeout(PATIENCE_S):
        while not file.read_text().endswith("\n"):  # noqa: ASYNC110 - the writer is another thread
            await asyncio.sleep(0.01)
    bus.publish(finished(request_id="r-2"))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    request_log.close()
    logs.close()
    assert [json.loads(line)["id"] for line in file.read_text().splitlines()] == ["r-1", "r-2"]


def test_a_charge_that_a_balance_tells_is_a_line() -> None:
    event = ChargeBooked("r-1", 0, "alpha", cost_msats=455, was_msats=400, doubtful_msats=0)
    line = "20 arbstr.requests charge known by the balance id=r-1 provider=alpha sats=0.455 was_sats=0.4"
    assert said(event) == [line]
