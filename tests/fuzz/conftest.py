"""One arbstr for all examples of a module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from arbstr.runtime import process
from tests.fuzz.arena import Arena


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    # The heap that arbstr would freeze at its start is the test run's here.
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(process, "freeze_gc", lambda: None)
        arena = Arena(_home(tmp_path_factory))
        try:
            yield arena
        finally:
            arena.close()


def _home(factory: pytest.TempPathFactory) -> Path:
    return factory.mktemp("arena")
