"""The name that was probably meant."""

from __future__ import annotations

import pytest

from arbstr.suggest import did_you_mean


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("gpt4o", 'did you mean "gpt-4o"?'),
        ("GPT4O", 'did you mean "gpt-4o"?'),
        ("gamme", 'did you mean "Gamma"?'),
        ("zzz", ""),
        ("", ""),
        ("gpt-4o" * 10_000, ""),
    ],
)
def test_the_closest_name_is_proposed_whatever_its_case(name: str, hint: str) -> None:
    assert did_you_mean(name, ["gpt-4o", "Gamma"]) == hint


def test_nothing_is_proposed_where_there_is_nothing() -> None:
    assert did_you_mean("gpt-4o", []) == ""


def test_a_name_may_be_written_as_its_reader_types_it() -> None:
    assert did_you_mean("modle", ["model"], "{}:".format) == "did you mean model:?"


def test_what_is_proposed_is_made_harmless() -> None:
    assert did_you_mean("evil", ["evil\x1b"]) == 'did you mean "evil\N{REPLACEMENT CHARACTER}"?'


def test_among_thousands_the_closest_is_found_soon() -> None:
    known = [f"vendor-{number}/model-{number % 7}-instruct" for number in range(3000)]
    assert did_you_mean("vendor-1234/modle-2-instruct", known) == 'did you mean "vendor-1234/model-2-instruct"?'
