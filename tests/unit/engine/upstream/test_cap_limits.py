"""A cap that a provider finds too large, or knows by another name, is sent as it takes it; never a larger one."""

from __future__ import annotations

from typing import Any

import pytest

from arbstr.engine.upstream.cap_limits import CapLimits
from arbstr.engine.upstream.optional_fields import UNSUPPORTED_S
from tests.support.engine_builders import Clock

ASKED = {"model": "m", "messages": [], "max_tokens": 64_000}


def after(*refusals: str, asked: dict[str, Any] | None = None) -> dict[str, Any]:
    """The request as it is sent after refusals, each of what was sent before it."""
    limits = CapLimits(Clock())
    document = asked or ASKED
    for refusal in refusals:
        assert limits.learn(document, "alpha", refusal.encode())
        document = limits.applied(document, "alpha")
    assert limits.applied(asked or ASKED, "beta") == (asked or ASKED)
    return document


@pytest.mark.parametrize(
    ("refusal", "tokens"),
    [
        ("max_tokens is too large: 64000. This model supports at most 16384 completion tokens.", 16_384),
        ("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]", 8192),
        ("`max_tokens` must be less than or equal to `32768`, the maximum value for this model", 32_768),
        ("max_tokens exceeds the model's limit", None),
    ],
)
def test_a_cap_that_is_too_large_becomes_the_largest_that_the_refusal_names(refusal: str, tokens: int | None) -> None:
    assert after(refusal).get("max_tokens") == tokens


def test_a_second_refusal_leaves_the_cap_out_which_is_then_above_what_the_model_has() -> None:
    first = "max_tokens=64000 cannot be greater than the context of 32768 tokens"
    assert "max_tokens" not in after(first, "max_tokens is too large: 32768 > 32768 - 1000")


def test_a_cap_under_another_name() -> None:
    refusal = (
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    )
    assert after(refusal) == {"model": "m", "messages": [], "max_completion_tokens": 64_000}
    assert after(refusal, "max_completion_tokens is too large, at most 16384")["max_completion_tokens"] == 16_384


@pytest.mark.parametrize("refusal", ["max_tokens must be at least 1", "temperature is too high", "context too large"])
def test_other_refusals_are_not_about_the_cap(refusal: str) -> None:
    assert not CapLimits(Clock()).learn(ASKED, "alpha", refusal.encode())


def test_a_request_without_a_cap_has_none_to_refuse() -> None:
    assert not CapLimits(Clock()).learn({"model": "m"}, "alpha", b"max_tokens is too large")


def test_a_name_and_a_limit_are_both_kept() -> None:
    limits = CapLimits(Clock())
    limits.learn(ASKED, "alpha", b"unsupported parameter max_tokens: use max_completion_tokens")
    limits.learn(limits.applied(ASKED, "alpha"), "alpha", b"max_completion_tokens is too large: at most 16384")
    assert limits.applied(ASKED, "alpha") == {"model": "m", "messages": [], "max_completion_tokens": 16_384}


def test_a_smaller_cap_stays_as_it_is_and_a_limit_holds_for_a_day() -> None:
    clock = Clock()
    limits = CapLimits(clock)
    limits.learn(ASKED, "alpha", b"max_tokens is too large: at most 16384")
    assert limits.applied({**ASKED, "max_tokens": 100}, "alpha")["max_tokens"] == 100
    clock.now += UNSUPPORTED_S
    assert limits.applied(ASKED, "alpha") == ASKED
