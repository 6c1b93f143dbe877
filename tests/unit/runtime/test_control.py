"""How `arbstr reload` finds who is to reload: by a socket that only a living arbstr answers."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from arbstr.runtime.control import RELOAD, answer_reloads, ask_all, control_paths
from arbstr.runtime.reload import Outcome


@pytest.fixture(params=["short", "/".join(["a" * 100] * 3)], ids=["short", "longer than a socket's address"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    directory = tmp_path / str(request.param)
    directory.mkdir(parents=True)
    return directory / "arbstr.db"


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as made:
        yield made


async def reloaded() -> Outcome:
    return Outcome(Path("config.toml"), (), ("server.listen",))


async def refused() -> Outcome:
    return Outcome(Path("other.toml"), ("it is wrong",))


async def ask(ledger: Path) -> list[dict[str, object]]:
    return (await asyncio.to_thread(ask_all, ledger, 10.0)).outcomes


async def test_everyone_with_the_ledger_answers_with_what_came_of_it(ledger: Path, stack: AsyncExitStack) -> None:
    assert await ask(ledger) == []
    await answer_reloads(stack, ledger, reloaded)
    await answer_reloads(stack, ledger, refused)
    answers = sorted(await ask(ledger), key=lambda answer: str(answer["file"]))
    assert answers == [
        {"file": "config.toml", "problems": [], "restart": ["server.listen"]},
        {"file": "other.toml", "problems": ["it is wrong"], "restart": []},
    ]


async def test_only_the_owner_can_ask(ledger: Path, stack: AsyncExitStack) -> None:
    await answer_reloads(stack, ledger, reloaded)
    (path,) = control_paths(ledger)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_who_is_neither_its_user_nor_the_ledgers_owner_is_not_asked(
    tmp_path: Path, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, user = tmp_path / "arbstr.db", os.geteuid()
    await answer_reloads(stack, ledger, reloaded)
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    assert control_paths(ledger) == []
    ledger.touch()
    assert len(control_paths(ledger)) == 1


async def test_nothing_is_left_at_the_end(ledger: Path) -> None:
    async with AsyncExitStack() as stack:
        await answer_reloads(stack, ledger, reloaded)
    assert list(ledger.parent.iterdir()) == []


async def test_who_was_killed_is_not_asked_and_the_next_start_tidies_up(tmp_path: Path, stack: AsyncExitStack) -> None:
    ledger, dead = tmp_path / "arbstr.db", tmp_path / "arbstr.db-control-dead"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(dead))
    assert await ask(ledger) == []
    await answer_reloads(stack, ledger, reloaded)
    assert dead not in control_paths(ledger)
    assert len(await ask(ledger)) == 1


async def test_one_that_gives_no_answer_keeps_no_other_from_reloading(tmp_path: Path, stack: AsyncExitStack) -> None:
    ledger, done = tmp_path / "arbstr.db", asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()
        writer.close()

    async def reload() -> Outcome:
        done.set()
        return Outcome(Path("config.toml"))

    hanging = await asyncio.start_unix_server(hang, tmp_path / "arbstr.db-control-0")  # the first to be asked
    stack.callback(hanging.close)
    await answer_reloads(stack, ledger, reload)
    answers = await asyncio.to_thread(ask_all, ledger, 10.0)
    assert ([outcome["file"] for outcome in answers.outcomes], answers.silent) == (["config.toml"], 1)


async def test_what_is_no_socket_stays(tmp_path: Path, stack: AsyncExitStack) -> None:
    ledger, note = tmp_path / "arbstr.db", tmp_path / "arbstr.db-control-note"
    note.write_text("mine")
    await answer_reloads(stack, ledger, reloaded)
    assert len(await ask(ledger)) == 1
    assert note.read_text() == "mine"


async def test_other_words_reload_nothing(tmp_path: Path, stack: AsyncExitStack) -> None:
    asked: list[int] = []

    async def reload() -> Outcome:
        asked.append(1)
        return Outcome(None)

    await answer_reloads(stack, tmp_path / "arbstr.db", reload)
    (path,) = control_paths(tmp_path / "arbstr.db")
    for words in (b"stop\n", b"", b"x" * 100_000, RELOAD):
        reader, writer = await asyncio.open_unix_connection(os.fspath(path))
        writer.write(words)
        writer.write_eof()
        answer = await reader.read()
        assert bool(answer) == (words == RELOAD)
        writer.close()
    assert asked == [1]


async def test_a_place_where_no_socket_can_be_is_no_reason_to_fail(
    tmp_path: Path, stack: AsyncExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        await answer_reloads(stack, tmp_path / "missing" / "arbstr.db", reloaded)
    assert "arbstr reload can't reach this process (No such file or directory)" in caplog.text
