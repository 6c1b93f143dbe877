"""One arbstr for all examples of a module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from arbstr import runtime
from tests.fuzz.arena import Arena


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    # The heap that arbstr would freeze at its start is the test run's here.
    as_it_was = SimpleNamespace(collect=lambda: 0, freeze=lambda: None, set_threshold=lambda *counts: None)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(runtime, "gc", as_it_was)
        arena = Arena(_home(tmp_path_factory))
        try:
            yield arena
        finally:
            arena.close()


def _home(factory: pytest.TempPathFactory) -> Path:
    return factory.mktemp("arena")
