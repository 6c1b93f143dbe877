"""One arbstr for all examples of a module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from arbstr.runtime import process
from tests.fuzz.harness import FuzzHarness


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FuzzHarness]:
    # The heap that arbstr would freeze at its start is the test run's here.
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(process, "freeze_gc", lambda: None)
        harness = FuzzHarness(_home(tmp_path_factory))
        try:
            yield harness
        finally:
            harness.close()


def _home(factory: pytest.TempPathFactory) -> Path:
    return factory.mktemp("fuzz")
