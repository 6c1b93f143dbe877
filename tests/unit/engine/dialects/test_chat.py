"""A client's body, read once: what is refused, what is read, and what goes up."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.engine.dialects.body import decode, with_model
from arbstr.engine.dialects.chat import CHAT
from arbstr.engine.dialects.fields import named_model
from arbstr.engine.upstream.sse import encode_event
from arbstr.errors import ApiError, BadUpstreamResponse, InvalidJson, InvalidRequest
from arbstr.types import InferenceRequest, JsonObject

HELLO = [{"role": "user", "content": "hello"}]


def read(body: bytes | dict[str, Any]) -> InferenceRequest:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return CHAT.parse(decode(raw), raw, request_id="r", policy=None)


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"", "invalid_json", None),
        (b"{", "invalid_json", None),
        (b"[]", "invalid_json", None),
        (b'"x"', "invalid_json", None),
        (b'{"model": NaN}', "invalid_json", None),
        (b"\xff\xfe", "invalid_json", None),
        ('{"model": "é"}'.encode("utf-16"), "invalid_json", None),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "invalid_json", None),
        ({"messages": HELLO}, "missing_model", "model"),
        ({"model": "", "messages": HELLO}, "missing_model", "model"),
        ({"model": None, "messages": HELLO}, "missing_model", "model"),
        ({"model": 4, "messages": HELLO}, "invalid_parameter", "model"),
        ({"model": "a\x1b[31m", "messages": HELLO}, "invalid_parameter", "model"),
        ({"model": "a" * 301, "messages": HELLO}, "invalid_parameter", "model"),
        ({"model": "m"}, "invalid_messages", "messages"),
        ({"model": "m", "messages": []}, "invalid_messages", "messages"),
        ({"model": "m", "messages": "hello"}, "invalid_messages", "messages"),
        ({"model": "m", "messages": ["hello"]}, "invalid_messages", "messages[0]"),
        ({"model": "m", "messages": [{"content": "x"}]}, "invalid_messages", "messages[0].role"),
        ({"model": "m", "messages": HELLO, "stream": "yes"}, "invalid_parameter", "stream"),
        ({"model": "m", "messages": HELLO, "stream_options": []}, "invalid_parameter", "stream_options"),
        (
            {"model": "m", "messages": HELLO, "stream_options": {"include_usage": 1}},
            "invalid_parameter",
            "stream_options.include_usage",
        ),
        ({"model": "m", "messages": HELLO, "max_tokens": "100"}, "invalid_parameter", "max_tokens"),
        ({"model": "m", "messages": HELLO, "max_tokens": 0}, "invalid_parameter", "max_tokens"),
        ({"model": "m", "messages": HELLO, "max_tokens": True}, "invalid_parameter", "max_tokens"),
        ({"model": "m", "messages": HELLO, "max_completion_tokens": 1.5}, "invalid_parameter", "max_completion_tokens"),
        ({"model": "m", "messages": HELLO, "max_tokens": -100.0}, "invalid_parameter", "max_tokens"),
        ({"model": "m", "messages": HELLO, "n": 0}, "invalid_parameter", "n"),
        ({"model": "m", "messages": HELLO, "n": 129}, "invalid_parameter", "n"),
        ({"model": "m", "messages": HELLO, "n": 1.1}, "invalid_parameter", "n"),
        ({"model": "m", "messages": HELLO, "n": "2"}, "invalid_parameter", "n"),
        ({"model": "m", "messages": HELLO, "n": False}, "invalid_parameter", "n"),
    ],
)
def test_a_body_that_can_not_be_served_is_refused_by_field(body: Any, code: str, param: str | None) -> None:
    with pytest.raises(ApiError) as caught:
        read(body)
    assert (caught.value.code, caught.value.param, caught.value.status) == (code, param, 400)


def test_a_syntax_error_says_where() -> None:
    with pytest.raises(InvalidJson, match="line 2, column"):
        read(b'{"model":\n oops}')


def test_a_plain_request_goes_up_byte_for_byte() -> None:
    body = (
        b'{ "model":"m", "messages":[{"role":"user","content":"hi"}], "x_new": 1.10, "seed": 12345678901234567890123 }'
    )
    assert read(body).body == body


def test_a_stream_asks_for_usage_and_keeps_every_other_byte() -> None:
    body = b' {"stream":true, "model":"m","messages":[{"role":"user","content":"hi"}], "top_p": 1.10}'
    chat = read(body)
    assert chat.body == b' {"stream_options":{"include_usage":true},' + body[2:]
    assert not chat.wants_usage


def test_a_stream_that_asks_for_usage_itself_goes_up_byte_for_byte() -> None:
    body = b'{"model":"m","messages":[{"role":"user"}],"stream":true,"stream_options":{"include_usage": true}}'
    chat = read(body)
    assert chat.body == body
    assert chat.wants_usage


@pytest.mark.parametrize("options", [{"include_usage": False, "other": 1}, {"other": 1}, None])
def test_other_stream_options_are_kept(options: dict[str, Any] | None) -> None:
    big = 2**70
    chat = read({"model": "m", "messages": HELLO, "stream": True, "stream_options": options, "seed": big})
    sent = json.loads(chat.body)
    assert sent["stream_options"] == {**(options or {}), "include_usage": True}
    assert sent["seed"] == big
    assert not chat.wants_usage


def test_half_a_surrogate_pair_is_json_and_goes_up_as_it_came() -> None:
    body = rb'{"model":"m","messages":[{"role":"user","content":"cut \ud83d"}]}'
    chat = read(body)
    assert chat.body == body
    assert chat.prompt_chars == 5


def test_text_is_counted_over_all_messages_and_parts() -> None:
    chat = read(
        {
            "model": "m",
            "messages": [
                {"role": "system", "content": "1234"},
                {"role": "user", "content": [{"type": "text", "text": "12"}, {"type": "image_url", "image_url": {}}]},
                {"role": "assistant", "content": None},
            ],
        }
    )
    assert chat.prompt_chars == 6
    assert chat.last_user_text == "12"


def test_the_last_user_message_is_the_one_that_counts() -> None:
    messages = [
        {"role": "user", "content": "first"},
        {"role": "user", "content": "last"},
        {"role": "tool", "content": "x"},
    ]
    assert read({"model": "m", "messages": messages}).last_user_text == "last"


@pytest.mark.parametrize(("value", "cap"), [(100, 100), (100.0, 100), (1e30, 2**53), (None, None)])
@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_cap_is_a_whole_number_however_json_writes_it(name: str, value: float | None, cap: int | None) -> None:
    body = json.dumps({"model": "m", "messages": HELLO, name: value}).encode()
    chat = read(body)
    assert (chat.max_tokens, chat.body) == (cap, body)


@pytest.mark.parametrize(("n", "choices"), [(None, 1), (1, 1), (3, 3), (128.0, 128)])
def test_n_is_how_many_answers_are_asked_for(n: float | None, choices: int) -> None:
    assert read({"model": "m", "messages": HELLO, "n": n}).choices == choices


def test_a_byte_order_mark_is_no_part_of_the_json() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
    assert read(b"\xef\xbb\xbf" + body).body == body
    chat = read(b"\xef\xbb\xbf" + body[:-1] + b',"stream":true}')
    assert chat.body.startswith(b'{"stream_options":{"include_usage":true},"model"')


def test_the_tighter_cap_holds() -> None:
    chat = read({"model": "m", "messages": HELLO, "max_tokens": 100, "max_completion_tokens": 50})
    assert chat.max_tokens == 50


def test_another_model_leaves_the_rest() -> None:
    document = json.loads(with_model(b'{"model":"a","seed":12345678901234567890123}', "b"))
    assert document == {"model": "b", "seed": 12345678901234567890123}


@pytest.mark.parametrize("depth", [1000, 1020])
def test_what_is_nested_as_deeply_as_can_be_read_is_changed_or_refused(depth: int) -> None:
    """Python's own reader, which keeps all numbers as they are, goes less deep in some of its versions."""
    deep = b'{"model":"m","messages":[{"role":"user"}],"stream":true,"stream_options":{},"x":%b%b}'
    body = deep % (b"[" * depth, b"]" * depth)
    changes: list[tuple[Callable[[], bytes], JsonObject]] = [
        (lambda: read(body).body, {"stream_options": {"include_usage": True}}),
        (lambda: with_model(body, "b"), {"model": "b"}),
    ]
    for change, changed in changes:
        try:
            after = change()
        except InvalidJson as error:
            assert "nested too deeply" in error.message  # noqa: PT017 - else it has been changed
        else:
            found = orjson.loads(after)
            assert found.keys() == orjson.loads(body).keys()
            assert {name: found[name] for name in changed} == changed
            assert b"[" * depth in after, "comparing such lists is a recursion too"


