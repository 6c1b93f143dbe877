"""A key that decides and is there twice is refused by name, however it is spelled; the same word elsewhere is not."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.engine import lenient_json
from arbstr.engine.dialects.body import decode
from arbstr.engine.duplicate_keys import DECIDING, refuse_duplicates
from arbstr.errors import InvalidJson
from arbstr.types import JsonObject

VALUES = {
    "model": b'"m"',
    "messages": b'[{"role":"user","content":"hi"}]',
    "stream": b"true",
    "stream_options": b'{"include_usage":true}',
    "tools": b"[]",
}


def check(body: bytes) -> JsonObject:
    """Read a body's object and look for duplicates in it."""
    document = decode(body)
    refuse_duplicates(body, document)
    return document


def twice(first: bytes, second: bytes, value: bytes) -> bytes:
    return b'{"x":1,"%b":%b,"messages" : [],"%b"\n: %b}' % (first, value, second, value)


@pytest.mark.parametrize("key", DECIDING)
def test_a_deciding_key_that_is_there_twice_is_refused_by_name(key: str) -> None:
    value = VALUES.get(key, b"1")
    with pytest.raises(InvalidJson, match=f"key '{key}' more than once") as caught:
        check(twice(key.encode(), key.encode(), value))
    assert (caught.value.status, caught.value.code) == (400, "invalid_json")


MESSAGE = (
    b'{"role":"assistant","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{}}],"tool_calls":[]}'
)


@pytest.mark.parametrize(
    ("inner", "where"),
    [
        (b'{"role":"user","content":"long","content":"short"}', "A message has the key 'content'"),
        (b'{"content":"long","role":"user","content":null}', "A message has the key 'content'"),
        (rb'{"content":"long","role":"user","\u0063ontent":""}', "A message has the key 'content'"),
        (b'{"content":[{"type":"text","text":"a"}],"role":"user","content":""}', "A message has the key 'content'"),
        (b'{"role":"user","role":"system","content":"content"}', "A message has the key 'role'"),
        (b'{"role":"user","tool_calls":[{}],"tool_calls":[]}', "A message has the key 'tool_calls'"),
        (b'{"role":"user","content":[{"type":"text","text":"a","text":"b"}]}', "A content part has the key 'text'"),
        (b'{"role":"user","content":[{"image_url":"a","image_url":"b"}]}', "A content part has the key 'image_url'"),
    ],
)
@pytest.mark.parametrize(
    "others", [b"%b", b"%%b,%b" % MESSAGE, b'{"role":"assistant"},%b', b'{"role":"user","content":"content"},%b']
)
@pytest.mark.parametrize("rest", [b"", b',"tools":[{"content":["role","text"]}]', b',"seed":%d' % 10**30])
def test_a_key_that_decides_within_a_message_is_refused(inner: bytes, where: str, others: bytes, rest: bytes) -> None:
    body = b'{"model":"m","messages":[%b]%b}' % (others % inner, rest)
    with pytest.raises(InvalidJson, match=f"{where} more than once"):
        check(body)


SCHEMA = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"tools":[{"function":{%b}}]%b}'
LONG = b"x" * 10_000


@pytest.mark.parametrize(
    "inner",
    [
        b'"description":"%b","description":"short"' % LONG,
        b'"parameters":{"properties":{"a":{"description":"%b"},"a":{}}}' % LONG,
        rb'"description":"\u0022\u0022\u0022%b","description":"short"' % LONG,
    ],
)
@pytest.mark.parametrize("rest", [b"", rb',"user":"cut \ud83d"', b',"seed":%d' % 10**30])
def test_other_duplicates_pass_and_what_they_hide_counts_as_prompt(inner: bytes, rest: bytes) -> None:
    body = SCHEMA % (inner, rest)
    assert 10_000 <= refuse_duplicates(body, decode(body)) < 10_200


@pytest.mark.parametrize(
    "body",
    [
        SCHEMA % (b'"description":"short"', b""),
        (SCHEMA % (b'"description":"short"', b"")).replace(b":", b" :\n   ").replace(b",", b",\t"),
        SCHEMA % (rb'"description":"\u00e9\ud83d\ude00 \"quoted\" \u005c"', b',"x":1.50e0'),
    ],
)
def test_without_duplicates_nothing_is_hidden(body: bytes) -> None:
    assert refuse_duplicates(body, decode(body)) == 0


