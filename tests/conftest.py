"""How all tests run: properties without deadlines, for what one takes says nothing on a busy machine; none over the end
of an hour."""

from __future__ import annotations

import time

from hypothesis import settings

from tests.support.effort import examples

HOUR_S = 3600
LAST_S = 20

settings.register_profile("arbstr", deadline=None, max_examples=examples(35))
settings.load_profile("arbstr")


def pytest_runtest_setup() -> None:
    """Begin no test in the last seconds of an hour: budgets, sums and dates change with it, or with its day."""
    left_s = HOUR_S - time.time() % HOUR_S
    if left_s < LAST_S:
        time.sleep(left_s)
