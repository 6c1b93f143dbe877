"""Text for fake answers and questions, of the length that is wanted."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.mock import filler_text
from arbstr.mock.token_lengths import draw_lengths


@given(st.text())
def test_tokens_joined_are_the_text_again(wild: str) -> None:
    assert "".join(filler_text.tokens_of(wild)) == wild


@given(st.integers(1, 600), st.sampled_from(["hello", "write code"]), st.integers(0, 9))
def test_an_answer_has_just_so_many_tokens(count: int, question: str, seed: int) -> None:
    assert len(filler_text.answer(question, Random(seed), count, whole=False)) == count


@given(st.integers(60, 600), st.integers(0, 9))
def test_a_whole_answer_ends_where_a_sentence_does(most: int, seed: int) -> None:
    tokens = filler_text.answer("hello", Random(seed), most, whole=True)
    assert len(tokens) <= most
    assert "".join(tokens).endswith(".")


def test_who_asks_for_code_gets_code() -> None:
    assert "return" in "".join(filler_text.answer("Write a function", Random(1), 400, whole=True))
    assert "return" not in "".join(filler_text.answer("Plan a trip", Random(1), 100, whole=True))


@given(st.integers(0, 3000), st.booleans())
def test_a_passage_has_just_so_many_characters(chars: int, code: bool) -> None:
    assert len(filler_text.passage(Random(1), chars, code=code)) == chars


@pytest.mark.parametrize(("code", "inputs", "outputs"), [(False, 1035, 141), (True, 1454, 13)])
def test_sizes_lie_around_the_medians_that_were_measured(code: bool, inputs: int, outputs: int) -> None:
    random = Random(5)
    drawn = [draw_lengths(random, code=code) for _ in range(2001)]
    asked, answered = (sorted(column)[1000] for column in zip(*drawn, strict=True))
    assert asked == pytest.approx(inputs, rel=0.15)
    assert answered == pytest.approx(outputs, rel=0.25)
