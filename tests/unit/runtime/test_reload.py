"""What a reload does with the file it reads: puts it in force, or refuses it and says why."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from arbstr.config.schema import Config
from arbstr.config.settings import Settings
from arbstr.config.toml_file import state_of
from arbstr.errors import ConfigError
from arbstr.events import ConfigurationRead
from arbstr.runtime.reload import Reloads
from arbstr.runtime.systemd import SystemdNotifier


class World:
    """A reload with everything around it made up. `file` is what loading returns or raises."""

    def __init__(self, path: Path | None = None) -> None:
        self.started = Settings(Config(), path, "127.0.0.1", 8080, "arbstr.db", "info")
        self.file: Settings | Exception = self.started
        self.applied: list[Settings] = []
        self.fault: Exception | None = None
        self.events: list[ConfigurationRead] = []
        self.reloads = Reloads(self.started, self._load, self._apply, self.events.append, SystemdNotifier({}))

    def _load(self) -> Settings:
        if isinstance(self.file, Exception):
            raise self.file
        return self.file

    async def _apply(self, settings: Settings) -> None:
        if self.fault is not None:
            raise self.fault
        self.applied.append(settings)


async def test_a_valid_file_is_put_in_force() -> None:
    world = World()
    world.file = replace(world.started, log_spec="debug")
    outcome = await world.reloads.reload()
    assert (outcome.problems, outcome.restart) == ((), ())
    assert world.applied == [world.file]
    assert [event.problems for event in world.events] == [()]


async def test_a_refused_file_is_logged_with_every_error_and_said_until_it_is_mended(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World()
    world.file = ConfigError(["config.toml: a is wrong", "config.toml: b is wrong"])
    outcome = await world.reloads.reload()
    assert list(outcome.problems) == world.file.problems
    assert [event.problems for event in world.events] == [outcome.problems]
    assert all(
        f"configuration refused, the one before stays in force: {each}" in caplog.text for each in outcome.problems
    )
    assert world.applied == []
    world.file = world.started
    await world.reloads.reload()
    assert world.events[-1].problems == ()


async def test_keys_without_effect_are_said_until_the_restart(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.file = replace(world.started, port=9090, database="other.db")
    for _ in range(2):
        assert (await world.reloads.reload()).restart == ("server.listen", "database.path")
    assert caplog.text.count("without effect until arbstr is restarted: server.listen, database.path") == 2
    assert world.events[-1].restart == ("server.listen", "database.path")
    world.file = world.started
    assert (await world.reloads.reload()).restart == ()


async def test_a_fault_of_arbstr_s_own_changes_nothing() -> None:
    world = World()
    world.fault = RuntimeError("a bug")
    (problem,) = (await world.reloads.reload()).problems
    assert problem == "the configuration could not be put in force because of an error in arbstr, which its log has"
    world.fault = None
    assert (await world.reloads.reload()).problems == ()


async def test_warnings_are_logged_when_they_are_new(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.file = replace(world.started, warnings=("others can write to the file",))
    await world.reloads.reload()
    await world.reloads.reload()
    assert caplog.text.count("others can write to the file") == 1


async def test_a_pipe_is_refused_at_once_instead_of_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "config.toml"
    os.mkfifo(pipe)
    outcome = await World(pipe).reloads.reload()
    assert outcome.problems == (f"{pipe}: is a pipe or device, which is read at the start only",)


async def test_what_was_read_is_known_whether_or_not_it_was_refused(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    world = World(file)
    states = []
    for text, loaded in (("a = 1", world.started), ("b = 1", ConfigError(["b is wrong"]))):
        file.write_text(text)
        world.file = loaded
        await world.reloads.reload()
        states.append(world.reloads.file_state)
        assert states[-1] == state_of(file)
    assert len(set(states)) == 2
