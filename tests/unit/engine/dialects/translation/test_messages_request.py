"""A Messages request as a chat request: what the model reads, what steers it, what is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from arbstr.engine.dialects.translation.messages import to_chat
from arbstr.errors import InvalidParameter, UnsupportedParameter

IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
IMAGE_PART = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
TOOL = {"name": "look", "description": "Looks.", "input_schema": {"type": "object"}}
LOOK = {"name": "look", "description": "Looks.", "parameters": {"type": "object"}}


def chat(*messages: Any, **fields: Any) -> dict[str, Any]:
    given = list(messages) or [{"role": "user", "content": "hi"}]
    return to_chat({"model": "m", "max_tokens": 9, "messages": given, **fields})


def messages(*given: Any, **fields: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = chat(*given, **fields)["messages"]
    return found


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def use(call_id: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": "look", "input": arguments}


def result(call_id: str, content: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call_id, "content": content, **fields}


def called(*calls: tuple[str, str], content: str | None = None) -> dict[str, Any]:
    tool_calls = [{"id": i, "type": "function", "function": {"name": "look", "arguments": a}} for i, a in calls]
    return {"role": "assistant", "content": content, "tool_calls": tool_calls}


def tool(call_id: str, content: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


# What the model reads


@pytest.mark.parametrize("system", ["Be brief.", [text("Be brief.")], [{**text("Be brief."), "cache_control": {}}]])
def test_the_system_prompt_is_a_message_before_all_others(system: Any) -> None:
    assert messages(system=system) == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]


def test_a_message_of_the_systems_among_the_others_is_a_users_marked_as_the_systems() -> None:
    found = messages({"role": "user", "content": "hi"}, {"role": "system", "content": "Hurry."}, system="Be brief.")
    assert found[2] == {"role": "user", "content": "<system>\nHurry.\n</system>"}


def test_blocks_of_the_system_prompt_are_one_text() -> None:
    assert messages(system=[text("One."), text("Two.")])[0]["content"] == "One.\n\nTwo."


def test_a_block_about_billing_that_changes_with_each_request_is_left_out() -> None:
    system = [text("x-anthropic-billing-header: cch=1;"), text("Be brief.")]
    assert messages(system=system)[0]["content"] == "Be brief."


def test_a_users_texts_and_images_are_parts() -> None:
    assert messages(user(text("What?"), IMAGE)) == [user(text("What?"), IMAGE_PART)]


def test_an_image_by_its_address() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    assert messages(user(image)) == [user({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}})]


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ({"type": "text", "media_type": "text/plain", "data": "words"}, text("words")),
        ({"type": "content", "content": [text("words")]}, text("words")),
        (
            {"type": "base64", "media_type": "application/pdf", "data": "AA"},
            {"type": "file", "file": {"filename": "T", "file_data": "data:application/pdf;base64,AA"}},
        ),
    ],
)
def test_documents(source: dict[str, Any], part: dict[str, Any]) -> None:
    (message,) = messages(user({"type": "document", "title": "T", "source": source}))
    parts = [part] if part["type"] == "file" else [text("T:"), part]
    assert message["content"] == parts


def test_parallel_tool_calls_and_their_results() -> None:
    given = [
        assistant(text("I look."), use("a", x=1), use("b")),
        user(result("a", "1"), result("b", [text("2")]), text("Go on")),
    ]
    assert messages(*given) == [
        called(("a", '{"x":1}'), ("b", "{}"), content="I look."),
        tool("a", "1"),
        tool("b", "2"),
        {"role": "user", "content": "Go on"},
    ]


def test_results_come_first_whatever_stands_before_them() -> None:
    assert messages(assistant(use("a")), user(text("Go on"), result("a", "1")))[1:] == [
        tool("a", "1"),
        {"role": "user", "content": "Go on"},
    ]


def test_an_errors_result_says_so() -> None:
    assert messages(assistant(use("a")), user(result("a", "no such file", is_error=True)))[1] == tool(
        "a", "Error: no such file"
    )


def test_images_in_a_result_follow_as_a_users_message() -> None:
    found = messages(assistant(use("a")), user(result("a", [text("seen"), IMAGE])))
    assert found[1:] == [tool("a", "seen"), user(text("From the result of tool call a:"), IMAGE_PART)]


def test_a_result_without_content() -> None:
    block = {"type": "tool_result", "tool_use_id": "a"}
    assert messages(assistant(use("a")), user(block))[1] == tool("a", "")


def thinking(words: str, signature: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": words, "signature": signature}


def test_thinking_goes_back_in_the_field_it_came_in_within_its_turn() -> None:
    given = [assistant(thinking("Hm.", "arbstr:reasoning_content"), use("a")), user(result("a", "1"))]
    assert messages(*given)[0] == {**called(("a", "{}")), "reasoning_content": "Hm."}


def test_thinking_of_earlier_turns_and_of_other_servers_is_left_out() -> None:
    earlier = assistant(thinking("Hm.", "arbstr:reasoning"), text("Yes."))
    other = assistant(thinking("Hm.", "EuYB"), {"type": "redacted_thinking", "data": "x"}, text("Sure."))
    assert messages(earlier, {"role": "user", "content": "Sure?"}, other) == [
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "Sure?"},
        {"role": "assistant", "content": "Sure."},
    ]


def test_blocks_of_tools_that_another_server_ran_are_left_out() -> None:
    searched = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    found = {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}
    assert messages(assistant(searched, found, text("Found."))) == [{"role": "assistant", "content": "Found."}]


# What steers it


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {}),
        ({"temperature": 0, "top_p": 0.5, "top_k": 4}, {"temperature": 0, "top_p": 0.5, "top_k": 4}),
        ({"stop_sequences": ["END"]}, {"stop": ["END"]}),
        ({"stop_sequences": []}, {}),
        ({"metadata": {"user_id": "u"}}, {"user": "u"}),
        ({"metadata": {"user_id": "u" * 150}}, {}),
        ({"service_tier": "auto"}, {}),
        ({"service_tier": "standard_only"}, {"service_tier": "default"}),
        ({"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}),
        ({"thinking": {"type": "disabled"}, "context_management": {"edits": []}}, {}),
        ({"output_config": {"effort": "low"}}, {"reasoning_effort": "low"}),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, {"reasoning_effort": "low"}),
        ({"thinking": {"type": "enabled", "budget_tokens": 10_000}}, {"reasoning_effort": "medium"}),
        ({"thinking": {"type": "enabled", "budget_tokens": 31_999}}, {}),
        ({"thinking": {"type": "adaptive"}}, {}),
        ({"output_config": {"effort": "high"}}, {}),
    ],
)
def test_settings(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    found = chat(**fields)
    del found["model"], found["messages"], found["max_tokens"]
    assert found == expected


@pytest.mark.parametrize("place", ["output_format", "output_config"])
def test_a_schema_for_the_answer(place: str) -> None:
    schema = {"type": "object", "additionalProperties": False}
    form = {"type": "json_schema", "schema": schema}
    fields = {place: form} if place == "output_format" else {place: {"format": form}}
    assert chat(**fields)["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "output", "schema": schema, "strict": True},
    }


@pytest.mark.parametrize(
    ("required", "more", "strict"),
    [(["a", "b"], False, True), (["a"], False, None), (["a", "b"], True, None), (None, False, None)],
)
def test_a_schema_is_strict_where_openais_rules_for_that_are_kept(required: Any, more: bool, strict: Any) -> None:
    inner = {"type": "object", "properties": {"a": {}, "b": {}}, "required": required, "additionalProperties": more}
    schema = {"type": "object", "properties": {"x": {"items": inner}}, "required": ["x"], "additionalProperties": False}
    found = chat(output_config={"format": {"type": "json_schema", "schema": schema}})["response_format"]["json_schema"]
    assert found.get("strict") is strict
    tool = {**TOOL, "strict": True, "input_schema": schema}
    assert chat(tools=[tool])["tools"][0]["function"].get("strict") is strict


def test_openais_reasoning_models_have_another_name_for_the_cap() -> None:
    assert chat(model="gpt-5-mini")["max_completion_tokens"] == 9
    assert chat()["max_tokens"] == 9


# Tools


def test_tools() -> None:
    tools = [TOOL, {**TOOL, "type": "custom", "cache_control": {"type": "ephemeral"}}]
    assert chat(tools=tools)["tools"] == [{"type": "function", "function": LOOK}] * 2


def test_a_name_too_long_for_chat_completions_is_the_same_wherever_it_stands() -> None:
    name = "mcp__" + "x" * 100
    block = {**use("a"), "name": name}
    found = chat(assistant(block), tools=[{**TOOL, "name": name}], tool_choice={"type": "tool", "name": name})
    names = {
        found["tools"][0]["function"]["name"],
        found["tool_choice"]["function"]["name"],
        found["messages"][0]["tool_calls"][0]["function"]["name"],
    }
    assert len(names) == 1
    assert len(names.pop()) <= 64


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "any"}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "look"}, {"type": "function", "function": {"name": "look"}}),
    ],
)
def test_tool_choice(choice: Any, expected: Any) -> None:
    assert chat(tools=[TOOL], tool_choice=choice)["tool_choice"] == expected


def test_no_parallel_calls() -> None:
    found = chat(tools=[TOOL], tool_choice={"type": "auto", "disable_parallel_tool_use": True})
    assert found["parallel_tool_calls"] is False


def test_built_in_tools_are_left_out_where_the_choice_is_the_models() -> None:
    found = chat(tools=[TOOL, {"type": "web_search_20250305", "name": "web_search"}], tool_choice={"type": "auto"})
    assert found["tools"] == [{"type": "function", "function": LOOK}]


@pytest.mark.parametrize("choice", [None, {"type": "any"}, {"type": "tool", "name": "web_search"}])
def test_built_in_tools_that_the_choice_insists_on_are_refused_by_name(choice: Any) -> None:
    with pytest.raises(
        UnsupportedParameter, match=r"'tools\[0\]\.type' is 'web_search_20250305', which has no equivalent"
    ) as refused:
        chat(tools=[{"type": "web_search_20250305", "name": "web_search"}], tool_choice=choice)
    assert refused.value.param == "tools[0].type"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"mcp_servers": [{"type": "url"}]}, "mcp_servers"),
        ({"container": "c"}, "container"),
        ({"thread": {"type": "continue", "previous_message_id": "msg_1"}}, "thread"),
        ({"inference_geo": "us"}, "inference_geo"),
        ({"messages": [user({"type": "container_upload", "file_id": "f"})]}, "messages[0].content[0].type"),
        ({"messages": [user({"type": "image", "source": {"type": "file"}})]}, "messages[0].content[0].source.type"),
        ({"messages": [user({"type": "document", "source": {"type": "url"}})]}, "messages[0].content[0].source.type"),
        ({"output_config": {"format": {"type": "xml"}}}, "output_config.format.type"),
    ],
)
def test_what_chat_completions_lack_is_refused_by_its_path(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(UnsupportedParameter) as refused:
        chat(**fields)
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [user({"text": "x"})]}, "messages[0].content[0].type"),
        ({"system": 7}, "system"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
        ({"tools": [TOOL], "tool_choice": "auto"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "maybe"}}, "tool_choice.type"),
    ],
)
def test_values_of_a_wrong_type_are_refused_by_their_path(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        chat(**fields)
    assert refused.value.param == param
