"""`arbstr init`: a first configuration, and the files that run arbstr as a service."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from arbstr.cli.options import ConfigOption, ListenOption
from arbstr.config.address import LOOPBACK, Address, parse_address
from arbstr.errors import ArbstrError, UnusableInput
from arbstr.private_files import PRIVATE
from arbstr.sanitize import sanitize

_SERVICE_FILES = Path(__file__).parent / "service_files"
_DEFAULT_ADDRESS = Address(LOOPBACK, 8080)


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command(epilog="Example: arbstr init --url https://node.example.com/v1")(init)


def init(
    config: ConfigOption = None,
    listen: ListenOption = None,
    url: Annotated[str | None, typer.Option("--url", metavar="URL", help="The first provider: a Routstr node.")] = None,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="What to call it [from its URL].")] = None,
    container: Annotated[bool, typer.Option("--container", help="Print a Containerfile instead.")] = False,
    systemd: Annotated[bool, typer.Option("--systemd", help="Print a systemd unit instead.")] = False,
    grafana: Annotated[bool, typer.Option("--grafana", help="Print a Grafana dashboard instead.")] = False,
    launchd: Annotated[bool, typer.Option("--launchd", help="Print a launchd property list instead.")] = False,
) -> None:
    """Write a first configuration file: every option, explained.

    What is not given is asked where stdin is a terminal, else a default is taken. An existing file is left as it is.
    """
    from arbstr.config.paths import config_path

    path = config_path(config, os.environ)
    if container + systemd + launchd + grafana > 1:
        raise typer.BadParameter("--container, --systemd, --launchd and --grafana are mutually exclusive")
    printed = {"Containerfile": container, "arbstr.service": systemd, "grafana.json": grafana}
    for file in (name for name, wanted in printed.items() if wanted):
        print((_SERVICE_FILES / file).read_text(encoding="utf-8"), end="")
        return
    if launchd:
        print(_property_list(path), end="")
    else:
        _write_configuration(path, listen, url, name)


def _write_configuration(path: Path, listen: Address | None, url: str | None, name: str | None) -> None:
    from arbstr.config.starter import DEFAULT_URL, check_provider, name_for, starter_text

    if os.path.lexists(path):
        raise _taken(path)
    url = _answer(url, "URL of a Routstr node", DEFAULT_URL, check_provider)
    name = _answer(name, "What to call it", name_for(url), partial(check_provider, url))
    address = listen or _address(_answer(None, "Address to listen on", str(_DEFAULT_ADDRESS), _address))
    _create(path, starter_text(url, name, address).encode())
    _say_next(path, name, address, by_flag=path != Path("config.toml"))


def _answer(given: str | None, question: str, default: str, check: Callable[[str], object]) -> str:
    """Return what is given, else ask on a terminal; the default is for an empty line, and where nobody can be asked.

    `check` raises an ArbstrError for what would be refused: who can be asked is asked again.
    """
    if given:
        check(given)
        return given
    if not sys.stdin.isatty():
        return default
    while True:
        answer = _typed(f"{question} [{sanitize(default)}]: ") or default
        try:
            check(answer)
        except ArbstrError as error:
            print(f"{error}; try again, or leave with Ctrl-C", file=sys.stderr)
        else:
            return answer


def _typed(prompt: str) -> str:
    try:
        return input(prompt).strip()
    except EOFError:
        print(file=sys.stderr)  # the prompt's line ends
        raise UnusableInput("the input ended before all was answered; nothing was written") from None
    except KeyboardInterrupt:
        print("\narbstr: nothing was written", file=sys.stderr)
        raise


def _address(text: str) -> Address:
    try:
        return parse_address(text)
    except ValueError as error:
        raise UnusableInput(f"the address {sanitize(text)} {error}") from None


def _create(path: Path, data: bytes) -> None:
    """Write a new file that its owner alone can read. Raises UnusableInput where there is one, and OSError."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), PRIVATE)
    except FileExistsError:
        raise _taken(path) from None
    except FileNotFoundError:
        raise UnusableInput(f"there is no directory {sanitize(str(path.parent))}; make it, then try again") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            os.fchmod(descriptor, PRIVATE)  # a umask may have taken the owner's own right
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _taken(path: Path) -> UnusableInput:
    return UnusableInput(f"{sanitize(str(path))} is there already and stays as it is; name another with -c PATH")


def _say_next(path: Path, name: str, address: Address, *, by_flag: bool) -> None:
    from arbstr.config.loader import convention_variable

    flag = f" -c {shlex.quote(str(path))}" if by_flag else ""
    variable = convention_variable(name)
    print(sanitize(f"wrote {path}, which only you can read"))
    if not address.is_loopback:
        print("other machines can reach it, so clients need the token in server.auth_token")
    print(f"next, pay in:  arbstr fund {shlex.quote(name)}{flag}" + (f"   (or set {variable})" if variable else ""))
    print(f"then:          arbstr check{flag} --online && arbstr tui{flag}")


def _property_list(path: Path) -> str:
    """Return a launchd agent that runs this very arbstr with this configuration, from the directory it is in."""
    import plistlib

    path = path.expanduser().absolute()
    agent = {
        "Label": "arbstr",
        "ProgramArguments": [sys.executable, "-m", "arbstr", "serve", "-c", str(path)],
        "WorkingDirectory": str(path.parent),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ExitTimeOut": 45,  # seconds; more than server.shutdown_grace
        "ProcessType": "Adaptive",
        "Umask": 0o077,
        "StandardErrorPath": str(path.with_name("arbstr.log")),
        "SoftResourceLimits": {"NumberOfFiles": 65536},
    }
    return plistlib.dumps(agent, sort_keys=False).decode()
