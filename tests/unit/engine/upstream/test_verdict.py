"""What a provider's JSON is taken for: an answer, or an error in one of the shapes that are in use."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.engine.dialects.chat import CHAT
from arbstr.engine.upstream import verdict

MESSAGE = {"role": "assistant", "content": "hi"}
ANSWER = {"choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop"}]}

SAID: list[tuple[Any, str]] = [
    ({"error": {"message": "no", "type": "x", "code": 1}}, "no"),
    ({"error": "no"}, "no"),
    ({"error": {"code": "busy"}}, "busy"),
    ({"error": {"type": "server_error"}}, "server_error"),
    ({"error": {"code": 429}}, "429"),
    ({"error": 500}, "500"),
    (
        {"error": {"message": {"detail": [{"loc": ["body", "stream_options"], "msg": "Extra"}]}}},
        "stream_options: Extra",
    ),
    ({"object": "error", "message": "no", "code": 429}, "no"),
    ({"type": "error", "error": {"type": "overloaded_error", "message": "no"}}, "no"),
    ({"message": "no", "type": "invalid_model"}, "no"),
    ({"message": "no", "code": 429}, "no"),
    ({"message": "no", "status": 429}, "no"),
    ([{"error": {"message": "no"}}], "no"),
    ({"errors": [{"message": "no"}, {"message": "never"}]}, "no"),
    ({"errors": ["no"]}, "no"),
    ({"success": False, "errors": [{"code": 7, "message": "no"}], "result": None}, "no"),
    ({"success": False, "message": "no"}, "no"),
    ({"detail": "Unauthorized"}, "Unauthorized"),
    ({"detail": {"error": {"message": "no"}}}, "no"),
    ({"detail": {"message": "no", "code": "x"}}, "no"),
    ({"detail": [{"loc": ["body", "messages", 0, "role"], "msg": "missing"}]}, "messages.0.role: missing"),
    ({"detail": [{"loc": ["body", "n"], "msg": "a"}, {"loc": ["body", "m"], "msg": "b"}]}, "n: a; m: b"),
    ({"choices": [{"error": {"message": "no"}, "message": MESSAGE}]}, "no"),
    ({"choices": [{"message": MESSAGE}, {"error": "no"}]}, "no"),
    ({**ANSWER, "error": {"message": "no"}}, "no"),
]
SILENT: list[Any] = [
    {"error": True},
    {"object": "error"},
    {"success": False},
    {"error": {"message": "...", "param": "x"}},
    {"detail": [1]},
]
NO_ERRORS: list[Any] = [
    ANSWER,
    {**ANSWER, "error": None, "errors": [], "success": True},
    {**ANSWER, "error": {}},
    {**ANSWER, "error": ""},
    {**ANSWER, "error": False},
    {**ANSWER, "error": {"message": "", "code": None}},
    {**ANSWER, "message": "fine", "code": 200, "detail": "fine", "status": "ok"},
    {},
    [],
    None,
    "error",
    7,
    {"choices": []},
    {"message": "queued"},
    {"message": MESSAGE, "type": "message"},
]


@pytest.mark.parametrize(("document", "words"), SAID, ids=str)
def test_an_error_is_known_and_heard_in_any_shape(document: Any, words: str) -> None:
    error = verdict.error_of(document)
    assert error is not None
    assert verdict.error_summary(error) == words
    assert verdict.error_summary(verdict.refusal_of(document)) == words
    fault = CHAT.fault_of(document)
    assert fault is not None
    assert verdict.error_summary(fault) == words


@pytest.mark.parametrize("document", SILENT, ids=str)
def test_an_error_need_not_say_anything(document: Any) -> None:
    error = verdict.error_of(document)
    assert error is not None
    assert verdict.error_summary(error) == "an error without a message"


@pytest.mark.parametrize("document", NO_ERRORS, ids=str)
def test_what_only_looks_like_an_error_in_a_document_is_none(document: Any) -> None:
    assert verdict.error_of(document) is None


NO_CHOICES: list[Any] = [None, [], {}, "hi", 1, [None], [[]], ["hi"], [{}], [{"index": 0}]]
NO_MESSAGES: list[Any] = [None, {}, "hi", [], 1]
UNUSABLE: list[Any] = [
    *({"choices": choices} for choices in NO_CHOICES),
    *({"choices": [{"message": message}]} for message in NO_MESSAGES),
    {"choices": [{"delta": {"content": "hi"}}]},
    {"choices": [{"text": None}]},
    {},
    [],
    [ANSWER],
    "hi",
    None,
    True,
    {"message": "out of coffee"},
    {"error": {}},
]


@pytest.mark.parametrize("document", UNUSABLE, ids=str)
def test_an_answer_without_a_usable_choice_is_none(document: Any) -> None:
    assert CHAT.fault_of(document) is not None


def test_an_unusable_answer_is_described_in_the_providers_words_where_it_has_some() -> None:
    assert CHAT.fault_of({"message": "out of coffee"}) == {"message": "no usable choice: out of coffee"}
    assert CHAT.fault_of({"choices": []}) == {"message": "no usable choice"}


@pytest.mark.parametrize(
    "choices",
    [
        [{"message": MESSAGE}],
        [{"message": {"role": "assistant", "content": None, "tool_calls": []}, "finish_reason": "tool_calls"}],
        [{"message": {"role": "assistant", "content": ""}}],
        [{"text": "hi"}],
        [{"text": ""}],
        [None, {"message": MESSAGE}],
    ],
    ids=str,
)
def test_a_choice_with_a_message_or_a_text_is_an_answer(choices: list[Any]) -> None:
    assert CHAT.fault_of({"choices": choices}) is None


@pytest.mark.parametrize(
    "error",
    [
        {"type": "invalid_model"},
        {"code": "model_not_found", "message": "no"},
        {"code": "DeploymentNotFound"},
        {"code": "model_decommissioned"},
        {"message": "no", "param": "model"},
        *(
            {"message": text}
            for text in (
                "The model `gpt-x` does not exist or you do not have access to it.",
                "Model Not Exist",
                "model 'llama3:8b' not found, try pulling it first",
                "models/gemini-x is not found for API version v1beta",
                "some/model-x is not a valid model ID",
                "invalid model ID",
                "Invalid model name passed in model=x",
                "Unknown model: x",
                "Model not found, inaccessible, and/or not deployed",
                "The model gpt-3.5-turbo-0301 has been deprecated",
                "Model x is not available",
                "Model not available",
                "Model not supported",
                "The model gpt-4o is not supported",
                "The requested model 'org/gpt-4o' is not supported.",
                "Model gpt-4o is currently disabled",
                "You do not have access to the model gpt-4o",
                "model: claude-3-5-sonnet-20240620",
            )
        ),
    ],
    ids=str,
)
def test_a_model_that_the_provider_does_not_have(error: dict[str, Any]) -> None:
    assert verdict.says_unknown_model(error)


@pytest.mark.parametrize(
    "error",
    [
        {"message": "This model's maximum context length is 8192 tokens"},
        {"message": "Unsupported parameter: 'max_tokens' is not supported with this model"},
        {"message": "The model does not exist", "param": "messages"},
        {"message": "The model can't see this image. The file was not found"},
        {"message": "invalid model input"},
        {"message": "model: Field required"},
        {"message": "model: required"},
        {"message": "The model's tool_choice is not supported"},
        {"message": "The model does not support images: this is not supported"},
        {"message": "The model gpt-4o is not supported with this tool_choice"},
        {"message": "temperature for model gpt-4o is not supported"},
        {"message": "no", "code": "not_found"},
        {"code": None, "type": [], "message": {}, "param": 7},
        {},
    ],
    ids=str,
)
def test_other_faults_of_a_request_are_not_about_the_model(error: dict[str, Any]) -> None:
    assert not verdict.says_unknown_model(error)


@pytest.mark.parametrize(
    ("error", "about"),
    [
        ({"message": "Previous response with id 'resp_0' not found."}, True),
        ({"message": "Conversation with id 'conv_68a' not found."}, True),
        ({"message": "No such File object: file-abc123"}, True),
        ({"message": "File not found: file_011CNha8iCJcU1wXNR6q4V8w"}, True),
        ({"message": "no", "param": "previous_response_id"}, True),
        ({"message": "Item with id 'rs_abc' not found."}, True),
        ({"message": "The model `file-x` does not exist"}, False),
        ({"message": "No route: deployment file-router-2 is gone"}, False),
        ({"message": "container-apps revision not found in vs-east-1"}, False),
        ({"message": "Not found: /v1/chat/completions (request msg_01abc)"}, False),
        ({"message": "Not found: /v1/responses"}, False),
        ({"message": "Invalid URL (POST /v1/responses)"}, False),
        ({"message": "no", "param": "model"}, False),
        ({"message": "no", "param": ["input"]}, False),
        ({"detail": "Not Found"}, False),
        ({}, False),
    ],
    ids=str,
)
def test_a_refusal_of_what_the_request_refers_to(error: dict[str, Any], about: bool) -> None:
    assert verdict.says_unknown_reference(error) == about


@pytest.mark.parametrize(
    ("error", "about"),
    [
        ({"message": "Your input was flagged"}, True),
        ({"message": "x requires moderation"}, True),
        ({"code": "content_policy_violation"}, True),
        ({"message": "blocked by the content filter"}, True),
        ({"message": "The prompt was filtered"}, True),
        ({"message": "Prohibited content was detected"}, True),
        ({"message": "Input data may contain inappropriate content."}, True),
        ({"message": "Content Exists Risk"}, True),
        ({"message": "Rejected by risk control"}, True),
        ({"message": "This request violates our guidelines"}, True),
        ({"message": "Forbidden", "metadata": {"reasons": ["violence"], "flagged_input": "..."}}, True),
        ({"message": "Forbidden", "metadata": {"provider_name": "x", "reasons": []}}, False),
        ({"message": "Your account was blocked"}, False),
        ({"message": "Access is blocked by an administrator"}, False),
        ({"message": "Request not allowed from your country"}, False),
        ({"message": "Your key is not allowed to do that"}, False),
        ({"message": "Forbidden"}, False),
        ({}, False),
    ],
    ids=str,
)
def test_a_refusal_of_what_the_request_says(error: dict[str, Any], about: bool) -> None:
    assert verdict.says_content(error) == about


@pytest.mark.parametrize("piece", ["models ", "model x ", "violates ", "content ", "response is "])
def test_a_megabyte_of_words_is_judged_in_a_moment(piece: str) -> None:
    error = {"message": piece * (1_000_000 // len(piece))}
    began = time.process_time()
    assert not verdict.says_unknown_model(error)
    assert not verdict.says_content(error)
    assert time.process_time() - began < 0.2


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["error", "null", "model"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["error", "errors", "message", "detail", "choices", "delta", "finish_reason", "code", "type", "loc"]
            )
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JSON | st.dictionaries(st.sampled_from(["error", "choices", "detail", "success", "object"]), JSON))
def test_no_document_is_too_much(document: Any) -> None:
    error = verdict.error_of(document)
    assert error is None or isinstance(verdict.error_summary(error), str)
    assert isinstance(verdict.refusal_of(document), dict)
    assert CHAT.fault_of(document) is None or not verdict.error_of(document) or error
    assert CHAT.has_substance(document) in (True, False)
    assert CHAT.finishes(document) in (True, False)
    if isinstance(document, dict):
        assert verdict.says_unknown_model(document) in (True, False)
        assert verdict.says_content(document) in (True, False)


def test_no_deeply_nested_document_is_too_much() -> None:
    deep: Any = "no"
    for _ in range(900):
        deep = [deep]
    for document in (deep, {"error": deep}, {"detail": deep}, {"choices": deep}, {"error": {"message": deep}}):
        error = verdict.error_of(document)
        assert error is None or isinstance(verdict.error_summary(error), str)
        assert CHAT.fault_of(document) is not None
