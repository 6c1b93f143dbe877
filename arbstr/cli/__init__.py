"""The command line. Only here (and in what is mounted here) is printed and the exit status set.

Whatever costs time to import is imported by the command that needs it.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated

import typer

import arbstr
from arbstr.cli import ledger, simulate
from arbstr.cli.options import ConfigOption
from arbstr.cli.tables import counted, table
from arbstr.config.address import Address, parse_address
from arbstr.errors import AddressInUse, ArbstrError, ConfigError

if TYPE_CHECKING:
    from arbstr.config.schema import Config, Provider
    from arbstr.config.settings import Settings

INVALID = 1
USAGE = 2

app = typer.Typer(
    help="Buy each OpenAI-compatible request from the cheapest Routstr provider.",
    epilog="Example: arbstr tui --demo",
    rich_markup_mode=None,  # plain help: quick to show, the same on a terminal and in a pipe
    pretty_exceptions_enable=False,
)


def main() -> None:
    """The console script."""
    _open_missing_streams()
    sys.excepthook = _internal_error
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a terminal of few characters
    sys.exit(run(sys.argv[1:]))


def _open_missing_streams() -> None:
    """Open /dev/null where stdin, stdout or stderr is closed: a socket or the ledger would get its number instead.

    What is meant for a terminal would then go there, and the interpreter aborts at its end.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, so this one
    sys.stdin = sys.stdin or os.fdopen(0)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")


