"""The command line: the only package that prints and sets exit statuses.

A command's module is loaded when it is run, or when all are listed, and imports what is slow to import when it runs:
a prompt that asks every few seconds has no time for the others.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Annotated

import typer

from arbstr.cli.options import USAGE
from arbstr.errors import AddressInUse, ArbstrError, ConfigError

INVALID = 1
_ADVICE = {
    errno.EACCES: "; check the permissions of it and of its directory, or name another place",
    errno.EROFS: "; its file system can't be written to, so name another place",
    errno.ENOSPC: "; free some space there, or name another place",
}

# Each command, and the module that holds it; in the order of the help.
_MODULES = {
    "serve": "serve",
    "tui": "serve",
    "reload": "reload",
    "init": "init",
    "check": "config",
    "doctor": "doctor",
    "providers": "providers",
    "clients": "clients",
    "connect": "connect",
    "discover": "discover",
    "requests": "ledger",
    "stats": "ledger",
    "statusline": "statusline",
    "balance": "balance",
    "fund": "money",
    "refund": "money",
    "recover": "money",
    "db": "db",
    "simulate": "simulate",
    "man": "man",
}
_ALL = tuple(dict.fromkeys(_MODULES.values()))


def application(modules: Iterable[str] = _ALL) -> typer.Typer:
    """Return the program with the commands that these modules hold."""
    made = typer.Typer(
        help="Buy each OpenAI-compatible request from the cheapest Routstr provider.",
        epilog="Example: arbstr tui --demo",
        rich_markup_mode=None,  # plain help: quick to show, the same on a terminal and in a pipe
        pretty_exceptions_enable=False,
    )
    made.callback(invoke_without_command=True)(_arbstr)
    for module in modules:
        import_module(f"arbstr.cli.{module}").register(made)
    return made


def _needed(arguments: Sequence[str]) -> Iterable[str]:
    """Return the modules that a command line needs: those of its command, or all where it may be about any."""
    match arguments:
        case ["--version"]:
            return ()
        case [command, *_] if command in _MODULES and command != "man":  # which tells of all
            return (_MODULES[command],)
        case _:
            return _ALL


def main() -> None:
    """Run the console script."""
    _open_missing_streams()
    sys.excepthook = _internal_error
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a terminal of few characters
    sys.exit(run(sys.argv[1:]))


def _open_missing_streams() -> None:
    """Open /dev/null where stdin, stdout or stderr is closed: else a socket or the ledger would get its number.

    Terminal output would then go there, and the interpreter aborts at its end.
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
    """Run a command and return its exit status; print expected errors to stderr, a line for each problem."""
    try:
        program = typer.main.get_command(application(_needed(arguments)))
        status = program.main(arguments, prog_name="arbstr", standalone_mode=False)
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
    """Discard unwritable output: the interpreter would retry it at its end, and complain."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report(error: Exception) -> int:
    from arbstr.redaction import mask_lookalikes

    for line in _messages(error):
        print(f"arbstr: {mask_lookalikes(line)}", file=sys.stderr)  # a token may have strayed into an argument
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
        place = f": {error.filename}{_ADVICE.get(error.errno or 0, '')}" if error.filename else ""
        return [f"{error.strerror or 'input or output failed'}{place}"]
    return [" ".join(str(error).split())]


def _internal_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Report an unexpected exception: where it was raised, not its message, which may hold secrets."""
    if "debug" in os.environ.get("ARBSTR_LOG", ""):
        from arbstr.redaction import mask_lookalikes

        print(mask_lookalikes("".join(traceback.format_exception(kind, error, trace))), end="", file=sys.stderr)
        return
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else "an unknown location"
    print(
        f"arbstr: internal error ({kind.__name__} in {where}); please report it (ARBSTR_LOG=debug shows more)",
        file=sys.stderr,
    )


def _version(wanted: bool) -> None:
    if wanted:
        from arbstr.cli.version import version_text

        print(version_text())
        raise typer.Exit


def _arbstr(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show version and commit, and exit.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(USAGE)
