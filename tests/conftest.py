"""How all tests run: properties with the same examples each time, without deadlines, for what one takes says nothing on
a busy machine; none over the end of an hour; some without coverage, with which everything takes almost twice as long.
"""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import count

import pytest
from hypothesis import HealthCheck, settings

from tests.support.effort import examples
from tests.support.modules import load_all
from tests.support.postgres import PostgresServer, postgres_server

HOUR_S = 3600
LAST_S = 20
UNCOVERED = {
    "fuzz",
    "perf",
    "screenshots",
    "test_openapi.py",
    "test_snapshots.py",
    "test_widths.py",
    "test_wild_input.py",
}
FIRST = "gw0"  # of the workers
NOT_COVERED = pytest.StashKey[bool]()
SAMPLED = {"screens": 3}  # where the coverage counts only each so many-th test

settings.register_profile(
    "arbstr",
    deadline=None,
    max_examples=examples(35),
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("arbstr")


@contextmanager
def _uncovered(config: pytest.Config) -> Iterator[None]:
    """Measure no coverage meanwhile."""
    measuring = config.pluginmanager.getplugin("_cov")
    if measuring is None or measuring.cov_controller is None:
        yield
        return
    measuring.cov_controller.pause()
    yield
    measuring.cov_controller.resume()


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Collect without coverage and garbage collections, which would take half of the time.

    What arbstr's modules do as they are loaded is measured by one of the workers.
    """
    measured = session.config.pluginmanager.hasplugin("_cov")
    if measured and os.environ.get("PYTEST_XDIST_WORKER", FIRST) == FIRST:
        load_all()
    gc.disable()
    with _uncovered(session.config):
        if measured:
            load_all()  # in the others too: they are to differ in nothing else
        collected = yield
    gc.enable()
    return collected


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out of the coverage what runs much that others cover: properties, all but the first parameters, and most
    of whole dashboards.
    """
    seen, numbers = set(), {part: count() for part in SAMPLED}
    for item in items:
        test, parts = item.nodeid.partition("[")[0], set(item.path.parts)
        is_property = getattr(getattr(item, "function", None), "is_hypothesis_test", False)
        known = test in seen or is_property or UNCOVERED & parts
        if item.get_closest_marker("no_cover") is not None:
            continue  # pytest-cov sees to it
        if known or any(next(numbers[part]) % SAMPLED[part] for part in parts & SAMPLED.keys()):
            item.stash[NOT_COVERED] = True
        seen.add(test)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Run a test that is left out of the coverage without it, its fixtures too."""
    if not item.stash.get(NOT_COVERED, False):
        return (yield)
    with _uncovered(item.config):
        return (yield)


def pytest_configure() -> None:
    """Have signals heeded that the run may ignore: in a shell's background Ctrl-C, under nohup the end of a terminal.

    What tests start would ignore them as well.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)  # the run itself still goes on


def pytest_collection_finish() -> None:
    """Leave all modules and tests out of garbage collections from now on: each would look through all of them."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup() -> None:
    """Begin no test in the last seconds of an hour: budgets, sums and dates change with it, or with its day."""
    left_s = HOUR_S - time.time() % HOUR_S
    if left_s < LAST_S:
        time.sleep(left_s)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server for the whole run; what asks for it is skipped where there is none."""
    with postgres_server() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> str:
    """The URL of an empty database."""
    return postgres.new_database()
