"""How hard to try: a few examples, always the same ones, in the test suite; in a long run new ones, and many."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings

EXAMPLES = "ARBSTR_FUZZ_EXAMPLES"  # in the environment of a long run: how many of them each property is tried with

_TRIED_ALIKE: dict[str, Any] = {"suppress_health_check": list(HealthCheck)}
_large = pytest.mark.filterwarnings("ignore:Generating overly large repr")  # examples may be; hypothesis would warn
_Property = TypeVar("_Property", bound=Callable[..., None])

if EXAMPLES in os.environ:
    settings.register_profile("long", max_examples=int(os.environ[EXAMPLES]), derandomize=False, **_TRIED_ALIKE)
    settings.load_profile("long")


def examples(few: int) -> int:
    """How many examples to try: a few in the suite, in a long run as many as it asks for."""
    return int(os.environ.get(EXAMPLES, few))


def fuzzed(few: int) -> Callable[[_Property], _Property]:
    """Tries a property with a few examples in the suite, with as many as all others in a long run."""
    tried = settings() if EXAMPLES in os.environ else settings(max_examples=few, derandomize=True, **_TRIED_ALIKE)
    return lambda test: _large(tried(test))
