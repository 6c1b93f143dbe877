"""A chat answer as a Responses answer, whole and streamed, as the official package reads it."""

from __future__ import annotations

from typing import Any

import pytest

from arbstr.engine.dialects.translation.responses import StreamTranslator, from_chat
from tests.support.translation import (
    USAGE,
    answer,
    as_chunks,
    call,
    call_chunk,
    chunk,
    events_of,
    read_response,
    read_responses_stream,
    responses_stream,
    usage_chunk,
)

PATCH = {"type": "custom", "name": "patch"}
NAMESPACE = {"type": "namespace", "name": "mcp", "description": "d", "tools": [{"type": "function", "name": "look"}]}


def whole(document: dict[str, Any], **request: Any) -> Any:
    request = {"model": "asked", "tools": [], **request}
    return read_response(from_chat(document, request, answer_id="resp_1", now_s=1000.5))


def streamed(message: dict[str, Any], finish: str = "stop", **request: Any) -> Any:
    return read_responses_stream(responses_stream(as_chunks(message, finish, [3, 1], **USAGE), **request))


def streamed_chunks(chunks: list[dict[str, Any]]) -> Any:
    return read_responses_stream(responses_stream(chunks))


def both(message: dict[str, Any], finish: str = "stop", **request: Any) -> list[Any]:
    """Return the answer translated whole, and streamed."""
    return [whole(answer(finish, **message), **request), streamed(message, finish, **request)]


def test_text() -> None:
    for response in both({"content": "Hello, world."}):
        assert response.output_text == "Hello, world."
        assert (response.id, response.model, response.status, response.created_at) == (
            "resp_1",
            "served",
            "completed",
            1000,
        )
        assert response.output[0].status == "completed"


def test_usage_counts_cached_and_reasoning_tokens_as_parts() -> None:
    details = {"prompt_tokens_details": {"cached_tokens": 8}, "completion_tokens_details": {"reasoning_tokens": 4}}
    usage = {**USAGE, **details}
    chunks = [chunk(content="x"), chunk("stop"), usage_chunk(**usage)]
    for response in (whole(answer("stop", usage, content="x")), streamed_chunks(chunks)):
        assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (20, 9, 29)
        assert response.usage.input_tokens_details.cached_tokens == 8
        assert response.usage.output_tokens_details.reasoning_tokens == 4


def test_tool_calls() -> None:
    calls = [call("a", "look", '{"x":1}'), call("b", "look", '{"x":2}')]
    for response in both({"content": "I look.", "tool_calls": calls}, "tool_calls"):
        message, *found = response.output
        assert message.content[0].text == "I look."
        assert [(item.type, item.call_id, item.name, item.arguments) for item in found] == [
            ("function_call", "a", "look", '{"x":1}'),
            ("function_call", "b", "look", '{"x":2}'),
        ]


def test_free_form_calls() -> None:
    for arguments in ('{"input":"*** Begin"}', "*** Begin", '{"patch":"*** Begin"}'):
        for response in both({"tool_calls": [call("a", "patch", arguments)]}, "tool_calls", tools=[PATCH]):
            (item,) = response.output
            assert (item.type, item.call_id, item.name, item.input) == ("custom_tool_call", "a", "patch", "*** Begin")


def test_calls_of_a_namespace() -> None:
    for response in both({"tool_calls": [call("a", "mcp__look", "{}")]}, "tool_calls", tools=[NAMESPACE]):
        (item,) = response.output
        assert (item.type, item.namespace, item.name) == ("function_call", "mcp", "look")


def test_a_search_for_tools_that_the_client_makes() -> None:
    tools = [{"type": "tool_search", "execution": "client", "description": "d", "parameters": {"type": "object"}}]
    for response in both({"tool_calls": [call("a", "tool_search", '{"query":"q"}')]}, "tool_calls", tools=tools):
        (item,) = response.output
        assert (item.type, item.call_id, item.execution, item.arguments) == (
            "tool_search_call",
            "a",
            "client",
            {"query": "q"},
        )


def test_reasoning_is_a_summary_before_the_words() -> None:
    for response in both({"reasoning_content": "Hm.", "content": "Yes."}):
        reasoning, message = response.output
        assert (reasoning.type, reasoning.summary[0].text) == ("reasoning", "Hm.")
        assert message.content[0].text == "Yes."


def test_a_refusal() -> None:
    for response in both({"refusal": "No."}):
        (message,) = response.output
        assert (message.content[0].type, message.content[0].refusal) == ("refusal", "No.")


