"""Aliases: other names for models, exact ones and patterns, and which of them are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from arbstr.config.aliases import Aliases
from arbstr.config.loader import load
from arbstr.errors import ConfigError

LISTED = ("gpt-4o", "gpt-4o-mini", "claude-3.5-sonnet")


@pytest.mark.parametrize(
    ("asked", "model"),
    [
        ("fast", "gpt-4o-mini"),
        ("FAST", "gpt-4o-mini"),
        ("claude-sonnet-4-20250514", "claude-3.5-sonnet"),
        ("Claude-Sonnet-4", "claude-3.5-sonnet"),
        ("claude-sonnet-3", "claude-sonnet-3"),
        ("a-claude-sonnet-4", "a-claude-sonnet-4"),
        ("quick", "gpt-4o-mini"),
        ("vendor/anything[1m]", "gpt-4o"),
        ("vendor/anything", "vendor/anything"),
        ("other", "other"),
    ],
)
def test_a_name_stands_for_a_model_whatever_its_case(asked: str, model: str) -> None:
    aliases = {
        "Fast": "gpt-4o-mini",
        "quick": "fast",
        "claude-sonnet-4*": "claude-3.5-sonnet",
        "*/*[1m]": "gpt-4o",
    }
    assert Aliases(aliases, LISTED).resolve(asked) == model


def test_an_exact_name_comes_first_then_a_configured_model_then_the_longest_pattern() -> None:
    aliases = Aliases({"gpt-*": "small", "gpt-4*": "large", "gpt-4-turbo": "turbo", "*": "rest"}, LISTED)
    asked = ("gpt-4-turbo", "gpt-4o", "gpt-4.1", "gpt-5", "o3")
    assert [aliases.resolve(name) for name in asked] == ["turbo", "gpt-4o", "large", "small", "rest"]


def test_of_patterns_as_long_the_first_holds() -> None:
    assert Aliases({"a*b": "first", "ab*": "second"}, ()).resolve("abab") == "first"


def test_an_exact_alias_may_hide_a_model_that_a_provider_lists() -> None:
    assert Aliases({"GPT-4o": "gpt-4o-mini"}, LISTED).resolve("gpt-4o") == "gpt-4o-mini"


def test_a_pattern_applies_to_what_is_asked_for_and_to_nothing_that_stands_for_it() -> None:
    aliases = Aliases({"claude-*": "claude-opus", "fast": "claude-haiku", "*": "fast"}, ())
    asked = ("claude-x", "claude-opus", "fast", "other")
    assert [aliases.resolve(name) for name in asked] == ["claude-opus", "claude-opus", "claude-haiku", "claude-haiku"]


FILE = """
[[providers]]
name = "alpha"
url = "https://alpha.example/v1"
input_rate = 1
{models}

[aliases]
{aliases}
"""


def refused(tmp_path: Path, aliases: str, models: str = 'models = ["gpt-4o", "claude-3.5-sonnet"]') -> list[str]:
    path = tmp_path / "config.toml"
    path.write_text(FILE.format(models=models, aliases=aliases))
    try:
        load(path, {})
    except ConfigError as error:
        return [problem.removeprefix(f"{path}: ") for problem in error.problems]
    return []


@pytest.mark.parametrize(
    ("aliases", "problem"),
    [
        ('fast = "fast"', "aliases.fast leads back to itself (fast → fast); name a model there"),
        ('fast = "gpt-4"', 'aliases.fast is "gpt-4", a model that no provider lists; did you mean "gpt-4o"?'),
        ('fast = "mistral"', 'aliases.fast is "mistral", a model that no provider lists; name one of theirs'),
        ('"o*" = "gpt-4"', 'aliases."o*" is "gpt-4", a model that no provider lists; did you mean "gpt-4o"?'),
        ("fast = 5", "aliases.fast is 5; it must be a string, in quotes"),
        ('fast = ""', "aliases has a name that is empty, not printable or longer than 300 characters"),
        ('"" = "gpt-4o"', "aliases has a name that is empty"),
        ('fast = "gpt-*"', 'aliases has "gpt-*" as a model; a pattern can only stand on the left'),
        ('fast = "gpt-4o"\nFAST = "gpt-4o"', 'aliases has "fast" twice, in different case; keep one'),
    ],
)
def test_an_alias_that_can_never_serve_is_refused_by_its_name(tmp_path: Path, aliases: str, problem: str) -> None:
    (said,) = refused(tmp_path, aliases)
    assert said.startswith(problem)


def test_aliases_that_lead_to_each_other_are_refused_with_the_way(tmp_path: Path) -> None:
    first, second = refused(tmp_path, 'a = "b"\nb = "a"')
    assert first == "aliases.a leads back to itself (a → b → a); name a model there"
    assert second.startswith("aliases.b leads back to itself (b → a → b)")


def test_a_pattern_that_leads_into_a_loop_of_aliases_is_refused(tmp_path: Path) -> None:
    assert len(refused(tmp_path, '"a*" = "x"\nx = "y"\ny = "x"', models="")) == 3


def test_any_model_may_be_meant_where_a_provider_lists_none(tmp_path: Path) -> None:
    assert refused(tmp_path, 'fast = "gpt-4o-mini"\n"claude-*" = "fast"', models="") == []
    assert refused(tmp_path, '"claude-*" = "claude-opus"', models="") == []


def test_aliases_are_a_table(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('aliases = ["fast"]\n' + FILE.format(models="", aliases="").replace("[aliases]", ""))
    with pytest.raises(ConfigError, match="aliases is a list; it must be a table of keys"):
        load(path, {})
