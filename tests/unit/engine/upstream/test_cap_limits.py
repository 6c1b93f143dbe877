"""A cap that a provider finds too large, or knows by another name, is sent as it takes it; never a larger one."""

from __future__ import annotations

from typing import Any

import pytest

from arbstr.engine.upstream.cap_limits import Cap, CapLimits, cap_taken
from arbstr.engine.upstream.optional_fields import UNSUPPORTED_S
from tests.support.clock import Clock

ASKED: dict[str, Any] = {"model": "m", "messages": [], "max_tokens": 64_000}
RENAMED = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."


def after(*refusals: str) -> dict[str, Any]:
    """The request as it is sent after refusals, each of what was sent before it."""
    document = ASKED
    for refusal in refusals:
        cap = cap_taken(document, refusal.encode())
        assert cap is not None
        document = cap.applied(document)
    return document


@pytest.mark.parametrize(
    ("refusal", "tokens"),
    [
        ("max_tokens is too large: 64000. This model supports at most 32768 completion tokens.", 32_768),
        ("`max_tokens` must be less than or equal to `40000`, the maximum value for this model", 40_000),
        ("max_tokens=64000 cannot be greater than max_model_len=32768", 32_768),
        ("max_tokens exceeds the model's limit", 32_000),
    ],
)
def test_a_cap_that_is_too_large_becomes_what_the_refusal_names_else_half(refusal: str, tokens: int) -> None:
    assert after(refusal)["max_tokens"] == tokens


def test_a_cap_far_above_the_limit_takes_several_refusals() -> None:
    refusal = "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]"
    assert after(refusal, refusal, refusal)["max_tokens"] == 8192


def test_a_cap_under_another_name() -> None:
    assert after(RENAMED) == {"model": "m", "messages": [], "max_completion_tokens": 64_000}
    assert after(RENAMED, "max_completion_tokens is too large, at most 40000")["max_completion_tokens"] == 40_000


@pytest.mark.parametrize("refusal", ["max_tokens must be positive", "temperature is too high", "context too large"])
def test_other_refusals_are_not_about_the_cap(refusal: str) -> None:
    assert cap_taken(ASKED, refusal.encode()) is None


@pytest.mark.parametrize("cap", [None, 100, 2000])
def test_a_small_cap_is_not_what_is_too_large(cap: int | None) -> None:
    document = {"model": "m"} if cap is None else {**ASKED, "max_tokens": cap}
    assert cap_taken(document, b"max_tokens and prompt exceed the maximum context length of 8192 tokens") is None


def test_what_was_taken_holds_for_a_day_for_that_provider_and_model() -> None:
    clock = Clock()
    limits = CapLimits(clock)
    limits.keep(Cap(16_384, renamed=True), "alpha", "m")
    assert limits.applied(ASKED, "alpha") == {"model": "m", "messages": [], "max_completion_tokens": 16_384}
    assert limits.applied({**ASKED, "max_tokens": 100}, "alpha")["max_completion_tokens"] == 100
    assert limits.applied(ASKED, "beta") == ASKED
    assert limits.applied({**ASKED, "model": "n"}, "alpha")["max_tokens"] == 64_000
    clock.now += UNSUPPORTED_S
    assert limits.applied(ASKED, "alpha") == ASKED


def test_what_a_prompt_leaves_of_the_context_is_that_requests_own() -> None:
    cap = cap_taken(ASKED, b"max_tokens is too large: 64000. This model's maximum context length is 40000 tokens")
    assert cap == Cap(40_000, lasting=False)
    limits = CapLimits(Clock())
    limits.keep(cap, "alpha", "m")
    assert limits.applied(ASKED, "alpha") == ASKED
