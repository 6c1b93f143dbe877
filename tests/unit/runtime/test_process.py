"""The limit of open files: raised as far as it takes and the system lets, never lowered; memory stays off the disk."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from arbstr.runtime import process


def allowed(sockets: int, soft: int, hard: int) -> tuple[int, int]:
    """What is allowed, and the limit that holds then, in a process that starts with these limits."""
    code = (
        "import resource; from arbstr.runtime.process import raise_fd_limit; "
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard})); "
        f"print(raise_fd_limit({sockets}), resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    sockets_allowed, limit = map(int, said.split())
    return sockets_allowed, limit


@pytest.mark.parametrize(
    ("sockets", "soft", "hard", "expected"),
    [
        pytest.param(400, 256, 1024, (400, 500), id="raised to what it takes"),
        pytest.param(2000, 256, 1024, (924, 1024), id="raised to what the system lets"),
        pytest.param(100, 512, 1024, (100, 512), id="enough already"),
        pytest.param(400, 50, 50, (1, 50), id="far too few"),
    ],
)
def test_the_limit(sockets: int, soft: int, hard: int, expected: tuple[int, int]) -> None:
    assert allowed(sockets, soft, hard) == expected


def test_a_crash_writes_no_memory_to_the_disk() -> None:
    code = (
        "import resource; from arbstr.runtime.process import forbid_core_dumps; "
        "forbid_core_dumps(); print(resource.getrlimit(resource.RLIMIT_CORE)[0])"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert said == "0\n"


def test_no_garbage_is_collected_while_a_program_starts() -> None:
    def is_collecting() -> bool:
        return gc.isenabled()

    assert is_collecting()
    with process.gc_paused():
        assert not is_collecting()
    assert is_collecting()
