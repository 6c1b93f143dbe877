"""Clients may refer to earlier Responses by id; what is kept for that is bounded, and what is gone is said by name."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from arbstr.engine.dialects.translation import responses
from arbstr.engine.dialects.translation.response_history import ResponseHistory
from arbstr.errors import InvalidParameter, UnsupportedParameter
from tests.support.translation import answer, call, chunk

CALL = call("a", "look", "{}")


def ask(history: ResponseHistory, answer_id: str, document: dict[str, Any], **message: Any) -> list[dict[str, Any]]:
    """Ask and answer, as a server would; return the chat messages that were sent."""
    request = {"model": "m", **document}
    resolved = history.resolved(request)
    sent: list[dict[str, Any]] = responses.to_chat(resolved)["messages"]
    given = answer("stop", **(message or {"content": f"Words of {answer_id}."}))
    history.remember(resolved, responses.from_chat(given, request, answer_id=answer_id, now_s=1.0))
    return sent


def said(messages: list[dict[str, Any]]) -> list[Any]:
    return [message["content"] for message in messages]


def test_an_answer_that_names_the_one_before_it_goes_on_with_that_conversation() -> None:
    history = ResponseHistory()
    ask(history, "resp_1", {"input": "One"})
    ask(history, "resp_2", {"input": "Two", "previous_response_id": "resp_1"})
    sent = ask(history, "resp_3", {"input": "Three", "previous_response_id": "resp_2"})
    assert said(sent) == ["One", "Words of resp_1.", "Two", "Words of resp_2.", "Three"]


def test_a_conversation_may_fork() -> None:
    history = ResponseHistory()
    ask(history, "resp_1", {"input": "One"})
    ask(history, "resp_2", {"input": "Two", "previous_response_id": "resp_1"})
    assert said(ask(history, "resp_3", {"input": "Other", "previous_response_id": "resp_1"}))[2:] == ["Other"]


def test_instructions_are_those_of_the_request_alone() -> None:
    history = ResponseHistory()
    ask(history, "resp_1", {"input": "One", "instructions": "Be brief."})
    assert said(ask(history, "resp_2", {"input": "Two", "previous_response_id": "resp_1"}))[0] == "One"


def test_a_result_goes_to_a_call_of_the_answer_before() -> None:
    history = ResponseHistory()
    ask(history, "resp_1", {"input": "One"}, tool_calls=[CALL])
    result = {"type": "function_call_output", "call_id": "a", "output": "seen"}
    sent = ask(history, "resp_2", {"input": [result], "previous_response_id": "resp_1"})
    assert [message["role"] for message in sent] == ["user", "assistant", "tool"]


def test_references_to_items_stand_for_them() -> None:
    history = ResponseHistory()
    odd = {"role": "user", "content": "One", "id": ["msg_1_0"]}
    ask(history, "resp_1", {"input": [odd]}, content="I look.", tool_calls=[CALL])
    items = [
        {"role": "user", "content": "One"},
        {"type": "item_reference", "id": "msg_1_0"},
        {"type": "item_reference", "id": "fc_1_0"},
        {"type": "function_call_output", "call_id": "a", "output": "seen"},
    ]
    sent = ask(history, "resp_2", {"input": items})
    assert sent[1] == {"role": "assistant", "content": "I look.", "tool_calls": [CALL]}


def test_an_item_is_referred_to_once() -> None:
    """Or a small request would become one of any size."""
    history = ResponseHistory()
    ask(history, "resp_1", {"input": "One"})
    twice = [{"type": "item_reference", "id": "msg_1_0"}] * 2
    with pytest.raises(InvalidParameter) as refused:
        history.resolved({"input": twice})
    assert refused.value.param == "input[1].id"


def test_many_references_take_bounded_time() -> None:
    history = ResponseHistory()
    ask(history, "resp_1", {"input": "x" * 1_000_000}, tool_calls=[call(str(n), "look", "{}") for n in range(2000)])
    items = [{"type": "item_reference", "id": f"fc_1_{n}"} for n in range(2000)]
    began = time.process_time()
    assert len(history.resolved({"input": items})["input"]) == 2000
    assert time.process_time() - began < 1


def text(history: ResponseHistory, document: dict[str, Any], client: str | None = None) -> Any:
    recalled = history.recalled(document, client)
    return None if recalled is None else json.loads(recalled.text)


def test_what_a_request_refers_to_is_known_as_text() -> None:
    history = ResponseHistory()
    answer, reference = {"previous_response_id": "resp_1"}, {"type": "item_reference", "id": "msg_1_0"}
    assert text(history, answer) is None
    ask(history, "resp_1", {"input": "Question"}, content="Words.")
    assert [item["role"] for item in text(history, answer)] == ["user", "assistant"]
    assert text(history, {"input": [reference, {"role": "user"}]})[0]["content"][0]["text"] == "Words."
    both = text(history, {**answer, "input": [reference]})
    assert (len(both[0]), both[1][0]["id"]) == (2, "msg_1_0")
    assert text(history, {"previous_response_id": "resp_0", "input": "x"}) is None
    assert text(history, answer, "somebody") is None


def test_what_is_referred_to_often_is_recalled_once() -> None:
    history = ResponseHistory()
    ask(history, "resp_1", {"input": "Question"}, content="x" * 100_000)
    items = [{"type": "item_reference", "id": "msg_1_0"}] * 10_000
    recalled = history.recalled({"input": items})
    assert recalled is not None
    assert len(recalled.text) < 200_000
    assert recalled.chars < 200_000


def test_what_is_recalled_has_its_size_as_prompt() -> None:
    history = ResponseHistory()
    picture = {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 600_000}
    spoken = {"type": "input_text", "text": "д" * 1000}
    ask(history, "resp_1", {"input": [{"role": "user", "content": [picture, spoken]}]}, content="Words.")
    recalled = history.recalled({"previous_response_id": "resp_1"})
    assert recalled is not None
    assert recalled.images == 1
    assert 1000 < recalled.chars < 1200


def test_a_streamed_answer_is_part_of_the_history() -> None:
    history = ResponseHistory()
    request = {"model": "m", "input": "One"}
    translator = responses.StreamTranslator(request, answer_id="resp_1", now_s=1.0)
    translator.feed(chunk("stop", content="Words."))
    translator.end()
    history.remember(request, translator.answer)
    sent = ask(history, "resp_2", {"input": "Two", "previous_response_id": "resp_1"})
    assert said(sent) == ["One", "Words.", "Two"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_0"}, "previous_response_id"),
        ({"previous_response_id": ["resp_1"]}, "previous_response_id"),
        ({"input": [{"type": "item_reference", "id": "msg_0"}]}, "input[0].id"),
        ({"input": [{"type": "item_reference"}]}, "input[0].id"),
    ],
)
def test_what_is_not_known_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    history = ResponseHistory()
    ask(history, "resp_1", {"input": "One"})
    with pytest.raises(UnsupportedParameter, match="send the whole conversation") as refused:
        history.resolved({"model": "m", "input": "Two", **fields})
    assert refused.value.param == param


@pytest.mark.parametrize(
    "fields", [{"previous_response_id": "resp_1"}, {"input": [{"type": "item_reference", "id": "msg_1"}]}]
)
def test_a_clients_conversation_is_known_to_it_alone(fields: dict[str, Any]) -> None:
    history = ResponseHistory()
    answer = {"id": "resp_1", "output": [{"type": "message", "id": "msg_1", "role": "assistant", "content": "Yes."}]}
    history.remember({"input": "One"}, answer, "alice")
    assert history.knows(fields, "alice")
    assert history.resolved(fields, "alice")
    for other in ("bob", None):
        assert not history.knows(fields, other)
        with pytest.raises(UnsupportedParameter):
            history.resolved(fields, other)


def test_the_conversation_that_was_not_used_for_longest_goes_first() -> None:
    history = ResponseHistory(most_bytes=3000)
    ask(history, "resp_1", {"input": "x" * 800})
    ask(history, "resp_2", {"input": "x" * 800})
    history.resolved({"previous_response_id": "resp_1"})
    ask(history, "resp_3", {"input": "x" * 800})
    assert history.resolved({"previous_response_id": "resp_1"})
    with pytest.raises(UnsupportedParameter):
        history.resolved({"previous_response_id": "resp_2"})


def test_a_conversation_is_not_kept_against_its_clients_wish() -> None:
    history = ResponseHistory()
    ask(history, "resp_1", {"input": "One", "store": False})
    assert not history.knows({"previous_response_id": "resp_1"})


def test_a_conversation_beyond_the_bound_is_not_kept() -> None:
    history = ResponseHistory(most_bytes=1000)
    ask(history, "resp_1", {"input": "x" * 2000})
    with pytest.raises(UnsupportedParameter):
        history.resolved({"previous_response_id": "resp_1"})