def test_a_key_that_decides_within_stream_options_is_refused() -> None:
    body = b'{"model":"m","messages":[%b],"stream_options":{"include_usage":true,"include_usage":false}}' % MESSAGE
    with pytest.raises(InvalidJson, match="stream_options has the key 'include_usage' more than once"):
        check(body)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (b"model", rb"\u006dodel"),
        (rb"\u006Dodel", b"model"),
        (rb"\u006d\u006f\u0064\u0065\u006c", rb"mode\u006C"),
        (rb"mo\u0064el", rb"mo\u0064el"),
    ],
)
def test_an_escape_spells_the_same_key(first: bytes, second: bytes) -> None:
    with pytest.raises(InvalidJson, match="key 'model'"):
        check(twice(first, second, b'"m"'))


def test_an_escaped_underscore_spells_the_same_key() -> None:
    with pytest.raises(InvalidJson, match="key 'max_tokens'"):
        check(rb'{"max_tokens":16,"max\u005ftokens":100000}')


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","messages":[{"model":"a","model":"b"}],"tools":[{"n":1,"n":2}]}',
        b'{"model":"model","x":"model","messages":["messages"]}',
        rb'{"model":"m","messages":[{"role":"user","content":"say \"model\": and \\\"model\" \u006dodel"}]}',
        rb'{"model":"m","x":"\"model","y":["model\"","\\"],"z":"\u006dodel"}',
        rb'{"model":"m","user":"a","user":"b","temperature":0,"temperature":1}',
        rb'{"model":"m","messages":[{"role":"user","content":"\ud83d \"model\" \"model\""}],"x":{"model":1}}',
        rb'{"model":"m","Model":"M","mode\\l":1,"model ":2}',
        b'\xef\xbb\xbf{"model":"m","x":"model"}',
        b'{"model":"m","messages":[%b,%b]}' % (MESSAGE, MESSAGE),
        b'{"model":"m","messages":[{"role":"content","content":"role"},{"role":"text"}],"x":[{"content":1,"content":2}]}',
        b'{"messages":[{"role":"a","x":{"role":1,"content":2,"content":3}}],"stream_options":{"x":"include_usage"}}',
        b'{"messages":{"content":1,"content":2},"stream_options":["include_usage","include_usage"]}',
        b'{"messages":[["content","content"],null,{"role":"a","content":["text","text",{"x":{"text":1,"text":2}}]}]}',
        b'{"x":{"model":"a","model":"b"},"y":{"messages":[],"messages":[]}}',
    ],
)
def test_the_same_word_elsewhere_is_no_second_key(body: bytes) -> None:
    assert check(body) == json.loads(body.decode("utf-8-sig"))


pieces = st.sampled_from(["model", "n", '"model"', '"', "\\", '\\"model', "\u006d", "x"])
texts = st.lists(pieces, max_size=6).map("".join)
values = st.recursive(texts, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))


@given(st.lists(st.tuples(st.sampled_from(["model", "n", "x"]) | texts, values), max_size=6))
def test_only_and_all_deciding_duplicates_are_refused(pairs: list[tuple[str, object]]) -> None:
    body = f"{{{','.join(f'{json.dumps(key)}:{json.dumps(value)}' for key, value in pairs)}}}"
    keys = [key for key, _ in pairs]
    doubtful = any(keys.count(key) > 1 for key in DECIDING)
    try:
        check(body.encode())
    except InvalidJson:
        assert doubtful
    else:
        assert not doubtful


@given(st.lists(st.lists(st.tuples(st.sampled_from(["role", "content", "x"]) | texts, values), max_size=5), max_size=3))
def test_only_and_all_duplicates_within_messages_are_refused(messages: list[list[tuple[str, object]]]) -> None:
    written = (",".join(f"{json.dumps(key)}:{json.dumps(value)}" for key, value in pairs) for pairs in messages)
    body = f'{{"model":"m","messages":[{",".join(f"{{{pairs}}}" for pairs in written)}]}}'
    keys = [[key for key, _ in pairs] for pairs in messages]
    doubtful = any(each.count(key) > 1 for each in keys for key in ("role", "content"))
    try:
        check(body.encode())
    except InvalidJson:
        assert doubtful
    else:
        assert not doubtful


def test_an_escaped_backslash_begins_no_escape() -> None:
    body = rb'{"model": "a", "x\u006d": 1, "\\u006dodel": 2, "y": "\\\\u006d \\\u006dodel"}'
    refuse_duplicates(body, lenient_json.loads(body))


@pytest.mark.parametrize("text", [rb"\u0061", rb"\" ", b"word ", rb"\"model\" ", rb"\"conten "])
def test_a_long_body_holds_up_the_loop_for_a_moment(text: bytes) -> None:
    content = text * (25_000_000 // len(text))
    body = b'{"model":"m","messages":"%b","\\u006do":1,"x":{"model":1,"n":2,"content":1},"n":1}' % content
    document = lenient_json.loads(body)
    began = time.process_time()
    refuse_duplicates(body, document)
    assert time.process_time() - began < 1.5
