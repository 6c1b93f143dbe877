"""What counts as JSON when clients and providers send it."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.engine import lenient_json
from arbstr.engine.lenient_json import loads, loads_or_none

WHOLE = st.integers(-(2**63), 2**64 - 1)  # larger ones are read as floats, as most readers of JSON do
JSON = st.recursive(
    st.none() | st.booleans() | WHOLE | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(JSON)
def test_whatever_json_can_say_is_read(value: Any) -> None:
    assert loads(json.dumps(value).encode()) == value


@pytest.mark.parametrize("begins", [b"", rb'"\ud83d", ', rb'"\\ud83d", ', rb'"\uDBff\udead", '])
def test_the_same_depth_is_too_much_with_every_python(begins: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some versions' own reader, which reads halves of surrogate pairs, goes deeper."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        assert loads(b"[%b%b%b]" % (begins, b"[" * 1000, b"]" * 1000)) is not None
        with pytest.raises(orjson.JSONDecodeError):
            loads(b"[%b%b%b]" % (begins, b"[" * 3000, b"]" * 3000))
    finally:
        sys.setrecursionlimit(limit)


@given(st.binary(max_size=100))
def test_any_other_bytes_are_no_json(data: bytes) -> None:
    try:
        json.loads(data)
    except ValueError:
        assert loads_or_none(data) is None


def test_a_whole_number_of_any_size_is_json() -> None:
    assert loads(b"[%b]" % (b"7" * 400)) == [int("7" * 400)]


def test_half_a_surrogate_pair_is_json() -> None:
    assert loads(rb'{"content": "cut \ud83d"}') == {"content": "cut \ud83d"}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"NaN",
        b'["\\ud83d", Infinity]',
        b'["\\ud83d", 1e400]',
        b"1" * 5000,
        b'["\xff"]',
        "{}".encode("utf-16"),
        b"[" * 100_000,
    ],
)
def test_what_json_lacks_is_refused_with_its_place(data: bytes) -> None:
    with pytest.raises(orjson.JSONDecodeError):
        loads(data)


# --- how much of it is read


@pytest.fixture
def few_values(monkeypatch: pytest.MonkeyPatch) -> int:
    """The most values that are read now."""
    monkeypatch.setattr(lenient_json, "MOST_VALUES", 20_000)
    return 20_000


@pytest.mark.parametrize(
    "value", [b"{}", b"[]", b"0", b'""', b'{"a":{}}', b'{"a":1,"b":2}', b'"\\\\"', b'"\\"",null', b'{"a":[{"b":[1]}]}']
)
def test_json_with_too_many_values_is_not_read(value: bytes, few_values: int) -> None:
    size = few_values + 1
    with pytest.raises(lenient_json.TooManyValues):
        loads(b'{"model":"m","field":[%b]}' % b",".join([value] * size))


@pytest.mark.parametrize("text", [",", "{", "[", '",', "\\,", '\\",', "a, b", "é,", "\n,", "🙂,{["])
def test_marks_within_texts_are_no_values(text: str, few_values: int) -> None:
    body = json.dumps({"content": text * (few_values + 1), "n": [1, 2]}).encode()
    assert loads(body)["n"] == [1, 2]


@given(st.lists(JSON, max_size=6), st.integers(1, 9))
def test_values_are_counted_alike_however_they_are_cut(values: list[Any], piece_bytes: int) -> None:
    data = json.dumps(values).encode()
    with pytest.MonkeyPatch.context() as patch:
        whole = lenient_json._marks_outside_texts(data)
        patch.setattr(lenient_json, "_PIECE_BYTES", piece_bytes)
        assert lenient_json._marks_outside_texts(data) == whole


def test_as_many_values_as_are_read_are_read_in_time() -> None:
    """60 MB of the smallest values, or of a text that looks like them, hold up the loop for a moment only."""
    bodies = [
        b'{"a":[' + b"{}," * 20_000_000 + b"0]}",
        b'["' + b'\\",' * 20_000_000 + b'"]',
        b'["' + b"\\ud800" * 10**7,
    ]
    for body in bodies:
        began = time.process_time()
        loads_or_none(body)
        assert time.process_time() - began < 1.5


def test_an_answer_with_too_many_values_is_skimmed_for_what_it_used() -> None:
    filling = b",".join([b"{}"] * lenient_json.MOST_VALUES)
    answer = (
        b'{"choices": [{"message":{"content":"hi"}}],"x":[%b],"usage": {"prompt_tokens":3,"total_tokens":7}}' % filling
    )
    document = loads_or_none(answer)
    assert document["usage"] == {"prompt_tokens": 3, "total_tokens": 7}
    assert document["choices"]


@pytest.mark.parametrize(
    "answer", [b'"output":[{"type":"message"}]', b'"content": [{"text":"hi"}]', b'"data":[{"embedding":[1]}]']
)
def test_answers_of_other_dialects_with_too_many_values_are_skimmed_too(answer: bytes) -> None:
    name = json.loads(b"{%b}" % answer).popitem()[0]
    assert loads_or_none(b'{"x":[%b0],%b}' % (b"{}," * lenient_json.MOST_VALUES, answer))[name][0]


@pytest.mark.parametrize("end", [b"", b',{"usage"', b',{"usage":{"a":', b',{"usage": 7}', b',{"usage":{"a":1e999}}'])
def test_what_is_no_answer_is_skimmed_for_nothing(end: bytes) -> None:
    assert not loads_or_none(b"[%b0%b]" % (b"{}," * lenient_json.MOST_VALUES, end)).get("choices")
