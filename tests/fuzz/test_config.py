"""Whatever becomes of a configuration file under an editor, it is read or refused in words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from arbstr.config.loader import load
from arbstr.errors import ConfigError
from arbstr.sanitize import sanitize
from tests.fuzz.spoil import spoilt
from tests.support.effort import fuzzed
from tests.support.paths import TOP

KEY = "sk-config-0123456789abcdef"
EXAMPLE = (TOP / "config.example.toml").read_text()
# Every table and option, also those that stand there as a comment.
LINES = re.findall(r"^(?:# )?(\[+[a-z.]+\]+|\w+ = [^#\n]+)", EXAMPLE, re.MULTILINE)
VALUES = st.sampled_from(
    [
        *(
            "0",
            "-1",
            "1e400",
            "nan",
            "inf",
            "9223372036854775808",
            "1" * 5000,
            "true",
            '""',
            '"x"',
            '"${KEY}"',
            '"${"',
            '"$$"',
        ),
        *(
            "[]",
            "{}",
            "[[]]",
            '["gpt-4o"]',
            "{ connect = 0 }",
            "2026-01-31",
            '"\\u202e"',
            f'"{KEY}"',
            '"http://a:b@c"',
            "'",
        ),
        *('"::1"', '"[::1]:70000"', '"file:///x"', '"\\u0000"', "[" * 500 + "]" * 500, '"""', "# ", "= 1"),
    ]
)


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """The example with some values replaced, some lines moved, and perhaps some bytes spoilt."""
    lines = list(LINES)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(lines) - 1))
        name, equals, _ = lines[place].partition("=")
        match draw(st.integers(0, 4)):
            case 0:
                lines.insert(draw(st.integers(0, len(lines))), lines.pop(place))
            case 1:
                lines.insert(place, lines[place])
            case _:
                lines[place] = f"{name}{equals} {draw(VALUES)}"
    data = "\n".join(lines).encode()
    return draw(spoilt(data)) if draw(st.booleans()) else data


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("config") / "config.toml"


@fuzzed(100)
@given(data=files())
def test_any_file_is_read_or_refused_in_words(path: Path, data: bytes) -> None:
    note(f"{data!r}")
    path.write_bytes(data)
    try:
        problems = load(path, {"KEY": KEY, "ALPHA_KEY": KEY, "ARBSTR_TOKEN": KEY}).warnings
    except ConfigError as error:
        problems = tuple(error.problems)
        assert problems
    for sentence in problems:
        assert sentence == sanitize(sentence, most=len(sentence)), "one line, and nothing in it that acts"
        assert sentence.startswith(f"{path}: ")
        assert KEY not in sentence
