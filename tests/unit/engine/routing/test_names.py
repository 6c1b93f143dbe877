"""What a model's name stands for, who lists it, and what it is called there."""

from __future__ import annotations

import pytest

from arbstr.config.schema import Config, Provider
from arbstr.engine.routing import listing
from arbstr.engine.routing.listing import ListedModel, Listing
from arbstr.engine.routing.names import ModelNames, shown, some, wanted
from tests.support.engine_builders import provider

LISTED = provider("listed", models=("GPT-4o", {"id": "claude", "upstream_id": "anthropic/claude"}))
OPEN = provider("open")


def names(*providers: Provider, **aliases: str) -> ModelNames:
    return ModelNames(Config(providers=providers or (LISTED, OPEN), aliases=aliases))


def listed(*ids: str) -> tuple[ListedModel, ...]:
    return tuple(map(ListedModel, ids))


def test_a_model_is_spelled_as_it_is_listed() -> None:
    known = names(fast="gpt-4O")
    assert [known.resolve(asked) for asked in ("gpt-4o", "FAST", "o3")] == ["GPT-4o", "GPT-4o", "o3"]
    known.learn(OPEN, listed("O3"))
    assert known.resolve("o3") == "O3"


def test_a_provider_is_asked_by_its_own_id() -> None:
    known = names()
    assert [known.id_at(LISTED, model) for model in ("gpt-4o", "CLAUDE")] == ["GPT-4o", "anthropic/claude"]
    assert known.id_at(OPEN, "gpt-4o") == "gpt-4o", "it has not said what it lists"
    known.learn(OPEN, listed("openai/gpt-4o"))
    assert [known.id_at(OPEN, model) for model in ("gpt-4o", "o3")] == ["openai/gpt-4o", "o3"]


def test_what_a_provider_lists_is_known_once_it_was_read() -> None:
    known = names()
    assert known.standing(OPEN, "anything") == "listed"
    known.learn(OPEN, listed("o3"))
    assert [known.standing(OPEN, model) for model in ("O3", "o4")] == ["listed", "unlisted"]
    assert [known.standing(LISTED, model) for model in ("gpt-4O", "o3")] == ["listed", "absent"]
    assert known.learned("open") == ("o3",)
    assert known.learned("listed") == ()


def test_a_list_that_has_not_changed_changes_nothing() -> None:
    known = names()
    known.learn(OPEN, listed("o3"))
    version = known.version
    known.learn(OPEN, listed("o3"))
    assert known.version == version
    known.learn(OPEN, listed("o4"))
    assert known.version == version + 1


def test_every_model_and_alias_is_named_once() -> None:
    known = names(fast="claude", CLAUDE="gpt-4o")
    known.learn(OPEN, listed("gpt-4o", "o3"))
    assert list(known.all()) == ["GPT-4o", "claude", "o3", "fast"]


def test_few_of_many_names_are_remembered() -> None:
    known = names()
    for number in range(5000):
        known.resolve(f"model-{number}")
    assert len(known._resolved) < 4097


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("OpenAI/GPT-4o", "openai/gpt-4o"),
        ("gpt-4o", "openai/gpt-4o"),
        ("azure/gpt-4o", None),
        ("llama", "Llama"),
        ("meta/llama", "Llama"),
        ("claude-sonnet-4", "anthropic/claude-sonnet-4-20250514"),
        ("anthropic/claude-sonnet-4", "anthropic/claude-sonnet-4-20250514"),
        ("claude-sonnet-4-20250514", "anthropic/claude-sonnet-4-20250514"),
        ("claude-sonnet-4-20260101", None),
        ("gpt-4o-2024-05-13", None),
        ("o3", "o3"),
        ("o3-2025-04-16", "o3-2025-04-16"),
        ("gemini", None),
        ("gpt", None),
        ("", None),
    ],
)
def test_a_model_is_found_whatever_its_case_prefix_or_date(asked: str, found: str | None) -> None:
    listing = Listing(
        listed(
            "openai/gpt-4o",
            "Llama",
            "anthropic/claude-sonnet-4-20250514",
            "o3",
            "o3-2025-04-16",
            "google/gemini",
            "other/gemini",  # which of the two "gemini" means is not for arbstr to guess
        )
    )
    model = listing.find(asked)
    assert (None if model is None else model.id) == found


def test_each_of_a_models_names_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def without_vendor(name: str) -> str:
        seen.append(name)
        return name

    monkeypatch.setattr(listing, "_bare", without_vendor)
    Listing((ListedModel("a", ("b", "c", "d")), ListedModel("e", ("f",))))
    assert sorted(set(seen)) == ["a", "b", "c", "d", "e", "f"]
    assert len(seen) == 2 * len(set(seen)), "with its date and without"


def test_an_error_names_some_of_many_models() -> None:
    assert some([]) == "none"
    assert some(["a", "b"]) == "a, b"
    assert some(f"m{number}" for number in range(250)).endswith("m98, m99 and 150 more")


def test_a_clients_name_for_a_model_cannot_change_the_sentence_that_repeats_it() -> None:
    assert shown("gpt-4o") == "'gpt-4o'"
    assert shown("gpt\x1b[31m\u202e'4o") == "'gpt\ufffd[31m\ufffd'4o'"
    assert len(shown("x" * 500)) == 102


def test_what_names_no_model_is_called_by_its_path() -> None:
    assert wanted("gpt-4o", "moderations") == "the model 'gpt-4o'"
    assert wanted("", "moderations") == "/v1/moderations"
