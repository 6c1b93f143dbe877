"""A configuration file that changes while arbstr runs, in every way files do."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest

from arbstr.bus import Subscription
from arbstr.config.address import Address
from arbstr.config.settings import resolve
from arbstr.logs.ring import LogRing
from arbstr.runtime import config_watch, process
from arbstr.runtime.compose import Proxy, running
from tests.support.patience import PATIENCE_S


class Watched:
    """An arbstr that watches its file; `rules` are the names of the rules in force."""

    def __init__(self, path: Path, proxy: Proxy, ring: LogRing, events: Subscription) -> None:
        self.path = path
        self._proxy = proxy
        self._ring = ring
        self._events = events

    @property
    def rules(self) -> list[str]:
        return [rule.name for rule in self._proxy.config.policies.rules]

    @property
    def log(self) -> str:
        return "\n".join(line.text for line in self._ring.since())

    @property
    def problems(self) -> tuple[str, ...]:
        return self._proxy.source.snapshot().config_problems

    async def until(self, true: Callable[[Watched], object]) -> None:
        """Wait until it is so after a reading."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                await self._events.next()
                if true(self):
                    return

    async def until_in_force(self, rule: str) -> None:
        """Wait until the file with this rule is in force, and nothing is wrong with it."""
        await self.until(lambda arbstr: arbstr.rules == [rule] and not arbstr.problems)


def text(rule: str, ledger: Path) -> str:
    provider = '[[providers]]\nname = "alpha"\nurl = "http://127.0.0.1:9/v1"\nmodels = ["gpt-4o"]\ninput_rate = 1\n'
    return f'[database]\npath = "{ledger}"\n{provider}[[policies.rules]]\nname = "{rule}"\n'


def write(rule: str, path: Path) -> Path:
    """Put a file with this rule there, in one step."""
    new = path.with_name("being-written")
    new.write_text(text(rule, path.with_name("arbstr.db")))
    new.chmod(0o600)
    return new.replace(path)


@pytest.fixture
async def arbstr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    monkeypatch.setattr(process, "freeze_gc", lambda: None)
    monkeypatch.setattr(config_watch, "LOOK_S", 0.01)
    monkeypatch.setattr(config_watch, "STILL_S", 0.05)
    original = write("old", tmp_path / "first.toml")
    path = tmp_path / "config.toml"
    path.symlink_to(original)
    load = partial(resolve, {}, config=path, listen=Address("127.0.0.1", 0))
    ring = LogRing()
    async with running(load(), ring, load) as proxy:
        yield Watched(path, proxy, ring, proxy.source.subscribe())


async def test_a_file_that_is_written_in_place_is_taken(arbstr: Watched) -> None:
    text = arbstr.path.read_text().replace("old", "new")
    with arbstr.path.open("w") as file:  # which empties it
        file.write(text[:40])
        file.flush()
        file.write(text[40:])
    await arbstr.until_in_force("new")
    assert f"configuration reloaded: {arbstr.path}" in arbstr.log


async def test_another_file_in_its_place_is_taken(arbstr: Watched) -> None:
    write("new", arbstr.path)
    await arbstr.until_in_force("new")


async def test_a_link_that_leads_elsewhere_is_followed(arbstr: Watched) -> None:
    """As a mounted ConfigMap changes: the link is replaced, in one step."""
    link = arbstr.path.with_name("link")
    link.symlink_to(write("new", arbstr.path.with_name("second.toml")))
    link.replace(arbstr.path)
    await arbstr.until_in_force("new")


async def test_a_text_of_the_same_length_and_time_is_noticed(arbstr: Watched) -> None:
    before = arbstr.path.stat()
    new = write("new", arbstr.path.with_name("second.toml"))
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    new.replace(arbstr.path)
    assert (arbstr.path.stat().st_size, arbstr.path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    await arbstr.until_in_force("new")


async def test_an_invalid_file_is_refused_until_it_is_mended(arbstr: Watched) -> None:
    wrong = arbstr.path.with_name("wrong.toml")
    wrong.write_text('[server]\nlisten = 1\n[[providers]]\nname = "alpha"\n')
    wrong.replace(arbstr.path)
    await arbstr.until(lambda arbstr: len(arbstr.problems) == 2)
    assert all(str(arbstr.path) in problem and problem in arbstr.log for problem in arbstr.problems)
    assert arbstr.rules == ["old"]
    write("new", arbstr.path)
    await arbstr.until_in_force("new")


@pytest.mark.parametrize(
    ("becomes", "said"),
    [
        ("nothing", "no such file"),
        ("empty", "no providers are configured"),
        ("a directory", "Is a directory"),
        ("a pipe", "is a pipe or device"),
        ("not UTF-8", "is not UTF-8"),
    ],
)
async def test_what_is_no_configuration_leaves_the_one_before_in_force(
    arbstr: Watched, becomes: str, said: str
) -> None:
    arbstr.path.unlink()
    match becomes:
        case "empty":
            arbstr.path.touch()
        case "a directory":
            arbstr.path.mkdir()
        case "a pipe":
            os.mkfifo(arbstr.path)
        case "not UTF-8":
            arbstr.path.write_bytes(b"\xff\xfe")
    await arbstr.until(lambda arbstr: any(said in problem for problem in arbstr.problems))
    assert arbstr.rules == ["old"]
    if becomes == "a directory":
        arbstr.path.rmdir()
    write("old", arbstr.path)
    await arbstr.until_in_force("old")


async def test_a_file_that_others_may_write_to_is_warned_of(arbstr: Watched) -> None:
    arbstr.path.chmod(0o666)
    await arbstr.until(lambda arbstr: "others can write to the file and redirect your keys (mode 0666)" in arbstr.log)


async def test_variables_are_those_of_the_start(arbstr: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARBSTR_TEST_RULE", "new")
    write("${ARBSTR_TEST_RULE}", arbstr.path)
    await arbstr.until(lambda arbstr: any("ARBSTR_TEST_RULE" in problem for problem in arbstr.problems))
    assert arbstr.rules == ["old"]
