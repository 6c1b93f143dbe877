"""`arbstr serve` and `arbstr tui`: run the proxy, with or without the dashboard."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from arbstr.cli import USAGE
from arbstr.cli.options import ConfigOption, ListenOption
from arbstr.config.address import Address
from arbstr.sanitize import quoted
from arbstr.suggest import did_you_mean

if TYPE_CHECKING:
    from arbstr.config.settings import Settings


MockOption = Annotated[bool, typer.Option("--mock", help="Use fake providers and a temporary ledger.")]
DemoOption = Annotated[bool, typer.Option("--demo", help="Like --mock, with simulated traffic.")]


def _theme(name: str | None) -> str | None:
    from tui.render.themes import THEME_NAMES

    if name is not None and name not in THEME_NAMES:
        hint = did_you_mean(name, THEME_NAMES) or f"choose one of {', '.join(THEME_NAMES)}"
        raise typer.BadParameter(f"{quoted(name)} is no theme; {hint}")
    return name


ThemeOption = Annotated[
    str | None,
    typer.Option("--theme", metavar="NAME", callback=_theme, help="Colours: dark, light, terminal, nord, dracula, …"),
]
ReadOnlyOption = Annotated[
    bool, typer.Option("--readonly", help="Let no key of the dashboard change a provider's state.")
]
InsecureOption = Annotated[
    bool, typer.Option("--insecure", help="Allow listening beyond loopback without server.auth_token.")
]


def _url(text: str) -> str:
    from arbstr.errors import UnusableInput
    from arbstr.monitoring.remote_link import read_url

    try:
        return read_url(text)
    except UnusableInput as error:
        raise typer.BadParameter(str(error)) from None


AttachOption = Annotated[
    str | None,
    typer.Option("--attach", metavar="URL", parser=_url, help="Show the dashboard of an arbstr that runs elsewhere."),
]
TokenOption = Annotated[
    str | None,
    typer.Option("--token", metavar="TOKEN", help="Its server.auth_token [ARBSTR_TOKEN, else asked for]."),
]


def register(app: typer.Typer) -> None:
    """Add the commands to an application."""
    app.command(epilog="Example: arbstr serve -c config.toml -l 127.0.0.1:8080")(serve)
    app.command(epilog="Example: arbstr tui --demo")(tui)


def serve(
    config: ConfigOption = None,
    listen: ListenOption = None,
    mock: MockOption = False,
    insecure: InsecureOption = False,
) -> int:
    """Run the proxy."""
    from arbstr.runtime.systemd import address_of, given_sockets

    sockets = given_sockets(os.environ)
    address = address_of(sockets) if sockets else listen
    with _loading(config, address, mock=mock, insecure=insecure) as load:
        from arbstr.runtime import lifecycle

        return lifecycle.serve(load, sockets)


def tui(
    config: ConfigOption = None,
    listen: ListenOption = None,
    mock: MockOption = False,
    demo: DemoOption = False,
    insecure: InsecureOption = False,
    attach: AttachOption = None,
    token: TokenOption = None,
    *,
    theme: ThemeOption = None,
    readonly: ReadOnlyOption = False,
) -> int:
    """Run the proxy with the dashboard, or show another arbstr's."""
    if attach is None and token is not None:
        raise typer.BadParameter("it is for --attach", param_hint="'--token'")
    if attach is not None and (config, listen, mock, demo, insecure) != (None, None, False, False, False):
        raise typer.BadParameter(
            "it goes with --token alone: what runs there has its own configuration", param_hint="'--attach'"
        )
    if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr)):
        print(
            "arbstr: the dashboard needs a terminal on stdin and stderr; arbstr serve runs without one", file=sys.stderr
        )
        return USAGE
    if os.environ.get("TERM") in ("dumb", "unknown"):
        print(
            f"arbstr: the dashboard needs cursor control, which TERM={os.environ['TERM']} says this terminal lacks; "
            "arbstr serve runs without a dashboard",
            file=sys.stderr,
        )
        return USAGE
    if attach is not None:
        return _attached(attach, token, theme)
    with _loading(config, listen, mock=mock, demo=demo, insecure=insecure) as load:
        from arbstr.runtime import lifecycle

        return lifecycle.tui(load, theme=theme, read_only=readonly)


def _attached(url: str, token: str | None, theme: str | None) -> int:
    """Show the dashboard of another arbstr; ask for its token where it wants one and none was given."""
    from arbstr.runtime.process import gc_paused

    with gc_paused():
        from arbstr.cli.secret_input import read_secret
        from arbstr.monitoring.remote_link import NotWatchable, read_token
        from arbstr.runtime.attached import attach

        given = read_token(os.environ.get("ARBSTR_TOKEN") if token is None else token)
        try:
            return attach(url, given, theme=theme)
        except NotWatchable as refusal:
            if not refusal.wants_token:
                raise
    return attach(url, read_token(read_secret(f"Token of {url}: ")), theme=theme)


@contextmanager
def _loading(
    config: Path | None, listen: Address | None, *, mock: bool, demo: bool = False, insecure: bool
) -> Iterator[Callable[[], Settings]]:
    """What resolves the settings of a run, with the environment as it is now; a mock run's ledger is temporary.

    Calling it raises ConfigError.
    """
    from arbstr.runtime.process import gc_paused

    with gc_paused(), tempfile.TemporaryDirectory(prefix="arbstr-") if mock or demo else nullcontext() as scratch:
        from arbstr.config.settings import resolve

        yield partial(
            resolve,
            dict(os.environ),
            config=config,
            listen=listen,
            mock=mock,
            demo=demo,
            insecure=insecure,
            scratch=Path(scratch) if scratch else None,
        )
