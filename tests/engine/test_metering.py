"""What providers say they used and charged is believed only where it can be true."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.engine.metering import charged_header_msats, charged_msats, usage_of
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
    1e300,
    float("inf"),
    float("nan"),
    10**9 + 1,
    10**30,
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


@pytest.mark.parametrize("usage", [None, [], "12", 12, True])
def test_usage_of_another_type_is_none(usage: Any) -> None:
    assert usage_of({"usage": usage}) is None


@pytest.mark.parametrize("charge", [0, 420, 420.0, 10**12])
def test_a_charge_is_a_whole_number_wherever_it_stands(charge: float) -> None:
    cost = {"total_msats": charge}
    for document in ({"usage": {"cost": cost}}, {"cost": cost}, {"metadata": {"routstr": {"cost": cost}}}):
        assert charged_msats(document) == int(charge)
    assert charged_header_msats(str(int(charge))) == int(charge)


@pytest.mark.parametrize("charge", [-1, 1.5, True, "420", None, [], {}, 1e300, float("nan"), 10**12 + 1], ids=repr)
def test_a_charge_that_is_none_is_unknown(charge: Any) -> None:
    for document in ({"usage": {"cost": {"total_msats": charge}}}, {"cost": {"total_msats": charge}}, {"cost": charge}):
        assert charged_msats(document) is None


@pytest.mark.parametrize("header", [None, "", "-1", "1.5", "+1", "1e3", " 7", "\u0663", "1" * 400, str(10**12 + 1)])
def test_so_is_one_in_the_header(header: str | None) -> None:
    assert charged_header_msats(header) is None


@given(st.recursive(ANYTHING, lambda inner: st.dictionaries(FIELDS, inner, max_size=4), max_leaves=12))
def test_no_answer_makes_it_stumble_or_believe_the_absurd(document: Any) -> None:
    usage = usage_of(document) or Usage()
    assert all(count is None or 0 <= count <= 10**9 for count in (usage.input_tokens, usage.output_tokens))
    assert 0 <= usage.cached_tokens <= 10**9
    assert 0 <= (charged_msats(document) or 0) <= 10**12
