"""Processes to measure: which cores they may use, their CPU time and their memory, where the system tells."""

from __future__ import annotations

import os
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int | None) -> float | None:
    """Seconds of CPU time that a process and its threads have used, None where /proc does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def resident_mb(pid: int) -> float | None:
    """Resident memory in MB (10^6 bytes), None where /proc does not say."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return next(int(line.split()[1]) * 1024 / 1e6 for line in status.splitlines() if line.startswith("VmRSS:"))


def cores() -> list[int]:
    """The cores that this process may use; none where the system does not pin."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def pin(pid: int, to: list[int]) -> None:
    """Let a process that has just been started run on these cores only; no cores, no limit."""
    if to and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(pid, to)