def run(arguments: list[str]) -> int:
    """Run a command and return its exit status; what it raises on purpose becomes a line per problem on stderr."""
    try:
        status = typer.main.get_command(app).main(arguments, prog_name="arbstr", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has seen enough
        _silence_stdout()
        return INVALID
    except OSError as error:
        _silence_stdout()
        return _report(error)
    except (typer.TyperException, ArbstrError) as error:
        return _report(error)
    return status if isinstance(status, int) else 0


def _silence_stdout() -> None:
    """What can't be written is not tried again at the interpreter's end, where it would be noisy."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report(error: Exception) -> int:
    for line in _messages(error):
        print(f"arbstr: {line}", file=sys.stderr)
    if isinstance(error, typer.TyperException):
        return error.exit_code
    return USAGE if isinstance(error, AddressInUse) else INVALID


def _messages(error: Exception) -> list[str]:
    if isinstance(error, ConfigError):
        return error.problems
    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)
        hint = f"; try {context.command_path} --help" if context else ""
        return [" ".join(error.format_message().split()).rstrip(".") + hint]
    if isinstance(error, OSError):
        return [f"{error.strerror or 'input or output failed'}{f': {error.filename}' if error.filename else ''}"]
    return [" ".join(str(error).split())]


def _internal_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A fault of arbstr's own: where it was, not what it said, for that may hold anything."""
    if "debug" in os.environ.get("ARBSTR_LOG", ""):
        sys.__excepthook__(kind, error, trace)
        return
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else "an unknown location"
    print(
        f"arbstr: internal error ({kind.__name__} in {where}); please report it (ARBSTR_LOG=debug shows more)",
        file=sys.stderr,
    )


# --- options that commands share


def _address(text: str) -> Address:
    try:
        return parse_address(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} {error}") from None


ListenOption = Annotated[
    Address | None,
    typer.Option(
        "-l", "--listen", metavar="HOST:PORT", parser=_address, help="Address to listen on; :PORT means loopback."
    ),
]
MockOption = Annotated[bool, typer.Option("--mock", help="Use fake providers and a temporary ledger.")]
DemoOption = Annotated[bool, typer.Option("--demo", help="Like --mock, with simulated traffic.")]
InsecureOption = Annotated[
    bool, typer.Option("--insecure", help="Allow listening beyond loopback without server.auth_token.")
]


def _version(wanted: bool) -> None:
    if wanted:
        print(f"arbstr {arbstr.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _arbstr(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(USAGE)


# --- commands


@app.command(epilog="Example: arbstr serve -c config.toml -l 127.0.0.1:8080")
def serve(
    config: ConfigOption = None,
    listen: ListenOption = None,
    mock: MockOption = False,
    insecure: InsecureOption = False,
) -> int:
    """Run the proxy."""
    with _settings(config, listen, mock=mock, insecure=insecure) as settings:
        from arbstr.runtime import compose

        return compose.serve(settings)


@app.command(epilog="Example: arbstr tui --demo")
def tui(
    config: ConfigOption = None,
    listen: ListenOption = None,
    mock: MockOption = False,
    demo: DemoOption = False,
    insecure: InsecureOption = False,
) -> int:
    """Run the proxy with the dashboard on top."""
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
    with _settings(config, listen, mock=mock, demo=demo, insecure=insecure) as settings:
        from arbstr.runtime import compose

        return compose.tui(settings)


@app.command(epilog="Example: arbstr check -c config.toml")
def check(config: ConfigOption = None) -> None:
    """Validate the configuration and show where keys come from."""
    from arbstr.config.settings import exposure, resolve

    settings = resolve(os.environ, config=config, insecure=True)
    address = Address(settings.host, settings.port)
    exposed = exposure(settings.config, address)
    warnings = [*settings.warnings, *([exposed] if exposed else [])]
    print("\n".join(_check_lines(settings, address)))
    print(f"{settings.config_path} is valid: {_summary(settings.config)}, {counted(len(warnings), 'warning')}.")
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)


@app.command(epilog="Example: arbstr providers --json")
def providers(
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON in the shape of GET /providers.")] = False,
) -> None:
    """Show the configured providers: models, rates and masked keys."""
    from arbstr.config.settings import resolve

    configured = resolve(os.environ, config=config, insecure=True).config.providers
    if as_json:
        shown = {"providers": [provider.public() for provider in configured]}
        print(json.dumps(shown, indent=2, ensure_ascii=False))
        return
    headers = ("name", "in/1k", "out/1k", "fee", "key", "source", "url", "models")
    print("\n".join(table(headers, map(_provider_row, configured), "<>>><<<<")))


ledger.register(app)
simulate.register(app)


@contextmanager
def _settings(
    config: Path | None, listen: Address | None, *, mock: bool, demo: bool = False, insecure: bool
) -> Iterator[Settings]:
    """What a run goes by; the place of a mock run's ledger is cleared away at the end."""
    from arbstr.config.settings import resolve

    with tempfile.TemporaryDirectory(prefix="arbstr-") if mock or demo else nullcontext() as scratch:
        yield resolve(
            os.environ,
            config=config,
            listen=listen,
            mock=mock,
            demo=demo,
            insecure=insecure,
            scratch=Path(scratch) if scratch else None,
        )


def _check_lines(settings: Settings, address: Address) -> list[str]:
    from arbstr.config.settings import proxy_lines

    token = settings.config.server.auth_token
    ways = [f"ways    {line}" for line in proxy_lines(settings.config, settings.proxies)]
    return [
        f"listen  {address}, {'with a token' if token else 'without a token'}",
        f"ledger  {settings.database}",
        f"log     {settings.log_spec}, to {settings.config.logging.file or 'stderr'}",
        *ways,
        "",
        *table(("provider", "key", "source"), map(_key_row, settings.config.providers)),
        "",
    ]


def _key_row(provider: Provider) -> tuple[str, str, str]:
    source: str = provider.key_source
    if provider.key_variable and source != "literal":
        source += f" ({provider.key_variable}{' is not set' if source == 'none' else ''})"
    return provider.name, str(provider.api_key or "-"), source


def _summary(config: Config) -> str:
    models = {model for provider in config.providers for model in provider.model_ids}
    return ", ".join(
        [
            counted(len(config.providers), "provider"),
            counted(len(models), "model"),
            counted(len(config.policies.rules), "rule"),
        ]
    )


def _model_words(provider: Provider, model: str) -> str:
    """A model, with its rates if they are its own."""
    rates = provider.rates_for(model)
    if rates is provider.rates:
        return model
    return f"{model} ({float(rates.input):.10g} in, {float(rates.output):.10g} out)"


def _provider_row(provider: Provider) -> tuple[str, ...]:
    rates = (provider.input_rate, provider.output_rate, provider.base_fee)
    return (
        provider.name,
        *(f"{rate:.10g}" for rate in rates),
        str(provider.api_key or "-"),
        provider.key_source,
        provider.url,
        ", ".join(_model_words(provider, model) for model in provider.model_ids) or "any",
    )