def test_a_cap_beyond_all_floats_is_as_good_as_none() -> None:
    body = rb'{"model":"m","messages":[{"role":"user","content":"cut \ud83d"}],"max_tokens":1%b}' % (b"0" * 400)
    chat = read(body)
    assert chat.max_tokens == 2**53
    assert chat.body == body


def test_a_model_is_named_for_the_row_as_far_as_it_can_be() -> None:
    assert named_model({"model": "gpt"}) == "gpt"
    assert named_model({"model": 5}) == ""
    assert named_model({"model": "\ud83d"}) == "?"


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.booleans() | st.text(), st.lists).map(json.dumps).map(str.encode)
)
def test_no_body_is_answered_by_anything_but_a_refusal(body: bytes) -> None:
    with contextlib.suppress(InvalidRequest):
        read(body)


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        (b'{ "a":1.0, "model" :\n"x\\"y", "b":"\\u00e9" }', None),
        (b'{"a":1e2,"model" : "x\\"y" ,"b":"\xc3\xa9"}', b'{"a":1e2,"model" : "b/c" ,"b":"\xc3\xa9"}'),
        (b'{"metadata":{"model":"x"},"model":"x"}', b'{"metadata":{"model":"x"},"model":"b/c"}'),
        (b'{"mod\\u0065l":"x","metadata":{"model":"x"}}', b'{"model":"b/c","metadata":{"model":"x"}}'),
        (b'{"model":"x","stop":"model"}', b'{"model":"b/c","stop":"model"}'),
    ],
)
def test_another_model_changes_no_other_byte_where_that_is_certain(body: bytes, changed: bytes | None) -> None:
    found = with_model(body, "b/c")
    assert json.loads(found) == {**json.loads(body), "model": "b/c"}
    assert changed is None or found == changed


def test_an_error_within_a_stream_looks_like_the_body_of_one() -> None:
    error = BadUpstreamResponse("The stream from 'alpha' broke off: no content for 9 s.")
    assert CHAT.error_event(error) == encode_event(orjson.dumps(CHAT.error_body(error)))
    assert CHAT.error_body(error) == error.body()
