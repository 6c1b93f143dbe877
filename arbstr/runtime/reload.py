"""The configuration, read again while arbstr runs: put in force if it is valid, else refused with all its errors."""

from __future__ import annotations

import asyncio
import logging
import stat
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from arbstr.clock import wall_ms
from arbstr.config.settings import Settings
from arbstr.config.toml_file import sentence, state_of
from arbstr.errors import ConfigError
from arbstr.events import ConfigurationRead
from arbstr.runtime.systemd import SystemdNotifier

logger = logging.getLogger(__name__)

_FAULT = "the configuration could not be put in force because of an error in arbstr, which its log has"


class Outcome(NamedTuple):
    """What came of a reload: why the file was refused, if it was; which of its keys need a restart."""

    file: Path | None
    problems: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()


class Reloads:
    """Reloads the configuration, one time after another.

    `load` reads it as at the start, `apply` puts it in force, `publish` and systemd's `notifier` hear of each.
    """

    def __init__(
        self,
        settings: Settings,
        load: Callable[[], Settings],
        apply: Callable[[Settings], Awaitable[None]],
        publish: Callable[[ConfigurationRead], None],
        notifier: SystemdNotifier,
    ) -> None:
        self.file = settings.config_path
        self.file_state = settings.file_state  # as last read
        self._started = settings
        self._warned = settings.warnings
        self._load = load
        self._apply = apply
        self._publish = publish
        self._notifier = notifier
        self._lock = asyncio.Lock()

    async def reload(self) -> Outcome:
        """Read the file; put it in force, or log and publish why not. Never raises."""
        async with self._lock:
            self._notifier.reloading()
            try:
                outcome = await self._reloaded()
            except ConfigError as error:
                outcome = self._refused(error.problems)
            except Exception:  # arbstr goes on as it is
                logger.exception("could not reload the configuration")
                outcome = self._refused([_FAULT])
            self._publish(ConfigurationRead(wall_ms(), outcome.problems, outcome.restart))
            refused = f"the configuration was refused: {outcome.problems[0]}" if outcome.problems else ""
            self._notifier.ready(refused or "the configuration was reloaded")
            return outcome

    async def _reloaded(self) -> Outcome:
        settings = await asyncio.to_thread(self._read)
        await self._apply(settings)
        logger.info("configuration reloaded%s", "" if self.file is None else f": {self.file}")
        for warning in settings.warnings:
            if warning not in self._warned:
                logger.warning("%s", warning)
        self._warned = settings.warnings
        restart = settings.needing_restart(self._started)
        if restart:
            logger.warning("without effect until arbstr is restarted: %s", ", ".join(restart))
        return Outcome(self.file, (), restart)

    def _read(self) -> Settings:
        """Read the file, on a thread: the disk may be slow. Raises ConfigError, also for what could block for ever."""
        if self.file is not None:
            self.file_state = state_of(self.file)  # before: what changes while it is read has changed
            with suppress(OSError):  # which the reading reports
                mode = self.file.stat().st_mode
                if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                    raise ConfigError([sentence(self.file, "is a pipe or device, which is read at the start only")])
        return self._load()

    def _refused(self, problems: list[str]) -> Outcome:
        for problem in problems:
            logger.error("configuration refused, the one before stays in force: %s", problem)
        return Outcome(self.file, tuple(problems))