@pytest.mark.parametrize(("finish", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
def test_an_answer_that_was_cut_is_incomplete(finish: str, reason: str) -> None:
    for response in both({"content": "Once"}, finish):
        assert (response.status, response.incomplete_details.reason) == ("incomplete", reason)
        assert response.output[-1].status == "incomplete"


def test_citations() -> None:
    cited = {"start_index": 0, "end_index": 3, "title": "T", "url": "https://example.com"}
    annotations = [{"type": "url_citation", "url_citation": cited}]
    chunks = [chunk(content="See."), chunk(annotations=annotations), chunk("stop"), usage_chunk(**USAGE)]
    for response in (
        whole(answer("stop", content="See.", annotations=annotations)),
        streamed_chunks(chunks),
    ):
        assert response.output[0].content[0].annotations[0].url == "https://example.com"


def test_log_probabilities() -> None:
    token = {"token": "x", "logprob": -0.5, "bytes": [120], "top_logprobs": []}
    spoken = {**chunk(content="x")}
    spoken["choices"][0]["logprobs"] = {"content": [token]}
    document = answer("stop", content="x")
    document["choices"][0]["logprobs"] = {"content": [token]}
    for response in (whole(document), streamed_chunks([spoken, chunk("stop")])):
        assert response.output[0].content[0].logprobs[0].logprob == -0.5


def test_an_empty_answer_has_a_message() -> None:
    for response in both({}):
        assert response.output_text == ""
        assert response.output[0].type == "message"


def test_what_the_client_asked_for_stands_in_the_answer() -> None:
    asked: dict[str, Any] = {
        "metadata": {"a": "b"},
        "temperature": 0.5,
        "tools": [{"type": "function", "name": "f", "strict": True, "parameters": {}}],
    }
    for response in both({"content": "x"}, **asked):
        assert (response.metadata, response.temperature, response.tools[0].name) == ({"a": "b"}, 0.5, "f")


def test_pieces_of_parallel_calls_may_come_in_any_order() -> None:
    chunks = [
        call_chunk(0, id="a", name="f"),
        call_chunk(1, id="b", name="g"),
        call_chunk(1, '{"y":'),
        call_chunk(0, '{"x":'),
        call_chunk(1, "2}"),
        call_chunk(0, "1}"),
        chunk("tool_calls"),
    ]
    response: Any = read_responses_stream(responses_stream(chunks))
    assert [(item.call_id, item.arguments) for item in response.output] == [("a", '{"x":1}'), ("b", '{"y":2}')]


def test_calls_that_all_have_the_index_zero_are_distinguished_by_their_ids() -> None:
    chunks = [
        call_chunk(0, '{"x":1}', id="a", name="f"),
        call_chunk(0, '{"x":2}', id="b", name="f"),
        chunk("tool_calls"),
    ]
    response: Any = read_responses_stream(responses_stream(chunks))
    assert [(item.call_id, item.arguments) for item in response.output] == [("a", '{"x":1}'), ("b", '{"x":2}')]


def test_arguments_that_come_before_the_name_are_kept() -> None:
    chunks = [call_chunk(0, '{"x":', id="a"), call_chunk(0, "1", name="f"), call_chunk(0, "}"), chunk("tool_calls")]
    body = responses_stream(chunks)
    response: Any = read_responses_stream(body)
    assert (response.output[0].name, response.output[0].arguments) == ("f", '{"x":1}')
    deltas = [event["delta"] for event in events_of(body) if event["type"] == "response.function_call_arguments.delta"]
    assert "".join(deltas) == '{"x":1}'


def test_a_call_without_an_id_gets_one() -> None:
    response: Any = read_responses_stream(responses_stream([call_chunk(0, "{}", name="f"), chunk("tool_calls")]))
    assert response.output[0].call_id


def test_a_stream_that_breaks_off_ends_in_an_error_and_a_failed_answer() -> None:
    translator = StreamTranslator({"model": "asked"}, answer_id="resp_1", now_s=1000)
    events = events_of(translator.feed(chunk(content="He")) + translator.fail("The provider hung up."))
    assert [event["type"] for event in events[-2:]] == ["error", "response.failed"]
    assert events[-2]["message"] == "The provider hung up."
    error = read_response(events[-1]["response"]).error
    assert error is not None
    assert error.message == "The provider hung up."


def test_the_order_of_events_is_that_of_the_official_service() -> None:
    kinds = [
        event["type"].removeprefix("response.")
        for event in events_of(responses_stream([chunk(content="Hi"), chunk("stop")]))
    ]
    assert kinds == [
        *("created", "in_progress", "output_item.added", "content_part.added", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done", "completed"),
    ]
