"""What clients of the other dialects say, and what they and chat's providers answer: each hears a proper answer."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from tests.fuzz.dialect_replies import replies_in
from tests.fuzz.dialect_requests import of_any_dialect
from tests.fuzz.harness import CHATTY, FuzzHarness, ParsedResponse
from tests.fuzz.replies import replies
from tests.fuzz.requests import Sent, posted
from tests.support.dialects import COMPLETIONS, EMBEDDINGS, MESSAGES, RESPONSES, Speech
from tests.support.effort import fuzzed
from tests.support.provider import Part

_END = {MESSAGES.path: b"event: message_stop\n", RESPONSES.path: b"event: response.completed\n"}
_DATA = re.compile(rb"^data: (.*)$", re.MULTILINE)


@fuzzed(50)
@given(sent=of_any_dialect())
def test_any_body_of_any_dialect_is_served_or_refused_in_words(harness: FuzzHarness, sent: Sent) -> None:
    note(f"{sent}")
    (heard,) = harness.exchange(sent)
    assert heard.status in (200, 400, 404, 413)
    if "x-arbstr-streaming" in heard.headers and sent.path in _END:
        assert _END[sent.path] in heard.body


@pytest.mark.parametrize("speech", [MESSAGES, RESPONSES, EMBEDDINGS, COMPLETIONS], ids=lambda speech: speech.name)
@fuzzed(20)
@given(data=st.data(), stream=st.booleans())
def test_any_reply_in_a_dialect_becomes_an_answer(
    harness: FuzzHarness, data: st.DataObject, speech: Speech, stream: bool
) -> None:
    said = data.draw(st.lists(replies_in(speech), min_size=1, max_size=2))
    note(f"{said}")
    (heard,) = harness.exchange(posted(speech.path, speech.request(stream=stream and bool(speech.events))), said)
    assert heard.status < 500, "beta always answers"
    if "x-arbstr-streaming" in heard.headers:
        assert heard.body.endswith(b"\n\n")


@pytest.mark.parametrize("speech", [MESSAGES, RESPONSES], ids=lambda speech: speech.name)
@fuzzed(30)
@given(stream=st.booleans(), said=st.lists(replies(), min_size=1, max_size=2))
def test_any_reply_of_chat_is_translated(
    harness: FuzzHarness, speech: Speech, stream: bool, said: list[list[Part]]
) -> None:
    note(f"{said}")
    sent = posted(speech.path, speech.request(stream=stream, model=CHATTY))
    (heard,) = harness.exchange(sent, said)
    assert heard.status < 500, "delta always answers"
    if heard.status == 200:
        _check_translated(heard, speech)


def _check_translated(heard: ParsedResponse, speech: Speech) -> None:
    """What was translated is arbstr's own: all of it is as the dialect has it."""
    if "x-arbstr-streaming" not in heard.headers:
        document = json.loads(heard.body)
        assert document["content" if speech is MESSAGES else "output"] is not None
        return
    kinds = [json.loads(data)["type"] for data in _DATA.findall(heard.body)]
    if speech is MESSAGES:
        assert kinds.count("content_block_start") - kinds.count("content_block_stop") in (0, int(kinds[-1] == "error"))
        assert kinds[-1] in ("message_stop", "error")
    else:
        assert kinds[-1] in ("response.completed", "response.incomplete", "response.failed")
        assert kinds.count("response.failed") == kinds.count("error")
