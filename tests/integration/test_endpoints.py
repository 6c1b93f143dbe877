"""The small endpoints, and what every response has."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest

from arbstr import __version__
from arbstr.market import catalogue
from tests.support.harness import Arbstr, ProxyHarness, key_of
from tests.support.patience import PATIENCE_S
from tests.support.provider import (
    Move,
    Part,
    completion,
    error_reply,
    head,
    json_reply,
    reply,
    sse_reply,
    stream_events,
)

# Request ids


def is_uuid4(text: str) -> bool:
    return UUID(text).version == 4 and str(UUID(text)) == text


PATHS = [
    ("GET", "/v1/models", 200),
    ("GET", "/v1/models/gpt-4o", 200),
    ("GET", "/v1/models/nonsense", 404),
    ("GET", "/health", 200),
    ("HEAD", "/health", 200),
    ("GET", "/providers", 200),
    ("GET", "/v1/stats", 200),
    ("GET", "/v1/requests", 200),
    ("GET", "/v1/stats?range=nonsense", 400),
    ("GET", "/v1/requests/nonsense", 404),
    ("POST", "/v1/chat/completions", 415),
    ("GET", "/v1/chat/completions", 405),
    ("GET", "/nowhere", 404),
    ("POST", "/nowhere", 404),
    ("OPTIONS", "/v1/chat/completions", 405),
    ("DELETE", "/", 405),
]


@pytest.mark.parametrize(("method", "path", "status"), PATHS)
async def test_every_response_has_a_request_id(harness: ProxyHarness, method: str, path: str, status: int) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start()
    first, second = [await arbstr.get(path, method=method) for _ in range(2)]
    assert first.status == status
    assert is_uuid4(first.headers["X-Arbstr-Request-Id"])
    assert first.headers["X-Arbstr-Request-Id"] != second.headers["X-Arbstr-Request-Id"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_answers_have_a_request_id_and_it_is_the_rows(harness: ProxyHarness, stream: bool) -> None:
    await harness.add_provider("alpha", sse_reply(*stream_events("a")) if stream else json_reply(completion()))
    arbstr = await harness.start()
    answer = await arbstr.chat(stream=stream, headers={"X-Arbstr-Request-Id": "mine"})
    assert is_uuid4(answer.headers["X-Arbstr-Request-Id"])
    assert answer.headers.getall("X-Arbstr-Request-Id") == [answer.headers["X-Arbstr-Request-Id"]]
    assert (await arbstr.row(answer))["request_id"] == answer.headers["X-Arbstr-Request-Id"]


@pytest.mark.parametrize(
    "text",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nBad Header\x00: x\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=["nonsense", "version", "header", "length", "two lengths", "long line"],
)
async def test_what_is_no_http_is_refused_and_nothing_falls(harness: ProxyHarness, text: bytes) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start()
    reader, writer = await connect(arbstr)
    writer.write(text)
    async with asyncio.timeout(PATIENCE_S):
        answer = await reader.read()
    writer.close()
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    assert b"Traceback" not in answer
    assert (await arbstr.chat()).status == 200


async def connect(arbstr: Arbstr) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    address = urlsplit(arbstr.url)
    return await asyncio.open_connection(address.hostname, address.port)


async def test_a_connection_serves_again_after_an_error(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", error_reply(401), json_reply(completion()))
    arbstr = await harness.start()
    assert (await arbstr.send(b"nonsense")).status == 400
    assert (await arbstr.chat()).status == 502
    assert (await arbstr.chat()).status == 200
    assert len(arbstr.session.connector._conns) == 1  # type: ignore[union-attr]  # the session is open


# /v1/models


async def test_models_lists_each_model_once_with_who_sells_it_and_who_cheapest(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", models=("gpt-4o", "o3"), output_rate=40)
    await harness.add_provider("beta", models=("gpt-4o",), output_rate=20)
    await harness.add_provider("gamma", models=())
    arbstr = await harness.start()
    document = (await arbstr.get("/v1/models")).json
    assert document["object"] == "list"
    gpt, o3 = document["data"]
    assert gpt == {
        "id": "gpt-4o",
        "object": "model",
        "created": gpt["created"],
        "owned_by": "routstr",
        "arbstr": {"providers": gpt["arbstr"]["providers"], "cheapest": "beta"},
    }
    assert isinstance(gpt["created"], int)
    assert gpt["arbstr"]["providers"] == ["alpha", "beta", "gamma"]  # gamma takes every model
    assert (o3["id"], o3["arbstr"]) == ("o3", {"providers": ["alpha", "gamma"], "cheapest": "gamma"})


def lists(*names: object) -> list[Part]:
    return json_reply({"object": "list", "data": [{"id": name, "object": "model"} for name in names]})


async def test_a_provider_without_models_is_asked_for_its_list(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", models=("gpt-4o", "o3"))
    beta = await harness.add_provider(
        "beta", listing=lists("o3", "llama-4", "bad\nname", 7, key_of("beta"), "llama-4"), models=()
    )
    arbstr = await harness.start()
    shown = (await arbstr.get("/v1/models")).json["data"]
    assert {model["id"]: model["arbstr"]["providers"] for model in shown} == {
        "gpt-4o": ["alpha"],
        "o3": ["alpha", "beta"],
        "llama-4": ["beta"],
    }
    assert (await arbstr.get("/v1/models/llama-4")).json["id"] == "llama-4"
    (asked,) = beta.lookups  # its list is good for minutes
    assert (asked.method, asked.path) == ("GET", "/v1/models")
    assert asked.headers["authorization"] == f"Bearer {key_of('beta')}"


@pytest.mark.parametrize(
    "script",
    [
        error_reply(404),
        error_reply(500),
        reply(b"<p>no</p>", content_type="text/html"),
        json_reply({"data": {"a": 1}}),
        json_reply(completion()),
        [head(200, ("Transfer-Encoding", "chunked")), b"zz\r\n", Move.CLOSE],
        [Move.CLOSE],
        [Move.RESET],
        reply(b'{"data": [' + b'{"id": "x"},' * 800_000 + b"0]}"),
    ],
    ids=["404", "500", "HTML", "no list", "an answer", "a bad chunk", "no answer", "a reset", "too much"],
)
async def test_a_provider_that_lists_nothing_sensible_takes_every_model(
    harness: ProxyHarness, script: list[Part]
) -> None:
    await harness.add_provider("alpha", models=("gpt-4o",))
    await harness.add_provider("beta", listing=script, models=())
    arbstr = await harness.start()
    (model,) = (await arbstr.get("/v1/models")).json["data"]
    assert model["arbstr"]["providers"] == ["alpha", "beta"]
    assert (await arbstr.get("/health")).json["providers"]["beta"]["failure_count"] == 0


async def test_a_list_that_does_not_come_is_not_waited_for_for_long(
    harness: ProxyHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "WAIT_S", 0.1)
    await harness.add_provider("alpha", models=("gpt-4o",))
    go_on = asyncio.Event()
    await harness.add_provider("beta", listing=[go_on, *lists("late")], models=())
    arbstr = await harness.start()
    assert len((await arbstr.get("/v1/models")).json["data"]) == 1
    go_on.set()
    async with asyncio.timeout(PATIENCE_S):
        while len((await arbstr.get("/v1/models")).json["data"]) < 2:
            pass


async def test_a_model_has_an_endpoint_of_its_own(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", models=("vendor/model:free",))
    arbstr = await harness.start()
    listed = (await arbstr.get("/v1/models")).json["data"][0]
    assert (await arbstr.get("/v1/models/vendor/model:free")).json == listed
    answer = await arbstr.get("/v1/models/other")
    assert answer.refusal == (404, "invalid_request_error", "model_not_found")
    assert "vendor/model:free" in answer.error["message"]


async def test_models_is_an_empty_list_without_models(harness: ProxyHarness) -> None:
    arbstr = await harness.start()
    assert (await arbstr.get("/v1/models")).json == {"object": "list", "data": []}


# /health


async def health(arbstr: Arbstr) -> tuple[int, dict[str, Any]]:
    answer = await arbstr.get("/health")
    return answer.status, answer.json


async def test_health_is_ok_while_all_providers_are(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start()
    status, document = await health(arbstr)
    assert status == 200
    assert document["status"] == "ok"
    assert document["version"] == __version__
    assert 0 <= document["uptime_s"] < 60
    alpha = document["providers"]["alpha"]
    assert (alpha["state"], alpha["failure_count"], alpha["in_flight"]) == ("closed", 0, 0)


async def test_health_counts_failures(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", error_reply(401, "who are you"), json_reply(completion()))
    arbstr = await harness.start()
    await arbstr.chat()
    _, document = await health(arbstr)
    assert document["providers"]["alpha"]["failure_count"] == 1
    assert "who are you" in document["providers"]["alpha"]["last_error"]
    await arbstr.chat()
    _, document = await health(arbstr)
    assert document["providers"]["alpha"]["failure_count"] == 0


async def test_health_is_degraded_when_one_provider_is_open(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", error_reply(401))
    await harness.add_provider("beta")
    arbstr = await harness.start(breaker={"failure_threshold": 1})
    await arbstr.chat()
    status, document = await health(arbstr)
    assert (status, document["status"]) == (200, "degraded")
    assert document["providers"]["alpha"]["state"] == "open"
    assert document["providers"]["beta"]["state"] == "closed"


async def test_health_is_unhealthy_and_503_when_every_provider_is_open(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", error_reply(401))
    await harness.add_provider("beta", error_reply(401))
    arbstr = await harness.start(breaker={"failure_threshold": 1})
    await arbstr.chat()
    status, document = await health(arbstr)
    assert (status, document["status"]) == (503, "unhealthy")


async def test_health_is_unhealthy_too_when_every_provider_is_out_of_rotation(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start()
    arbstr.source.set_in_rotation("alpha", in_rotation=False)
    status, document = await health(arbstr)
    assert (status, document["status"]) == (503, "unhealthy")


async def test_an_open_breaker_is_half_open_when_its_time_is_up_and_closes_with_a_success(
    harness: ProxyHarness,
) -> None:
    await harness.add_provider("alpha", error_reply(401), json_reply(completion()))
    arbstr = await harness.start(breaker={"failure_threshold": 1, "open_for": 0.02})
    await arbstr.chat()
    async with asyncio.timeout(PATIENCE_S):
        while (found := await health(arbstr))[1]["providers"]["alpha"]["state"] == "open":
            pass
    assert found[1]["providers"]["alpha"]["state"] == "half_open"
    assert (await arbstr.chat()).status == 200
    assert (await health(arbstr))[1]["providers"]["alpha"]["state"] == "closed"


async def test_health_counts_requests_in_flight(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", [Move.NEVER], on_client_gone="cancel")
    arbstr = await harness.start()
    tasks = [await arbstr.start_chat() for _ in range(3)]
    await alpha.asked(3)
    assert (await health(arbstr))[1]["providers"]["alpha"]["in_flight"] == 3
    for task in tasks:
        task.cancel()
    await arbstr.finished(3)
    assert (await health(arbstr))[1]["providers"]["alpha"]["in_flight"] == 0


# /providers


async def test_providers_are_as_configured_with_keys_masked(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", input_rate=2.5, output_rate=10, base_fee=0.001)
    arbstr = await harness.start()
    (listed,) = (await arbstr.get("/providers")).json["providers"]
    expected = {
        "name": "alpha",
        "url": alpha.url,
        "models": ["gpt-4o"],
        "input_rate_sats_per_1k": 2.5,
        "output_rate_sats_per_1k": 10,
        "base_fee_sats": 0.001,
        "api_key": "sk-alp...***",
    }
    assert {name: listed[name] for name in expected} == expected
    assert listed["health"]["state"] == "closed"
    assert "key_source" in listed


# Rows


async def test_a_row_is_in_every_answer_within_100_ms(harness: ProxyHarness) -> None:
    """On a busy machine some take longer: all would, if it were arbstr that waits."""
    await harness.add_provider("alpha", json_reply(completion(tokens=(1000, 500))))
    arbstr = await harness.start()
    asked, took_s = 0, 1.0
    async with asyncio.timeout(PATIENCE_S):
        while took_s > 0.1:
            request_id, asked, began = (await arbstr.chat()).headers["X-Arbstr-Request-Id"], asked + 1, time.monotonic()
            while (await arbstr.get(f"/v1/requests/{request_id}")).status == 404:
                pass
            row = (await arbstr.get("/v1/requests")).json["data"][0]
            stats = (await arbstr.get("/v1/stats")).json
            took_s = time.monotonic() - began
            assert row["request_id"] == request_id
            assert stats["counts"] == {"total": asked, "success": asked, "error": 0, "streaming": 0}
            assert stats["costs"]["total_cost_sats"] == 26.0 * asked
