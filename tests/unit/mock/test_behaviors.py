"""The names that choose what a fake provider does."""

from __future__ import annotations

import re

import pytest

import arbstr.mock
from arbstr.mock.behaviors import USUAL, Behavior, BehaviorRequest, behavior_for, chooses_behavior

DOCUMENTED = re.findall(r"^\| `(mock-[\w-]+)` \|", arbstr.mock.__doc__ or "", re.MULTILINE)


def test_every_behavior_is_in_the_table_and_every_name_in_the_table_is_one() -> None:
    in_table = {behavior_for(name, "mock-a").behavior for name in DOCUMENTED}
    assert in_table == set(Behavior) - {Behavior.USUAL}


@pytest.mark.parametrize("status", [300, 304, 400, 401, 402, 404, 408, 425, 500, 502, 503, 504, 599])
def test_any_failing_status_has_a_name(status: int) -> None:
    assert behavior_for(f"mock-error-{status}", "mock-a") == BehaviorRequest(Behavior.STATUS, status)


def test_too_many_requests_come_with_a_time_to_wait() -> None:
    assert behavior_for("mock-error-429", "mock-a").retry_after_s == 1
    assert behavior_for("mock-error-429-after-30", "mock-a").retry_after_s == 30


@pytest.mark.parametrize("provider", ["mock-alpha", "alpha"])
def test_a_behavior_can_be_for_one_provider_alone(provider: str) -> None:
    model = f"mock-error-503@{provider}"
    assert chooses_behavior(model)
    assert behavior_for(model, "mock-alpha").status == 503
    assert behavior_for(model, "mock-beta") == USUAL


@pytest.mark.parametrize(
    "model", ["gpt-4o", "mock-", "mock-error-200", "mock-error-5030", "mock-sloww", "MOCK-slow", ""]
)
def test_other_model_names_choose_no_behavior(model: str) -> None:
    assert not chooses_behavior(model)
    assert behavior_for(model, "mock-a") == USUAL
