"""What must hold after a soak: the ledger says what the clients saw, once each, and nothing is left of them."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from tests.perf.soak.clients import Seen

GONE = 499
BROKE_OFF = 502


def faults_of_clients(seen: Sequence[Seen]) -> list[str]:
    """Errors that no client deserved."""
    return [f"{kind}: {wrong}, {count} times" for (kind, wrong), count in _wrongs(seen).items()]


def faults_of_ledger(path: Path, seen: Sequence[Seen]) -> list[str]:
    """Rows that are missing, too many, open, or not what their clients saw."""
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT correlation_id, success, error_status, open FROM requests").fetchall()
    status = {row[0]: row[2] for row in rows}
    found = (
        [] if len(rows) == len(status) == len(seen) else [f"{len(rows)} rows of {len(status)} for {len(seen)} requests"]
    )
    found += [f"{row[0]} is open" for row in rows if row[3]]
    found += [f"{row[0]}: success and an error, or neither" for row in rows if bool(row[1]) != (row[2] is None)]
    known = {each.request_id: each for each in seen if each.request_id}
    wrong = Counter(
        (each.kind, each.status, status.get(key, "no row"))
        for key, each in known.items()
        if not _fits(each, status, key)
    )
    found += [f"{kind} saw {saw}, its row says {said}, {count} times" for (kind, saw, said), count in wrong.items()]
    unanswered = [status[key] for key in status.keys() - known.keys()]
    return found + [f"a client that saw nothing has the status {each}" for each in set(unanswered) - {GONE, None}]


def sockets_and_files(pid: int) -> Counter[str]:
    """What a process has open, by kind: sockets are all alike, files go by name."""
    kinds: Counter[str] = Counter()
    for entry in os.scandir(f"/proc/{pid}/fd"):
        try:
            target = str(Path(entry.path).readlink())
        except FileNotFoundError:
            continue
        kinds[target.partition(":")[0]] += 1
    return kinds


def _wrongs(seen: Sequence[Seen]) -> Counter[tuple[str, str]]:
    return Counter((each.kind, each.wrong) for each in seen if each.wrong)


def _fits(seen: Seen, status: dict[str, int | None], key: str) -> bool:
    if key not in status:
        return False
    if seen.whole:
        return status[key] == (None if seen.status == 200 else seen.status)
    return status[key] in (GONE, None) if "leaver" in seen.kind else status[key] == BROKE_OFF
