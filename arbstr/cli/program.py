"""The program that typer makes of the commands.

A command's module is loaded when it is run, or when all are listed, and imports what is slow to import when it runs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Annotated

import typer

from arbstr.cli import USAGE
from arbstr.redaction import mask_lookalikes

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
        case [command, *_] if command in _MODULES and command != "man":  # which tells of all
            return (_MODULES[command],)
        case _:
            return _ALL


def run(arguments: list[str]) -> int:
    """Run a command and return its exit status; report what is wrong with the line."""
    program = typer.main.get_command(application(_needed(arguments)))
    try:
        status = program.main(arguments, prog_name="arbstr", standalone_mode=False)
    except typer.TyperException as error:
        # A token may have strayed into an argument.
        print(f"arbstr: {mask_lookalikes(_message(error))}", file=sys.stderr)
        return error.exit_code
    return status if isinstance(status, int) else 0


def _message(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    hint = f"; try {context.command_path} --help" if context else ""
    return " ".join(error.format_message().split()).rstrip(".") + hint


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
