"""What finished requests add up to, and by what they are counted."""

from __future__ import annotations

from typing import Any

import pytest

from arbstr.config.schema import Config
from arbstr.engine.routing.listing import ListedModel
from arbstr.engine.routing.names import ModelNames
from arbstr.events import ChargeBooked, RequestFinished, UnexplainedCharge
from arbstr.monitoring import request_counters
from arbstr.monitoring.request_counters import UNKNOWN_MODEL, Labels, RequestCounters
from arbstr.types import RequestRecord

CONFIG = Config.model_validate(
    {
        "providers": [{"name": "alpha", "url": "http://alpha.test/v1", "models": ["gpt-4o", "Claude"]}],
        "aliases": {"fast": "gpt-4o", "claude-4*": "Claude"},
    }
)


def counting(config: Config = CONFIG) -> RequestCounters:
    return RequestCounters(ModelNames(config))


def ended(model: str = "gpt-4o", **more: Any) -> RequestFinished:
    values: dict[str, Any] = {"streaming": False, "success": True, "latency_ms": 90} | more
    return RequestFinished(RequestRecord("r", 1000, model, **values))


def models_of(counters: RequestCounters) -> list[str]:
    return [labels.model for labels in counters.counts().requests]


def test_requests_are_counted_by_what_they_were_and_how_they_ended() -> None:
    counters = counting()
    for _ in range(2):
        counters.put(ended(provider="alpha", policy="code", client="ci"))
    counters.put(ended(success=False, error_status=402))
    assert counters.counts().requests == {
        Labels("gpt-4o", "alpha", "code", "ci", 200): 2,
        Labels("gpt-4o", "(none)", "(none)", "(none)", 402): 1,
    }


def test_tokens_and_costs_add_up_where_they_are_known() -> None:
    counters = counting()
    counters.put(ended(input_tokens=10, cached_tokens=4, cache_write_tokens=3, output_tokens=20, cost_msats=700))
    counters.put(ended(input_tokens=5, cost_msats=1))
    counters.put(ended())
    counts = counters.counts()
    assert counts.tokens == {"input": 15, "cached": 4, "cache_write": 3, "output": 20}
    assert counts.spent_msats == 701


def test_what_a_balance_tells_later_counts_as_spent() -> None:
    counters = counting()
    counters.put(ended(cost_msats=700))
    counters.put(ChargeBooked("r", 1000, "alpha", cost_msats=900, was_msats=700, doubtful_msats=0))
    counters.put(UnexplainedCharge("alpha", 2000, 50))
    assert counters.counts().spent_msats == 950


def test_what_was_spent_never_falls_and_a_correction_is_made_up_for_later() -> None:
    counters = counting()
    counters.put(ended(cost_msats=700))
    assert counters.counts().spent_msats == 700
    counters.put(ChargeBooked("r", 1000, "alpha", cost_msats=400, was_msats=700, doubtful_msats=0))
    assert counters.counts().spent_msats == 700
    counters.put(ended(cost_msats=200))
    assert counters.counts().spent_msats == 700
    counters.put(ended(cost_msats=200))
    assert counters.counts().spent_msats == 800


def test_durations_are_counted_up_to_each_bound_and_first_bytes_of_streams_alone() -> None:
    counters = counting()
    counters.put(ended(latency_ms=10))
    counters.put(ended(latency_ms=11))
    counters.put(ended(streaming=True, latency_ms=300, stream_duration_ms=700_000))
    counts = counters.counts()
    took, began = counts.durations, counts.first_bytes
    assert (dict(took.upto)[5], dict(took.upto)[10], dict(took.upto)[25], took.upto[-1]) == (0, 1, 2, (600_000, 2))
    assert (took.count, took.sum_ms) == (3, 700_021)
    assert (began.count, began.sum_ms, dict(began.upto)[250], dict(began.upto)[500]) == (1, 300, 0, 1)


def test_counts_taken_earlier_stay_as_they_were() -> None:
    counters = counting()
    before = counters.counts()
    counters.put(ended())
    assert before.requests == {}
    assert before.durations.count == 0


@pytest.mark.parametrize(
    ("asked", "label"),
    [
        ("gpt-4o", "gpt-4o"),
        ("GPT-4o", "gpt-4o"),
        ("fast", "fast"),
        ("claude-4-today", "Claude"),
        ("claude-4-tomorrow", "Claude"),
        ("nonsense", UNKNOWN_MODEL),
        ("", UNKNOWN_MODEL),
    ],
)
def test_a_model_is_counted_by_the_listed_name_that_it_stands_for(asked: str, label: str) -> None:
    counters = counting()
    counters.put(ended(asked))
    assert models_of(counters) == [label]


def test_any_number_of_unknown_names_share_one_label() -> None:
    counters = counting()
    for number in range(5000):
        counters.put(ended(f"guess-{number}", success=False, error_status=404))
    assert counters.counts().requests == {Labels(UNKNOWN_MODEL, "(none)", "(none)", "(none)", 404): 5000}


def test_a_model_has_its_label_once_a_provider_lists_it_and_keeps_it() -> None:
    config = Config.model_validate({"providers": [{"name": "alpha", "url": "http://alpha.test/v1"}]})
    names = ModelNames(config)
    counters = RequestCounters(names)
    counters.put(ended("new"))
    names.learn(config.providers[0], (ListedModel("new"),))
    counters.put(ended("new"))
    names.learn(config.providers[0], ())
    counters.put(ended("new"))
    assert {labels.model: count for labels, count in counters.counts().requests.items()} == {UNKNOWN_MODEL: 1, "new": 2}


def test_a_provider_that_lists_ever_more_models_makes_no_more_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_counters, "MOST_MODELS", 2)
    config = Config.model_validate({"providers": [{"name": "alpha", "url": "http://alpha.test/v1"}]})
    names = ModelNames(config)
    counters = RequestCounters(names)
    for number in range(5):
        names.learn(config.providers[0], (ListedModel(f"m{number}"),))
        counters.put(ended(f"m{number}"))
    counters.put(ended("m0"))
    assert [(labels.model, count) for labels, count in counters.counts().requests.items()] == [
        ("m0", 2),
        ("m1", 1),
        (UNKNOWN_MODEL, 3),
    ]


def test_no_control_characters_of_a_providers_list_get_into_a_label() -> None:
    config = Config.model_validate({"providers": [{"name": "alpha", "url": "http://alpha.test/v1"}]})
    names = ModelNames(config)
    names.learn(config.providers[0], (ListedModel("a\x1b[31m\ud800"),))
    counters = RequestCounters(names)
    counters.put(ended("a\x1b[31m\ud800"))
    assert models_of(counters) == ["a\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}"]
