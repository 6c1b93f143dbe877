"""Where a prompt may be cut: what two requests have in common is found in their places, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.engine.dialects.chat import CHAT
from arbstr.engine.dialects.completions import COMPLETIONS
from arbstr.engine.dialects.messages import MESSAGES
from arbstr.engine.dialects.responses import RESPONSES
from arbstr.engine.prefixes import prefix_of
from arbstr.types import JsonObject, Prefix


def said(*texts: str) -> list[JsonObject]:
    return [{"role": "user" if number % 2 else "system", "content": text} for number, text in enumerate(texts)]


def chat(*texts: str, **fields: Any) -> Prefix:
    found = prefix_of({"model": "m", "messages": said(*texts), **fields}, CHAT.prompt_fields)
    assert found is not None
    return found


def common(one: Prefix, other: Prefix) -> int:
    """How many places two prompts have in common."""
    return len(set(one.hashes) & set(other.hashes))


def test_a_prompt_may_be_cut_at_the_end_of_each_message() -> None:
    prefix = chat("be brief", "hello", "hi", "and?")
    assert len(prefix.hashes) == len(prefix.ends) == 4
    assert prefix.ends[-1] == prefix.size


def test_a_conversation_that_goes_on_has_all_places_that_it_had_before() -> None:
    before, after = chat("be brief", "hello"), chat("be brief", "hello", "hi", "and?")
    assert after.hashes[:2] == before.hashes
    assert after.ends[:2] == before.ends


def test_what_follows_another_beginning_has_no_place_in_common() -> None:
    assert common(chat("be brief", "hello"), chat("be long", "hello")) == 0


@pytest.mark.parametrize(
    ("fields", "first", "then"),
    [
        (CHAT.prompt_fields, {"tools": [{"name": "a"}]}, "messages"),
        (MESSAGES.prompt_fields, {"tools": [{"name": "a"}], "system": "be brief"}, "messages"),
        (RESPONSES.prompt_fields, {"tools": [{"name": "a"}], "instructions": "be brief"}, "input"),
    ],
)
def test_tools_and_instructions_come_before_messages(fields: tuple[str, ...], first: JsonObject, then: str) -> None:
    one = prefix_of({**first, then: said("hello")}, fields)
    other = prefix_of({then: said("good morning"), **first}, fields)
    assert one is not None
    assert other is not None
    assert common(one, other) == len(first)
    without = prefix_of({then: said("hello")}, fields)
    assert without is not None
    assert common(one, without) == 0


def test_settings_are_no_part_of_a_prompt() -> None:
    assert chat("hello", temperature=1, max_tokens=5, stream=True) == chat("hello")


def test_marks_that_move_from_message_to_message_are_no_part_of_a_prompt() -> None:
    def part(**mark: Any) -> list[JsonObject]:
        return [{"type": "text", "text": 'say "cache_control":{} twice', **mark}]

    def prompt(*contents: Any) -> Prefix | None:
        return prefix_of({"messages": [{"role": "user", "content": each} for each in contents]}, ("messages",))

    marked = prompt(part(cache_control={"type": "ephemeral"}))
    later = prompt(part(), part(cache_control={"type": "ephemeral", "ttl": "1h"}))
    assert marked is not None
    assert later is not None
    assert later.hashes[:1] == marked.hashes


def test_a_long_message_is_known_as_far_as_it_begins_alike() -> None:
    text = "".join(f"{number} " for number in range(10_000))
    one, other = chat(text), chat(text[:30_000] + "something else")
    assert common(one, other) == 30_000 // 4096
    assert one.ends == tuple(sorted(one.ends))


def test_an_image_counts_as_a_thousand_tokens_whatever_its_bytes() -> None:
    url = f"data:image/png;base64,{'A' * 100_000}"
    image = [{"type": "image_url", "image_url": {"url": url}}]
    prefix = prefix_of({"messages": [{"role": "user", "content": image}]}, ("messages",))
    assert prefix is not None
    assert prefix.size == 4000


@pytest.mark.parametrize("prompt", ["once upon a time", ["once", "upon"]])
def test_a_prompt_of_text_alone_has_places_too(prompt: Any) -> None:
    assert prefix_of({"prompt": prompt}, COMPLETIONS.prompt_fields) is not None


@pytest.mark.parametrize("document", [{}, {"messages": []}, {"messages": None}, {"messages": [{"content": "\ud800"}]}])
def test_what_has_no_prompt_or_one_that_can_not_be_read_has_no_places(document: JsonObject) -> None:
    assert prefix_of(document, ("messages",)) is None


words = st.lists(st.text(max_size=5), min_size=1, max_size=8)


@given(words, words)
def test_two_prompts_have_in_common_just_the_messages_they_begin_with(one: list[str], other: list[str]) -> None:
    alike = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    assert common(chat(*one), chat(*other)) == alike
