"""Whatever a provider sends, the client hears a proper answer, and nothing absurd is believed."""

from __future__ import annotations

from hypothesis import given, note
from hypothesis import strategies as st

from tests.fuzz.harness import FuzzHarness
from tests.fuzz.replies import replies
from tests.fuzz.requests import asking
from tests.support.effort import fuzzed
from tests.support.provider import Part


@fuzzed(120)
@given(stream=st.booleans(), usage=st.booleans(), said=st.lists(replies(), min_size=1, max_size=2))
def test_any_reply_becomes_an_answer(harness: FuzzHarness, stream: bool, usage: bool, said: list[list[Part]]) -> None:
    note(f"{said}")
    (heard,) = harness.exchange(asking(stream=stream, usage=usage), said)
    assert heard.status < 500, "beta always answers"
    if "x-arbstr-streaming" in heard.headers:
        assert heard.body.endswith(b"\n\n")
