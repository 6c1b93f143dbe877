"""What providers say they used and charged is believed only where it can be true."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.engine.metering import Counts, charged_header_msats, charged_msats, counts_of, merge, usage_of
from arbstr.types import Usage

ABSURD = [
    -1,
    -0.5,
    1.5,
    True,
    False,
    "12",
    "",
    None,
    [],
    {},
    [12],
    float("inf"),
    float("nan"),
]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(("total_msats", "cost", "x")), inner),
    max_leaves=5,
)
FIELDS = st.sampled_from(
    ("usage", "cost", "metadata", "routstr", "prompt_tokens", "completion_tokens", "prompt_tokens_details", "error")
)


@pytest.mark.parametrize("count", [0, 12, 12.0, 10**9])
def test_a_count_is_a_whole_number(count: float) -> None:
    assert usage_of({"usage": {"prompt_tokens": count, "completion_tokens": 9}}) == Usage(int(count), 9)


@pytest.mark.parametrize("count", ABSURD, ids=repr)
def test_a_count_that_is_none_is_unknown(count: Any) -> None:
    assert usage_of({"usage": {"prompt_tokens": 9, "completion_tokens": count}}) == Usage(9, None)
    details = {"prompt_tokens": 9, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": count}}
    assert usage_of({"usage": details}) == Usage(9, 9, 0)


@pytest.mark.parametrize("count", [10**9 + 1, 10**30, 1e300])
def test_a_count_beyond_all_reason_is_the_largest_there_is(count: float) -> None:
    assert usage_of({"usage": {"prompt_tokens": 9, "completion_tokens": count}}) == Usage(9, 10**9)


SPLIT = [{"prompt_tokens": 100, "completion_tokens": 0}, {"prompt_tokens": 0, "completion_tokens": 50}]
WHOLE = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}


@pytest.mark.parametrize(
    "usages",
    [
        SPLIT,
        SPLIT[::-1],
        [{"prompt_tokens": 100}, {"completion_tokens": 50}],
        [{"input_tokens": 100}, {"output_tokens": 50}],
        [WHOLE, {}],
        [WHOLE, {"prompt_tokens": None, "completion_tokens": None, "prompt_tokens_details": None}],
        [WHOLE, {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}],
        [{"prompt_tokens": 100, "completion_tokens": n} for n in (1, 2, 50)],
        [{"prompt_tokens": 100, "completion_tokens": 0}, {"prompt_tokens": "no", "completion_tokens": 50}],
    ],
    ids=str,
)
def test_the_events_of_a_stream_complete_each_other(usages: list[Any]) -> None:
    counts = Counts()
    for usage in usages:
        newer = counts_of({"usage": usage})
        assert newer is not None
        counts = merge(counts, newer)
    assert counts.usage() == Usage(100, 50)


def test_zero_is_what_was_counted_until_there_is_more() -> None:
    zero = counts_of({"usage": {"prompt_tokens": 0, "completion_tokens": 0}})
    assert zero is not None
    assert merge(None, zero).usage() == merge(zero, Counts()).usage() == Usage(0, 0)


REASONED = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 350}


@pytest.mark.parametrize(
    ("usage", "output"),
    [
        (REASONED | {"completion_tokens_details": {"reasoning_tokens": 200}}, 250),  # xAI
        (REASONED | {"output_tokens_details": {"reasoning_tokens": 200}}, 250),
        (REASONED | {"reasoning_tokens": 200}, 250),
        (REASONED, 250),  # Gemini
        (REASONED | {"completion_tokens": 0}, 250),
        (REASONED | {"total_tokens": 150, "completion_tokens_details": {"reasoning_tokens": 40}}, 50),  # OpenAI
        (REASONED | {"total_tokens": 150, "completion_tokens_details": {"reasoning_tokens": 200}}, 50),
        (REASONED | {"total_tokens": 0}, 50),
        (REASONED | {"total_tokens": None}, 50),
        (REASONED | {"total_tokens": "350"}, 50),
        (REASONED | {"total_tokens": 10**10}, 10**9 - 100),  # a claim like others: marked, and capped
        (REASONED | {"completion_tokens": 250}, 250),
    ],
)
def test_reasoning_that_only_the_total_counts_is_output(usage: Any, output: int) -> None:
    assert usage_of({"usage": usage}) == Usage(100, output)


def test_reasoning_that_only_the_total_counts_is_output_also_over_two_events() -> None:
    first = counts_of({"usage": {"prompt_tokens": 100}})
    last = {"completion_tokens": 50, "total_tokens": 350, "completion_tokens_details": {"reasoning_tokens": 200}}
    newer = counts_of({"usage": last})
    assert newer is not None
    assert merge(first, newer).usage() == Usage(100, 250)


PROMPT = {"prompt_tokens": 1000, "completion_tokens": 5}
INPUT = {"input_tokens": 1000, "output_tokens": 5}


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        (PROMPT | {"prompt_tokens_details": {"cached_tokens": 800}}, (1000, 800, 0)),  # OpenAI
        (INPUT | {"input_tokens_details": {"cached_tokens": 800}}, (1000, 800, 0)),
        (PROMPT | {"prompt_cache_hit_tokens": 800, "prompt_cache_miss_tokens": 200}, (1000, 800, 0)),  # DeepSeek
        (PROMPT | {"cached_tokens": 800}, (1000, 800, 0)),  # Moonshot
        (PROMPT | {"prompt_tokens_details": {"cached_tokens": 0}, "cached_tokens": 800}, (1000, 800, 0)),
        (PROMPT | {"prompt_tokens_details": {"cached_tokens": 600, "cache_write_tokens": 200}}, (1000, 600, 200)),
        (PROMPT | {"prompt_tokens_details": {"cache_creation_tokens": 200}}, (1000, 0, 200)),
        (PROMPT | {"cache_read_input_tokens": 600, "cache_creation_input_tokens": 200}, (1000, 600, 200)),
        # Anthropic's own: input_tokens is what is neither read nor written.
        (INPUT | {"cache_read_input_tokens": 600, "cache_creation_input_tokens": 200}, (1800, 600, 200)),
        (INPUT | {"cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}, (1000, 0, 0)),
        (PROMPT | {"cache_read_input_tokens": 2000}, (3000, 2000, 0)),  # no part is more than the whole
        (PROMPT | {"prompt_tokens_details": {"cached_tokens": 2000}, "total_tokens": 3005}, (3000, 2000, 0)),
        (PROMPT | {"prompt_tokens_details": {"cached_tokens": 10**9}}, (1000, 1000, 0)),
        (PROMPT | {"prompt_tokens_details": {"cached_tokens": 900, "cache_write_tokens": 900}}, (1000, 900, 100)),
        (PROMPT | {"prompt_tokens_details": "many", "input_tokens_details": [1]}, (1000, 0, 0)),
    ],
)
def test_what_was_cached_and_written_is_part_of_the_input_however_it_is_spelt(
    usage: Any, tokens: tuple[int, int, int]
) -> None:
    given_in, cached, written = tokens
    assert usage_of({"usage": usage}) == Usage(given_in, 5, cached, written)


@pytest.mark.parametrize(
    "document",
    [
        {"usage": WHOLE},
        {"x_groq": {"id": "r", "usage": WHOLE}},
        {"choices": [{"delta": {}, "finish_reason": "stop", "usage": WHOLE}]},
        {"usage": None, "x_groq": {"usage": WHOLE}},
        {"usage": {}, "choices": [{"usage": WHOLE}]},
    ],
)
def test_usage_is_found_where_servers_put_it(document: Any) -> None:
    assert usage_of(document) == Usage(100, 50)


@pytest.mark.parametrize("usage", [None, [], "12", 12, True])
def test_usage_of_another_type_is_none(usage: Any) -> None:
    assert usage_of({"usage": usage}) is None


@pytest.mark.parametrize("charge", [0, 420, 420.0, 10**12])
def test_a_charge_is_a_whole_number_wherever_it_stands(charge: float) -> None:
    cost = {"total_msats": charge}
    for document in ({"usage": {"cost": cost}}, {"cost": cost}, {"metadata": {"routstr": {"cost": cost}}}):
        assert charged_msats(document) == int(charge)
    assert charged_header_msats(str(int(charge))) == int(charge)


def test_a_charge_of_nothing_in_one_place_does_not_hide_another() -> None:
    assert charged_msats({"usage": {"cost": {"total_msats": 0}}, "cost": {"total_msats": 455}}) == 455
    assert charged_msats({"usage": {"cost": {"total_msats": 0}}, "cost": {}}) == 0


def test_dollars_are_the_nodes_business() -> None:
    assert charged_msats({"usage": {"cost": 0.0124}, "cost": {"total_usd": 0.0124, "total_msats": 12_423}}) == 12_423
    assert charged_msats({"usage": {"cost": 0.0124}}) is None


@pytest.mark.parametrize("charge", [-1, 1.5, True, "420", None, [], {}, float("nan"), float("inf")], ids=repr)
def test_a_charge_that_is_none_is_unknown(charge: Any) -> None:
    for document in ({"usage": {"cost": {"total_msats": charge}}}, {"cost": {"total_msats": charge}}, {"cost": charge}):
        assert charged_msats(document) is None


@pytest.mark.parametrize("header", [None, "", "-1", "1.5", "+1", "1e3", " 7", "\u0663", "1" * 5000])
def test_a_charge_header_that_is_none_is_unknown(header: str | None) -> None:
    assert charged_header_msats(header) is None


@given(st.tuples(*[st.integers(-1, 9) | st.sampled_from(ABSURD) | st.integers(10**9 - 1, 2 * 10**9)] * 3))
def test_the_usual_three_counts_are_read_like_any_others(counts: tuple[Any, ...]) -> None:
    usage = dict(zip(("prompt_tokens", "completion_tokens", "total_tokens"), counts, strict=True))
    among_others = counts_of({"usage": {**usage, "service": "any"}})
    assert among_others is not None
    assert usage_of({"usage": usage}) == among_others.usage()


@pytest.mark.parametrize("charge", [10**12 + 1, 10**13, 10**300])
def test_a_charge_beyond_all_reason_is_the_largest_there_is(charge: int) -> None:
    assert charged_msats({"cost": {"total_msats": charge}}) == charged_header_msats(str(charge)) == 10**12


def test_a_sum_of_counts_beyond_all_reason_is_the_largest_there_is() -> None:
    most = 10**9
    beside = {"input_tokens": most, "cache_read_input_tokens": most, "output_tokens": 1}
    assert usage_of({"usage": beside}) == Usage(most, 1, most, 0)
    left_out = {"prompt_tokens": 1, "completion_tokens": most, "total_tokens": most, "reasoning_tokens": most}
    assert usage_of({"usage": left_out}) == Usage(1, most)


@given(st.recursive(ANYTHING, lambda inner: st.dictionaries(FIELDS, inner, max_size=4), max_leaves=12))
def test_no_answer_makes_it_stumble_or_believe_the_absurd(document: Any) -> None:
    usage = usage_of(document) or Usage()
    assert all(count is None or 0 <= count <= 10**9 for count in (usage.input_tokens, usage.output_tokens))
    assert 0 <= usage.cached_tokens + usage.cache_write_tokens <= (usage.input_tokens or 0) <= 10**9
    assert 0 <= (charged_msats(document) or 0) <= 10**12


@pytest.mark.parametrize("read", [0, 800])
def test_cached_tokens_in_openais_details_are_part_of_the_input_whatever_stands_beside(read: int) -> None:
    """Routstr nodes write Anthropic's fields beside OpenAI's."""
    details = {"input_tokens_details": {"cached_tokens": 800}, "cache_read_input_tokens": read}
    usage = {"input_tokens": 1000, "output_tokens": 5, "cache_creation_input_tokens": 0, **details}
    assert usage_of({"usage": usage}) == Usage(1000, 5, 800)
