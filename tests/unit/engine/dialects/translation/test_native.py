"""A conversation may go on with a provider of its own dialect after translated answers: it sees nothing of arbstr."""

from __future__ import annotations

import json
from typing import Any

import pytest

from arbstr.engine.dialects.translation import messages, responses
from arbstr.engine.dialects.translation.native import for_native
from arbstr.engine.dialects.translation.response_history import ResponseHistory
from tests.support.translation import answer

THOUGHTFUL = answer("stop", content="Yes.", reasoning_content="Hm.")


def native(document: dict[str, Any], history: ResponseHistory | None = None) -> dict[str, Any] | None:
    return for_native(document, json.dumps(document).encode(), history or ResponseHistory())


@pytest.mark.parametrize(
    "document",
    [
        {"model": "m", "input": "arbstr: reasoning_content"},
        {"model": "m", "input": "hi", "previous_response_id": "resp_elsewhere"},
        {"model": "m", "input": [{"type": "item_reference", "id": "msg_elsewhere"}]},
        {"model": "m", "input": [{"type": "reasoning", "encrypted_content": "gAAAA", "summary": []}]},
        {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
        {"model": "m", "input": 7, "messages": [7, {"content": [7]}]},
    ],
)
def test_a_request_that_has_nothing_of_arbstrs_goes_as_it_is(document: dict[str, Any]) -> None:
    assert native(document) is None


def test_reasoning_of_a_translated_answer_is_left_out_of_responses() -> None:
    output = responses.from_chat(THOUGHTFUL, {"model": "m"}, answer_id="resp_1", now_s=1.0)["output"]
    document = native({"model": "m", "input": [{"role": "user", "content": "hi"}, *output], "store": False})
    assert document is not None
    assert [item["type"] for item in document["input"][1:]] == ["message"]
    assert document["store"] is False


def test_thinking_of_a_translated_answer_is_left_out_of_messages() -> None:
    content = messages.from_chat(THOUGHTFUL, {"model": "m"}, answer_id="msg_1", now_s=1.0)["content"]
    own = {"type": "thinking", "thinking": "Hm.", "signature": "EuYB"}
    document = native({"model": "m", "messages": [{"role": "assistant", "content": [own, *content]}]})
    assert document is not None
    assert [block["type"] for block in document["messages"][0]["content"]] == ["thinking", "text"]


def test_ids_of_translated_answers_are_what_they_stand_for() -> None:
    history = ResponseHistory()
    first = {"model": "m", "input": "One"}
    history.remember(first, responses.from_chat(THOUGHTFUL, first, answer_id="resp_1", now_s=1.0))
    for second in (
        {"model": "m", "input": "Two", "previous_response_id": "resp_1"},
        {"model": "m", "input": [{"role": "user", "content": "One"}, {"type": "item_reference", "id": "msg_1_1"}]},
    ):
        document = native(second, history)
        assert document is not None
        assert document["previous_response_id"] is None
        assert document["input"][0]["content"] == "One"
        assert document["input"][1]["content"][0]["text"] == "Yes."
