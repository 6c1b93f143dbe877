"""JSON as text, so that it can say what no parsed value can: twice the same key, NaN, numbers beyond all measure."""

from __future__ import annotations

import json
from collections.abc import Mapping

from hypothesis import strategies as st

Text = st.SearchStrategy[str]

ODD = [
    *("null", "true", "false", "0", "-1", "1", "1.5", "-0.0", "1e3", "1E400", "-1e400", "NaN", "Infinity", "-Infinity"),
    *(
        "9007199254740993",
        "18446744073709551616",
        "1" * 400,
        "1" * 5000,
        "0." + "1" * 400,
        '""',
        '"x"',
        '"12"',
        '"NaN"',
    ),
    *(r'"\ud83d"', r'"\ude00\ud83d"', r'"\u0000"', r'"\u001b[31m"', r'"\u202e"', '"\x00"', '"' + "x" * 100_000 + '"'),
    *("[]", "{}", "[[]]", "[{}]", "[null]", '{"":{}}', "[" * 900 + "]" * 900, "[" * 1010 + "]" * 1010, "[" * 100_000),
    *('{"a":' * 1010 + "1" + "}" * 1010, "", "{", "]", "//", "'x'", "undefined"),
]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)


@st.composite
def objects(draw: st.DrawFn, fields: Mapping[str, Text], extra: Text | None = None) -> str:
    """An object with most of these fields in any order, some of them twice, and with others if `extra` says what."""
    names = [name for name in fields if draw(st.integers(0, 19))]
    names += draw(st.lists(st.sampled_from(sorted(fields)), max_size=1)) if fields else []
    pairs = [(json.dumps(name), draw(fields[name])) for name in names]
    if extra is not None:
        pairs += [(json.dumps(name), draw(extra)) for name in draw(st.lists(st.text(max_size=5), max_size=2))]
    shuffled = draw(st.permutations(pairs)) if draw(st.booleans()) else pairs
    return "{" + ",".join(f"{name}:{value}" for name, value in shuffled) + "}"


ANYTHING: Text = st.recursive(
    st.sampled_from(ODD) | SCALARS.map(json.dumps),
    lambda inner: st.lists(inner, max_size=3).map(lambda parts: f"[{','.join(parts)}]") | objects({}, inner),
    max_leaves=6,
)


def mostly(*good: str) -> Text:
    """One of these texts, or now and then anything."""
    return st.integers(0, 9).flatmap(lambda dice: ANYTHING if dice == 0 else st.sampled_from(good))


def encoded(text: str) -> bytes:
    """The text as UTF-8, half surrogates as the bytes that UTF-8 has none for."""
    return text.encode("utf-8", "surrogatepass")
