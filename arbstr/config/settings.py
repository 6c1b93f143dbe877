"""The settings of a run: flags, environment, file and defaults, in that order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from arbstr.config.address import Address
from arbstr.config.environment import checked_value
from arbstr.config.levels import parse_levels
from arbstr.config.loader import Loaded, load
from arbstr.config.paths import config_path, database_from_environment, place_of
from arbstr.config.proxies import NO_PROXIES, EnvironmentProxies, environment_proxies
from arbstr.config.schema import Config
from arbstr.errors import ConfigError
from arbstr.places import Place, PostgresPlace
from arbstr.redaction import Secret

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything `serve` and `tui` need to know. `log_spec` is what `levels.parse_levels` reads.

    `config_path` is None for the built-in configuration; `mock` replaces the providers by fakes, `demo` adds traffic.
    `proxies` are the environment's; `file_state` is what `toml_file.state_of` said of the file.
    """

    config: Config
    config_path: Path | None
    host: str
    port: int
    database: Place
    log_spec: str
    mock: bool = False
    demo: bool = False
    insecure: bool = False
    warnings: tuple[str, ...] = ()
    proxies: EnvironmentProxies = NO_PROXIES
    file_state: str = ""

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """All that must never be shown: the file's, the environment's proxies', the database's."""
        database = self.database.secrets if isinstance(self.database, PostgresPlace) else ()
        return (*self.config.secrets(), *self.proxies.secrets, *database)

    def needing_restart(self, then: Settings) -> tuple[str, ...]:
        """Return the keys of these settings that have no effect until the next start, given those at the last one."""
        pairs = {
            "server.listen": (self.host, self.port) == (then.host, then.port),
            "database.path": self.database == then.database,
            "database.keep_days": self.config.database.keep_days == then.config.database.keep_days,
            "logging.file": self.config.logging.file == then.config.logging.file,
            "logging.format": self.config.logging.format == then.config.logging.format,
            "mock": not self.mock or self.config.mock == then.config.mock,
            "providers": not self.mock or self.config.providers == then.config.providers,
        }
        return tuple(key for key, same in pairs.items() if not same)


def resolve(
    environ: Mapping[str, str],
    *,
    config: Path | None = None,
    listen: Address | None = None,
    mock: bool = False,
    demo: bool = False,
    insecure: bool = False,
    scratch: Path | None = None,
) -> Settings:
    """Apply the order of precedence. Raises ConfigError with all problems.

    `scratch` is a fresh directory for the ledger of a mock run, unless `DATABASE_URL` says where. An address beyond
    this machine needs a token, or `insecure`.
    """
    mock = mock or demo
    problems: list[str] = []
    valid = _collecting(problems, lambda: _load(environ, config, mock=mock))
    loaded = valid or Loaded(Config())
    if demo:  # its traffic has no keys
        loaded = replace(loaded, config=loaded.config.model_copy(update={"clients": ()}))
    database = _collecting(problems, lambda: database_from_environment(environ))
    proxies = environment_proxies(environ, problems)
    log_spec = _collecting(problems, lambda: _log_spec(environ)) or loaded.config.logging.level
    address = listen or loaded.config.server.address
    if valid and not insecure and (problem := exposure(loaded.config, address)):
        problems.append(problem)
    if problems:
        raise ConfigError(problems)
    ledger = loaded.config.database
    fallback = str(scratch / "arbstr.db") if mock and scratch else ledger.path
    named = database or (None if mock or ledger.url is None else ledger.url.reveal())
    return Settings(
        config=loaded.config,
        config_path=loaded.path,
        host=address.host,
        port=address.port,
        database=place_of(named, ledger.path) if named else fallback,
        log_spec=log_spec,
        mock=mock,
        demo=demo,
        insecure=insecure,
        warnings=loaded.warnings,
        proxies=proxies,
        file_state=loaded.file_state,
    )


def exposure(config: Config, address: Address) -> str | None:
    """Return what is wrong with listening there, if other machines could spend without a key; else None."""
    if address.is_loopback or config.server.auth_token is not None or config.clients:
        return None
    return (
        f"listening on {address} without server.auth_token lets other machines spend your sats; "
        "set a token, listen on 127.0.0.1, or pass --insecure"
    )


def proxy_lines(config: Config, proxies: EnvironmentProxies) -> list[str]:
    """Return a sentence for each proxy: which providers are reached through it, and why."""
    users: dict[tuple[str, str], list[str]] = {}
    for provider in config.providers:
        if provider.proxy is not None:
            users.setdefault((str(provider.proxy), "from the configuration"), []).append(provider.name)
        elif found := proxies.proxy_for(provider.url):
            users.setdefault((str(found[0]), f"from {found[1]}"), []).append(provider.name)
    return [f"through the proxy {proxy}, {why}: {', '.join(names)}" for (proxy, why), names in users.items()]


def _collecting(problems: list[str], step: Callable[[], T]) -> T | None:
    """Return the step's result, or None after adding its problems."""
    try:
        return step()
    except ConfigError as error:
        problems += error.problems
        return None


def _load(environ: Mapping[str, str], config: Path | None, *, mock: bool) -> Loaded:
    if mock and config is None and not checked_value(environ, "ARBSTR_CONFIG"):
        return Loaded(Config())  # a file that happens to lie here is not what a newcomer wants to try
    return load(config_path(config, environ), environ, mock=mock)


def _log_spec(environ: Mapping[str, str]) -> str | None:
    spec = checked_value(environ, "ARBSTR_LOG")
    if spec:
        try:
            parse_levels(spec)
        except ValueError as error:
            raise ConfigError([f"ARBSTR_LOG {error}"]) from None
    return spec or None
