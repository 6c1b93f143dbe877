"""What clients of other dialects than chat send: requests with anything in any field."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.fuzz.json_text import ANYTHING, Text, encoded, mostly, objects
from tests.fuzz.requests import Sent, posted
from tests.fuzz.spoil import maybe_spoilt
from tests.support.dialects import COMPLETIONS, EMBEDDINGS, MESSAGES, RESPONSES

_MODEL = mostly('"gpt-4o"', '"gpt-4o"', '"chatty"', '"chatty"', '"chatty"', '"nope"')
_STREAM = mostly("true", "true", "false", "null")
_CAP = mostly("null", "1", "100", "100.0", "0", "1" * 400)
_WORDS = mostly('"hi"', '"Code, please"', r'"cut \ud83d"', '""', '"grüße 😀"')
_SCHEMA = mostly(
    '{"type":"object","properties":{"city":{"type":"string"}},"required":["city"],"additionalProperties":false}',
    "{}",
    '{"type":"object","properties":{"a":{"$ref":"#/$defs/a"}},"$defs":{"a":{"anyOf":[{"type":"null"},true]}}}',
)
_NAME = mostly('"look"', '"mcp__x__look"', '"' + "n" * 100 + '"', '"ä b"', '""')
_ID = mostly('"a"', '"a"', '"b"', '"msg_0"', '""')
_ARGUMENTS = mostly('"{}"', r'"{\"city\":\"Bern\"}"', '"{"', '""')
_DATA_URL = mostly('"data:image/png;base64,AAAA"', '"https://example.com/a.png"', '"data:,"')


def _listed(item: Text, most: int = 3) -> Text:
    listed = st.lists(item, min_size=1, max_size=most).map(lambda parts: f"[{','.join(parts)}]")
    return st.one_of(listed, listed, listed, listed, mostly("[]", "null"))


def _typed(kind: str, **fields: Text) -> Text:
    return objects({"type": mostly(f'"{kind}"'), **fields})


_SOURCE = (
    _typed("base64", media_type=mostly('"image/png"'), data=mostly('"AAAA"'))
    | _typed("url", url=_DATA_URL)
    | _typed("text", data=_WORDS)
    | _typed("file", file_id=_ID)
)
_BLOCK = st.one_of(
    _typed("text", text=_WORDS, cache_control=mostly('{"type":"ephemeral"}')),
    _typed("image", source=_SOURCE),
    _typed("document", source=_SOURCE, title=_WORDS),
    _typed("tool_use", id=_ID, name=_NAME, input=mostly("{}", '{"city":"Bern"}')),
    _typed("tool_result", tool_use_id=_ID, content=_WORDS | _listed(_typed("text", text=_WORDS)), is_error=ANYTHING),
    _typed("thinking", thinking=_WORDS, signature=mostly('"x"', '"arbstr:reasoning"')),
    _typed("redacted_thinking", data=_WORDS),
    _typed("server_tool_use", id=_ID, name=_NAME, input=ANYTHING),
    _typed("never_heard_of", x=ANYTHING),
)
_MESSAGE = objects(
    {"role": mostly('"user"', '"user"', '"assistant"', '"system"'), "content": _WORDS | _listed(_BLOCK) | ANYTHING}
)
_ANTHROPIC_TOOL = st.one_of(
    objects({"name": _NAME, "description": _WORDS, "input_schema": _SCHEMA, "strict": mostly("true", "null")}),
    _typed("custom", name=_NAME, input_schema=_SCHEMA),
    _typed("web_search_20250305", name=mostly('"web_search"')),
)
_MESSAGES_FIELDS: dict[str, Text] = {
    "model": _MODEL,
    "messages": _listed(_MESSAGE) | mostly('[{"role":"user","content":"hi"}]'),
    "max_tokens": _CAP,
    "stream": _STREAM,
    "system": _WORDS | _listed(_typed("text", text=_WORDS)),
    "tools": _listed(_ANTHROPIC_TOOL),
    "tool_choice": mostly('{"type":"auto"}', '{"type":"any"}', '{"type":"tool","name":"look"}', '{"type":"none"}'),
    "stop_sequences": mostly('["x"]', "[]", "null"),
    "metadata": mostly('{"user_id":"u"}', "null"),
    "thinking": mostly('{"type":"enabled","budget_tokens":5000}', "null"),
    "output_config": mostly('{"effort":"low"}', "null", '{"format":{"type":"json_schema","schema":{}}}'),
    "mcp_servers": mostly("null", "[]", '[{"url":"x"}]'),
}

_PART = st.one_of(
    _typed("input_text", text=_WORDS),
    _typed("output_text", text=_WORDS, annotations=ANYTHING),
    _typed("input_image", image_url=_DATA_URL, detail=mostly('"low"', '"original"'), file_id=mostly("null", '"f"')),
    _typed("input_file", filename=_WORDS, file_data=_DATA_URL, file_url=mostly("null", '"https://example.com"')),
    _typed("input_audio", input_audio=ANYTHING),
    _typed("refusal", refusal=_WORDS),
    _typed("never_heard_of", x=ANYTHING),
)
_ROLE = mostly('"user"', '"user"', '"assistant"', '"developer"', '"system"', '"tool"')
_ITEM = st.one_of(
    objects({"role": _ROLE, "content": _WORDS | _listed(_PART)}),
    _typed("message", role=_ROLE, content=_listed(_PART), id=_ID),
    _typed("function_call", call_id=_ID, name=_NAME, arguments=_ARGUMENTS, namespace=mostly("null", '"mcp__x"')),
    _typed("function_call_output", call_id=_ID, output=_WORDS | _listed(_PART)),
    _typed("custom_tool_call", call_id=_ID, name=_NAME, input=_WORDS),
    _typed("custom_tool_call_output", call_id=_ID, output=_WORDS),
    _typed("reasoning", id=_ID, summary=_listed(_typed("summary_text", text=_WORDS)), encrypted_content=_ID),
    _typed("item_reference", id=_ID),
    _typed("web_search_call", id=_ID, action=ANYTHING),
    _typed("never_heard_of", x=ANYTHING),
)
_OPENAI_TOOL = st.one_of(
    _typed("function", name=_NAME, description=_WORDS, parameters=_SCHEMA, strict=mostly("true", "false", "null")),
    _typed("custom", name=_NAME, format=mostly('{"type":"grammar","syntax":"lark","definition":"start: x"}', "null")),
    _typed("namespace", name=_NAME, tools=_listed(_typed("function", name=_NAME, parameters=_SCHEMA), 2)),
    _typed("web_search"),
    _typed("function", function=objects({"name": _NAME, "parameters": _SCHEMA})),
)
_RESPONSES_FIELDS: dict[str, Text] = {
    "model": _MODEL,
    "input": _WORDS | _listed(_ITEM) | mostly('"hi"'),
    "instructions": mostly("null", '"Be brief."'),
    "max_output_tokens": _CAP,
    "stream": _STREAM,
    "tools": _listed(_OPENAI_TOOL),
    "tool_choice": mostly('"auto"', '"required"', '"none"', '{"type":"function","name":"look"}', "null"),
    "text": mostly(
        "null",
        '{"format":{"type":"json_schema","name":"x","schema":{}}}',
        '{"format":{"type":"json_object"},"verbosity":"low"}',
    ),
    "previous_response_id": mostly("null", "null", "null", '"resp_0"'),
    "reasoning": mostly("null", '{"effort":"low","summary":"auto"}'),
    "include": mostly("null", '["reasoning.encrypted_content"]', '["message.output_text.logprobs"]'),
    "store": mostly("false", "true", "null"),
    "metadata": mostly("null", '{"a":"b"}'),
    "background": mostly("null", "false", "true"),
}
_TEXTS = mostly('"hi"', '["hi","ho"]', "[1,2]", "[[1],[2]]", "[]", '[""]')
_EMBEDDINGS_FIELDS: dict[str, Text] = {
    "model": _MODEL,
    "input": _TEXTS,
    "encoding_format": mostly('"float"', '"base64"'),
    "dimensions": _CAP,
    "stream": mostly("null", "true"),
}
_COMPLETIONS_FIELDS: dict[str, Text] = {
    "model": _MODEL,
    "prompt": _TEXTS,
    "max_tokens": _CAP,
    "n": mostly("1", "2", "129", "null"),
    "best_of": mostly("null", "3"),
    "stream": _STREAM,
    "stream_options": mostly("null", '{"include_usage":true}', "{}"),
    "logprobs": mostly("null", "3"),
}
FIELDS = {
    MESSAGES.path: _MESSAGES_FIELDS,
    RESPONSES.path: _RESPONSES_FIELDS,
    EMBEDDINGS.path: _EMBEDDINGS_FIELDS,
    COMPLETIONS.path: _COMPLETIONS_FIELDS,
}


_NEEDED = ("model", "messages", "input", "prompt")


@st.composite
def of_any_dialect(draw: st.DrawFn) -> Sent:
    """A request to any of these endpoints, right or wrong: with few of the fields most are right."""
    path = draw(st.sampled_from([MESSAGES.path, MESSAGES.path, RESPONSES.path, RESPONSES.path, *FIELDS]))
    fields = FIELDS[path]
    if draw(st.integers(0, 3)):
        others = draw(st.lists(st.sampled_from(sorted(set(fields) - set(_NEEDED))), max_size=3))
        fields = {name: fields[name] for name in (*_NEEDED, *others) if name in fields}
        return posted(path, encoded(draw(_whole_objects(fields))))
    return posted(path, draw(maybe_spoilt(encoded(draw(objects(fields, ANYTHING))))))


@st.composite
def _whole_objects(draw: st.DrawFn, fields: dict[str, Text]) -> str:
    return "{" + ",".join(f'"{name}":{draw(value)}' for name, value in fields.items()) + "}"
