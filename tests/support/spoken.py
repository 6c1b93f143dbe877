"""What models say, for properties that hold whatever it is: words, reasoning, tool calls, and the tokens they took."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from tests.support.translation import call

TOOLS = [
    {"type": "custom", "name": "patch"},
    {"type": "namespace", "name": "mcp__x", "description": "d", "tools": [{"type": "function", "name": "look"}]},
]
_NAMES = ("look", "patch", "mcp__x__look")
_FREE_FORM = "patch"

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_objects = st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers() | texts | st.none(), max_size=3)
pieces = st.lists(st.integers(1, 9), max_size=5)  # how long those are that a stream brings
finishes = st.sampled_from(["stop", "length", "tool_calls"])


@st.composite
def _calls(draw: Any) -> list[dict[str, Any]]:
    """Draw tool calls with distinct ids; those of the free-form tool have its one argument."""
    found = []
    for number in range(draw(st.integers(0, 3))):
        name = draw(st.sampled_from(_NAMES))
        arguments = {"input": draw(texts)} if name == _FREE_FORM else draw(_objects)
        found.append(call(f"call_{number}", name, json.dumps(arguments, separators=(",", ":"), ensure_ascii=False)))
    return found


spoken = st.fixed_dictionaries({"content": texts.filter(bool), "reasoning_content": texts, "tool_calls": _calls()})


@st.composite
def usages(draw: Any) -> dict[str, Any]:
    """Draw what a provider says of tokens: cached, written and reasoning ones are parts."""
    cached, written, fresh, reasoning, words = (draw(st.integers(0, 10**6)) for _ in range(5))
    prompt, completion = cached + written + fresh, reasoning + words
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }
