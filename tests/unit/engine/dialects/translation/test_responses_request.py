"""A Responses request as a chat request: what the model reads, what steers it, what is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from arbstr.engine.dialects.translation.responses import to_chat
from arbstr.errors import InvalidParameter, InvalidRequest, UnsupportedParameter

IMAGE = "data:image/png;base64,AAAA"
FUNCTION = {
    "type": "function",
    "name": "look",
    "description": "Looks.",
    "parameters": {"type": "object"},
    "strict": True,
}
LOOK = {"name": "look", "description": "Looks.", "parameters": {"type": "object"}, "strict": True}


def chat(*items: Any, **fields: Any) -> dict[str, Any]:
    return to_chat({"model": "m", "input": list(items) or "hi", **fields})


def messages(*items: Any, **fields: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = chat(*items, **fields)["messages"]
    return found


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def assistant(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}


def function_call(call_id: str, name: str = "look", arguments: str = "{}", **fields: Any) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments, **fields}


def output(call_id: str, output: Any) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": output}


def called(*calls: tuple[str, str, str], content: str | None = None) -> dict[str, Any]:
    tool_calls = [{"id": i, "type": "function", "function": {"name": n, "arguments": a}} for i, n, a in calls]
    return {"role": "assistant", "content": content, "tool_calls": tool_calls}


def tool(call_id: str, content: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


# What the model reads


def test_an_input_of_text_is_the_users_message() -> None:
    assert messages() == [{"role": "user", "content": "hi"}]


def test_instructions_are_a_system_message_before_all_others() -> None:
    assert messages(instructions="Be brief.")[0] == {"role": "system", "content": "Be brief."}


def test_developers_speak_as_the_system() -> None:
    item = {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Be brief."}]}
    assert messages(item, user({"type": "input_text", "text": "hi"})) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hi"},
    ]


def test_instructions_of_several_sources_are_one_message() -> None:
    items = [{"role": role, "content": f"{role}."} for role in ("system", "developer")]
    assert messages(*items, instructions="Be brief.") == [
        {"role": "system", "content": "Be brief.\n\nsystem.\n\ndeveloper."}
    ]


def test_instructions_that_come_later_are_a_users_words_marked_as_the_systems() -> None:
    items = [user({"type": "input_text", "text": "hi"}), {"role": "developer", "content": "Hurry."}]
    assert messages(*items)[1] == {"role": "user", "content": "<system>\nHurry.\n</system>"}


def test_a_users_texts_and_images_are_parts() -> None:
    parts = [{"type": "input_text", "text": "What?"}, {"type": "input_image", "image_url": IMAGE, "detail": "low"}]
    assert messages(user(*parts)) == [
        user({"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": IMAGE, "detail": "low"}})
    ]


def test_a_users_file_is_a_part() -> None:
    file = {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA"}
    assert messages(user({"type": "input_file", **file})) == [user({"type": "file", "file": file})]


def test_an_assistants_words_are_one_text() -> None:
    assert messages(assistant("Hello."), user({"type": "input_text", "text": "Go on"}))[0] == {
        "role": "assistant",
        "content": "Hello.",
    }


def test_parallel_tool_calls_are_one_message_and_their_results_follow() -> None:
    items = [
        assistant("I look."),
        function_call("a"),
        function_call("b", arguments='{"x":1}'),
        output("a", "1"),
        output("b", "2"),
    ]
    assert messages(*items) == [
        called(("a", "look", "{}"), ("b", "look", '{"x":1}'), content="I look."),
        tool("a", "1"),
        tool("b", "2"),
    ]


def test_calls_after_results_are_a_message_of_their_own() -> None:
    items = [function_call("a"), output("a", "1"), function_call("b"), output("b", "2")]
    assert messages(*items) == [
        called(("a", "look", "{}")),
        tool("a", "1"),
        called(("b", "look", "{}")),
        tool("b", "2"),
    ]


def test_results_stand_directly_after_their_calls_whatever_came_between() -> None:
    note = {"role": "developer", "content": "Hurry."}
    assert messages(function_call("a"), note, output("a", "1")) == [
        called(("a", "look", "{}")),
        tool("a", "1"),
        {"role": "user", "content": "<system>\nHurry.\n</system>"},
    ]


def test_a_call_id_used_again_in_a_later_turn_keeps_each_result_with_its_call() -> None:
    items = [function_call("a"), output("a", "1"), function_call("a"), output("a", "2")]
    assert [message.get("content") for message in messages(*items)] == [None, "1", None, "2"]


def test_images_in_a_result_follow_as_a_users_message() -> None:
    parts = [{"type": "input_text", "text": "seen"}, {"type": "input_image", "image_url": IMAGE}]
    assert messages(function_call("a"), output("a", parts))[1:] == [
        tool("a", "seen"),
        user(
            {"type": "text", "text": "From the result of tool call a:"},
            {"type": "image_url", "image_url": {"url": IMAGE}},
        ),
    ]


def test_free_form_calls_and_results_are_those_of_a_function_with_one_argument() -> None:
    items = [
        {"type": "custom_tool_call", "call_id": "a", "name": "apply_patch", "input": "*** Begin"},
        {"type": "custom_tool_call_output", "call_id": "a", "output": "ok"},
    ]
    assert messages(*items) == [called(("a", "apply_patch", '{"input":"*** Begin"}')), tool("a", "ok")]


def test_calls_of_a_namespace_carry_it_in_their_name() -> None:
    assert messages(function_call("a", namespace="mcp__files"))[0] == called(("a", "mcp__files__look", "{}"))


def reasoning(text: str, mark: str | None) -> dict[str, Any]:
    summary = [{"type": "summary_text", "text": text}]
    return {"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": mark}


def test_reasoning_goes_back_in_the_field_it_came_in_within_its_turn() -> None:
    items = [
        user({"type": "input_text", "text": "hi"}),
        reasoning("Hm.", "arbstr:reasoning"),
        function_call("a"),
        output("a", "1"),
    ]
    assert messages(*items)[1] == {**called(("a", "look", "{}")), "reasoning": "Hm."}


def test_reasoning_of_earlier_turns_is_left_out() -> None:
    items = [
        reasoning("Hm.", "arbstr:reasoning_content"),
        assistant("Yes."),
        user({"type": "input_text", "text": "Sure?"}),
    ]
    assert messages(*items)[0] == {"role": "assistant", "content": "Yes."}


def test_reasoning_of_another_server_is_left_out() -> None:
    assert messages(reasoning("Hm.", "gAAAA"), function_call("a"))[0] == called(("a", "look", "{}"))


def test_items_about_tools_that_another_server_ran_are_left_out() -> None:
    search = {"type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "x"}}
    assert messages(search, assistant("Found.")) == [{"role": "assistant", "content": "Found."}]


# What steers it


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"max_output_tokens": 9}, {"max_tokens": 9}),
        ({"temperature": 0, "top_p": 0.5, "user": "u"}, {"temperature": 0, "top_p": 0.5, "user": "u"}),
        ({"reasoning": {"effort": "high", "summary": "auto"}}, {"reasoning_effort": "high"}),
        ({"text": {"verbosity": "low"}}, {"verbosity": "low"}),
        ({"text": {"format": {"type": "text"}}}, {}),
        ({"text": {"format": {"type": "json_object"}}}, {"response_format": {"type": "json_object"}}),
        ({"service_tier": "flex"}, {"service_tier": "flex"}),
        ({"service_tier": "auto"}, {}),
        ({"prompt_cache_key": "k"}, {"prompt_cache_key": "k"}),
        ({"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}),
        ({"top_logprobs": 3}, {"logprobs": True, "top_logprobs": 3}),
        ({"include": ["message.output_text.logprobs"]}, {"logprobs": True}),
        (
            {"include": ["reasoning.encrypted_content"], "store": False, "truncation": "auto", "metadata": {"a": "b"}},
            {},
        ),
        ({"client_metadata": {"x": "y"}, "background": False, "previous_response_id": None, "temperature": None}, {}),
        ({"seed": 7, "stop": ["x"]}, {"seed": 7, "stop": ["x"]}),
    ],
)
def test_settings(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    found = chat(**fields)
    del found["model"], found["messages"]
    assert found == expected


@pytest.mark.parametrize("model", ["gpt-5.2", "openai/gpt-5-mini", "o3", "openai/o4-mini"])
def test_openais_reasoning_models_have_another_name_for_the_cap(model: str) -> None:
    assert chat(model=model, max_output_tokens=9)["max_completion_tokens"] == 9


def test_a_schema_for_the_answer() -> None:
    form = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True, "description": "d"}
    assert chat(text={"format": form})["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True, "description": "d"},
    }


# Tools


def test_functions() -> None:
    found = chat(tools=[FUNCTION], parallel_tool_calls=False, tool_choice="required")
    assert found["tools"] == [{"type": "function", "function": LOOK}]
    assert (found["parallel_tool_calls"], found["tool_choice"]) == (False, "required")


def test_a_free_form_tool_is_a_function_with_one_argument_and_its_grammar_in_words() -> None:
    form = {"type": "grammar", "syntax": "lark", "definition": "start: X"}
    function = chat(tools=[{"type": "custom", "name": "patch", "description": "Patches.", "format": form}])["tools"][0][
        "function"
    ]
    assert function["name"] == "patch"
    assert function["description"].startswith("Patches.")
    assert "start: X" in function["description"]
    assert function["parameters"]["required"] == ["input"]


def test_tools_of_a_namespace_are_functions_with_longer_names() -> None:
    tools = [{"type": "namespace", "name": "mcp__files", "description": "Files.", "tools": [FUNCTION]}]
    assert chat(tools=tools)["tools"][0]["function"]["name"] == "mcp__files__look"


def test_names_that_are_too_long_for_chat_completions_stay_distinct() -> None:
    tools = [{"type": "function", "name": f"{'x' * 40}{n}", "parameters": {}} for n in (1, 2)]
    found = chat(tools=[{"type": "namespace", "name": "n" * 40, "tools": tools}])["tools"]
    names = [tool["function"]["name"] for tool in found]
    assert len(set(names)) == 2
    assert max(map(len, names)) <= 64


def test_tools_that_an_item_of_the_input_adds() -> None:
    item = {"type": "additional_tools", "role": "developer", "tools": [FUNCTION]}
    found = chat(item, user({"type": "input_text", "text": "hi"}))
    assert found["tools"] == [{"type": "function", "function": LOOK}]


def test_what_a_search_for_tools_has_found_is_declared_and_named() -> None:
    spaces = [{"type": "namespace", "name": "mcp", "description": "d", "tools": [FUNCTION]}]
    items: list[dict[str, Any]] = [
        {"type": "tool_search_call", "call_id": "a", "execution": "client", "arguments": {"query": "q"}},
        {"type": "tool_search_output", "call_id": "a", "execution": "client", "tools": spaces},
    ]
    found = chat(*items, *({**item, "call_id": "b"} for item in items))
    assert [tool["function"]["name"] for tool in found["tools"]] == ["mcp__look"]
    assert found["messages"][:2] == [
        called(("a", "tool_search", '{"query":"q"}')),
        tool("a", '{"tools":["mcp__look"]}'),
    ]


def test_tools_whose_names_come_to_the_same_are_sent_once() -> None:
    tools = [
        {"type": "namespace", "name": name, "tools": [{"type": "function", "name": inner}]}
        for name, inner in (("a", "b__c"), ("a__b", "c"))
    ]
    assert len(chat(tools=tools)["tools"]) == 1


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", "auto"),
        ("none", "none"),
        ({"type": "function", "name": "look"}, {"type": "function", "function": {"name": "look"}}),
        ({"type": "custom", "name": "patch"}, {"type": "function", "function": {"name": "patch"}}),
        ({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "look"}]}, "required"),
    ],
)
def test_tool_choice(choice: Any, expected: Any) -> None:
    assert chat(tools=[FUNCTION, {"type": "custom", "name": "patch"}], tool_choice=choice)["tool_choice"] == expected


def test_allowed_tools_are_the_only_ones_sent() -> None:
    choice = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "look"}]}
    found = chat(tools=[FUNCTION, {"type": "custom", "name": "patch"}], tool_choice=choice)
    assert [tool["function"]["name"] for tool in found["tools"]] == ["look"]


@pytest.mark.parametrize("kind", ["web_search", "web_search_preview", "file_search", "image_generation", "x_new"])
def test_built_in_tools_are_left_out_where_the_choice_is_the_models(kind: str) -> None:
    found = chat(tools=[FUNCTION, {"type": kind}], tool_choice="auto")
    assert [tool["function"]["name"] for tool in found["tools"]] == ["look"]
    assert "tools" not in chat(tools=[{"type": kind}], tool_choice="auto")


@pytest.mark.parametrize("choice", [None, "required", {"type": "function", "name": "look"}])
def test_built_in_tools_that_the_choice_insists_on_are_refused_by_name(choice: Any) -> None:
    with pytest.raises(
        UnsupportedParameter, match=r"'tools\[1\]\.type' is 'web_search', which has no equivalent"
    ) as refused:
        chat(tools=[FUNCTION, {"type": "web_search"}], tool_choice=choice)
    assert (refused.value.param, refused.value.code, refused.value.status) == (
        "tools[1].type",
        "unsupported_parameter",
        400,
    )


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_9"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"background": True}, "background"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
        ({"tool_choice": {"type": "web_search_preview"}}, "tool_choice.type"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        ({"input": [{"type": "computer_call_output"}]}, "input[0].type"),
        ({"input": [user({"type": "input_image", "file_id": "f"})]}, "input[0].content[0].file_id"),
        ({"input": [user({"type": "input_file", "file_url": "f"})]}, "input[0].content[0].file_url"),
        ({"input": [user({"type": "input_video"})]}, "input[0].content[0].type"),
    ],
)
def test_what_chat_completions_lack_is_refused_by_its_path(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(UnsupportedParameter) as refused:
        chat(**fields)
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": 7}, "input"),
        ({"input": []}, "input"),
        ({"input": ["x"]}, "input[0]"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": 7}]}, "input[0].content"),
        ({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "input[0].call_id"),
        ({"instructions": 7}, "instructions"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"reasoning": "high"}, "reasoning"),
    ],
)
def test_values_of_a_wrong_type_are_refused_by_their_path(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        chat(**fields)
    assert refused.value.param == param


def test_every_refusal_is_about_the_request() -> None:
    assert issubclass(UnsupportedParameter, InvalidRequest)
