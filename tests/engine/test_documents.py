"""What counts as JSON when clients and providers send it."""

from __future__ import annotations

import json
import sys
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.engine.documents import read, read_or_none

WHOLE = st.integers(-(2**63), 2**64 - 1)  # larger ones are read as floats, as most readers of JSON do
JSON = st.recursive(
    st.none() | st.booleans() | WHOLE | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(JSON)
def test_whatever_json_can_say_is_read(value: Any) -> None:
    assert read(json.dumps(value).encode()) == value


@pytest.mark.parametrize("begins", [b"", rb'"\ud83d", ', rb'"\\ud83d", ', rb'"\uDBff\udead", '])
def test_the_same_depth_is_too_much_with_every_python(begins: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some versions' own reader, which reads halves of surrogate pairs, goes deeper."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        assert read(b"[%b%b%b]" % (begins, b"[" * 1000, b"]" * 1000)) is not None
        with pytest.raises(orjson.JSONDecodeError):
            read(b"[%b%b%b]" % (begins, b"[" * 3000, b"]" * 3000))
    finally:
        sys.setrecursionlimit(limit)


@given(st.binary(max_size=100))
def test_any_other_bytes_are_no_json(data: bytes) -> None:
    try:
        json.loads(data)
    except ValueError:
        assert read_or_none(data) is None


def test_half_a_surrogate_pair_is_json() -> None:
    assert read(rb'{"content": "cut \ud83d"}') == {"content": "cut \ud83d"}


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
        read(data)
