"""Whatever is asked of the ledger, by URL or command line, the answer is rows or a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from urllib.parse import quote

import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from arbstr.cli import run
from tests.fuzz.harness import FuzzHarness
from tests.fuzz.requests import asking
from tests.support.effort import fuzzed
from tests.support.provider import Move, error_reply

NAMES = (
    *("range", "since", "until", "model", "provider", "policy", "group_by", "success", "streaming", "page", "per_page"),
    *("sort", "order", "RANGE", "", "x", "since[]", "\ud83d"),
)
VALUES = st.sampled_from(
    [
        *(
            "",
            " ",
            "0",
            "1",
            "-1",
            "1e3",
            "٣",
            "9" * 20,
            "9" * 5000,
            "true",
            "TRUE",
            "null",
            "NaN",
            "desc",
            "asc",
            "hour",
            "day",
        ),
        *(
            "model",
            "provider",
            "policy",
            "timestamp",
            "cost_sats",
            "latency_ms",
            "last_1h",
            "last_30d",
            "gpt-4o",
            "alpha",
        ),
        *("2026-01-31T09:30:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-02-30", "2026-W05-1"),
        *(
            "2026-01-31T09:30:00",
            "1970-01-01T00:00:00.0000001Z",
            "(none)",
            "%",
            "_",
            "'",
            '"',
            "\0",
            "\x1b[31m",
            "\ud83d",
            "é",
        ),
    ]
) | st.text(max_size=10)


def _escaped(text: str) -> str:
    return quote(text, safe="", errors="surrogatepass")


@st.composite
def targets(draw: st.DrawFn) -> bytes:
    """A path of the ledger's with parameters, escaped or as they come."""
    path = draw(st.sampled_from(("/v1/stats", "/v1/requests", "/v1/requests/" + _escaped(draw(VALUES)))))
    pairs = [
        f"{_escaped(draw(st.sampled_from(NAMES)))}={_escaped(draw(VALUES))}" for _ in range(draw(st.integers(0, 4)))
    ]
    return f"{path}?{'&'.join(pairs)}".encode()


@pytest.fixture(scope="module")
def stocked(harness: FuzzHarness) -> FuzzHarness:
    """The harness with a few rows in its ledger."""
    harness.exchange(asking())
    harness.exchange(asking(stream=True))
    harness.exchange(asking(), [error_reply(422, "\x1b[31m'\u202e")])
    harness.exchange(asking(stream=True), [[Move.RESET], error_reply(500)])
    return harness


@fuzzed(60)
@given(target=targets())
def test_any_question_is_answered_or_refused_in_words(stocked: FuzzHarness, target: bytes) -> None:
    note(f"{target!r}")
    heard = stocked.get(target)
    assert heard.status in (200, 400, 404)


OPTIONS = ("--range", "--since", "--until", "--model", "--provider", "--policy", "--sort", "--order", "--limit")
FLAGS = ("--success", "--failed", "--streaming", "--no-streaming", "--json", "--csv", "--group-by")
WORDS = VALUES.map(lambda text: text.replace("\0", ""))  # no command line can hold it


@pytest.fixture(scope="module")
def ledger(stocked: FuzzHarness) -> Iterator[None]:
    """The harness's, named as the one that commands read."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("DATABASE_URL", str(stocked.ledger))
        yield


@fuzzed(40)
@given(
    command=st.sampled_from(("requests", "stats")),
    options=st.lists(st.tuples(st.sampled_from(OPTIONS), WORDS) | st.sampled_from(FLAGS).map(lambda flag: (flag,))),
)
@pytest.mark.usefixtures("ledger")
def test_any_filter_words_are_understood_or_refused_in_words(command: str, options: list[tuple[str, ...]]) -> None:
    line = [command, *(word for option in options for word in option)]
    note(repr(line))
    with redirect_stdout(StringIO()) as said, redirect_stderr(StringIO()) as complained:
        status = run(line)
    assert status in (0, 1, 2)
    assert bool(complained.getvalue()) == bool(status)
    assert status == 0 or not said.getvalue()
