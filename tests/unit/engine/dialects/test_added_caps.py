"""A policy's cap in the body of a request that has none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.engine.dialects.body import with_default_cap, without_added_cap
from arbstr.engine.dialects.chat import CHAT
from arbstr.engine.dialects.completions import COMPLETIONS
from arbstr.engine.dialects.dialect import Dialect
from arbstr.engine.dialects.embeddings import EMBEDDINGS
from arbstr.engine.dialects.responses import RESPONSES
from arbstr.types import InferenceRequest, JsonObject

MESSAGES = [{"role": "user", "content": "hi"}]


def parsed(document: JsonObject, dialect: Dialect = CHAT, raw: bytes | None = None) -> InferenceRequest:
    body = json.dumps(document).encode() if raw is None else raw
    return dialect.parse(document, body, request_id="r-1", policy=None)


@pytest.mark.parametrize(
    ("dialect", "field", "body"),
    [
        (CHAT, "max_tokens", {"messages": MESSAGES}),
        (COMPLETIONS, "max_tokens", {"prompt": "hi"}),
        (RESPONSES, "max_output_tokens", {"input": "hi"}),
    ],
    ids=["chat", "completions", "responses"],
)
def test_it_stands_in_the_dialects_own_field(dialect: Dialect, field: str, body: JsonObject) -> None:
    request = with_default_cap(parsed({"model": "m", **body}, dialect), 4096)
    assert json.loads(request.body) == {field: 4096, "model": "m", **body}
    assert (request.max_tokens, request.loosest_cap) == (4096, 4096)
    assert request.document is None or request.document[field] == 4096


def test_a_dialect_without_one_stays_as_it_is() -> None:
    request = parsed({"model": "m", "input": "hi"}, EMBEDDINGS)
    assert with_default_cap(request, 4096) is request


def test_a_streams_two_bodies_both_have_it() -> None:
    request = with_default_cap(parsed({"model": "m", "messages": MESSAGES, "stream": True}), 9)
    assert request.plain_body is not None
    assert [json.loads(body)["max_tokens"] for body in (request.body, request.plain_body)] == [9, 9]
    assert "stream_options" not in json.loads(request.plain_body)


def test_a_cap_of_null_is_replaced() -> None:
    request = with_default_cap(parsed({"model": "m", "messages": MESSAGES, "max_tokens": None}), 9)
    assert json.loads(request.body)["max_tokens"] == 9
    assert request.body.count(b"max_tokens") == 1
    assert request.added_cap == b"", "it can't be taken out again"


names = st.text(max_size=6).map("x{}".format)  # no field that has a meaning
values = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists)


@given(st.dictionaries(names, values, max_size=4), st.integers(1, 10**9), st.sampled_from(["", " \n"]))
def test_all_else_stays_byte_for_byte_and_comes_back_when_it_is_taken_out(
    more: dict[str, Any], tokens: int, before: str
) -> None:
    document = {**more, "model": "m", "messages": MESSAGES}
    request = parsed(document, raw=(before + json.dumps(document)).encode())
    if request.max_tokens is not None or "max_tokens" in document or "stream" in document:
        return
    with_cap = with_default_cap(request, tokens)
    assert json.loads(with_cap.body) == {**document, "max_tokens": tokens}
    assert without_added_cap(with_cap).body == request.body
