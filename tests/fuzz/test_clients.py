"""Whatever a client sends, it hears a proper answer or nothing, and every request has its one row."""

from __future__ import annotations

from hypothesis import given, note

from tests.fuzz.harness import FuzzHarness
from tests.fuzz.requests import Sent, disorderly, orderly
from tests.support.effort import fuzzed


@fuzzed(80)
@given(sent=orderly())
def test_any_body_is_served_or_refused_in_words(harness: FuzzHarness, sent: Sent) -> None:
    note(f"{sent}")
    (heard,) = harness.exchange(sent)
    assert heard.status in (200, 400, 404, 413)


@fuzzed(80)
@given(sent=disorderly())
def test_any_bytes_are_answered_in_words_or_not_at_all(harness: FuzzHarness, sent: Sent) -> None:
    note(f"{sent}")
    for heard in harness.exchange(sent):
        assert heard.status < 500
