"""`arbstr db copy` as a person sees it: how far it is, and what came of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.support.ledger_builders import record
from tests.support.ledgers import write_rows
from tests.support.postgres import PASSWORD
from tests.support.terminal import Terminal, python


def lines_of(*arguments: str, file: Path, status: int) -> list[str]:
    command = python("-m", "arbstr", "db", "copy", *arguments)
    with Terminal(command, columns=400, env={"DATABASE_URL": str(file)}) as terminal:
        assert terminal.wait_end() == status, terminal.text
        assert PASSWORD.encode() not in terminal.raw
        return [line.rstrip() for line in terminal.screen.display if line.strip()]


def test_a_copy_shows_how_far_it_is_and_one_of_nothing_new_says_so(postgres_url: str, tmp_path: Path) -> None:
    file, to = tmp_path / "one.db", postgres_url.replace(f":{PASSWORD}", "")
    asyncio.run(write_rows(file, [record(cost_msats=1) for _ in range(3)]))
    progress, done = lines_of("--to", to, file=file, status=0)
    assert progress == "3 of 3 rows"
    assert done.startswith("3 rows copied from")
    assert lines_of("--to", to, file=file, status=0)[0].startswith("nothing new to copy (3 before) from")
