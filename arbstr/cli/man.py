"""`arbstr man`: the manual page, made of the commands' own help."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

_INTRODUCTION = (
    "arbstr is a local proxy that speaks OpenAI's and Anthropic's APIs. Each request goes to the provider that will be "
    "cheapest for it, its stream comes back untouched, and what it cost is in a ledger."
)
_FILES = (
    ("./config.toml", "The configuration, unless ARBSTR_CONFIG or -c names another; every option is explained in it."),
    ("./arbstr.db", "The ledger, unless DATABASE_URL or [database] path names another."),
)
_ENVIRONMENT = (
    ("ARBSTR_CONFIG", "The configuration file."),
    ("DATABASE_URL", "The ledger: a path, or postgresql://user:password@host/name."),
    ("ARBSTR_LOG", "The log's level, or a level for each logger: info,aiohttp=warning."),
    ("ARBSTR_NAME_API_KEY", "The key of the provider NAME, in upper case."),
    ("HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY", "How providers are reached."),
)
_STATUS = (("0", "All is well."), ("1", "Something is wrong; stderr says what."), ("2", "The command line is wrong."))


def register(app: typer.Typer) -> None:
    """Add the command to an application."""

    @app.command(epilog="Example: arbstr man | man -l -")
    def man() -> None:
        """Print the manual page, in roff."""
        print(page(typer.main.get_command(app)), end="")


def page(program: Any) -> str:
    """Return the manual page of a program of typer's."""
    import arbstr

    lines = [
        f'.TH ARBSTR 1 "" "arbstr {arbstr.__version__}" "User Commands"',
        ".SH NAME",
        rf"arbstr \- {_text(str(program.help).rstrip('.'))}",
        ".SH SYNOPSIS",
        r".B arbstr",
        "COMMAND [OPTIONS] [ARGUMENTS]",
        ".SH DESCRIPTION",
        _text(_INTRODUCTION),
        ".SH COMMANDS",
        *_commands(program, "arbstr"),
        *_terms("ENVIRONMENT", _ENVIRONMENT),
        *_terms("FILES", _FILES),
        *_terms("EXIT STATUS", _STATUS),
    ]
    return "\n".join(lines) + "\n"


def _commands(group: Any, path: str) -> Iterator[str]:
    for name, command in group.commands.items():
        if command.hidden:
            continue
        if hasattr(command, "commands"):
            yield from _commands(command, f"{path} {name}")
        else:
            yield from _command(command, f"{path} {name}")


def _command(command: Any, path: str) -> Iterator[str]:
    context = command.make_context(path, [], resilient_parsing=True)
    usage = [path, *(piece.strip("{}") for piece in command.collect_usage_pieces(context))]
    yield f".SS {_text(' '.join(usage))}"
    for paragraph in filter(None, (command.help or "").split("\n\n")):
        yield from (".PP", _text(" ".join(paragraph.split())))
    for option in command.params:
        record = option.get_help_record(context)
        if record is not None and option.name != "help":
            yield from (".TP", rf"\fB{_text(record[0])}\fR", _text(record[1]))
    if command.epilog:
        yield from (".PP", _text(command.epilog))


def _terms(heading: str, terms: tuple[tuple[str, str], ...]) -> Iterator[str]:
    yield f".SH {heading}"
    for term, meaning in terms:
        yield from (".TP", rf"\fB{_text(term)}\fR", _text(meaning))


def _text(text: str) -> str:
    """Return text that roff shows as it is."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...")  # a terminal without UTF-8 has none
    escaped = "".join(one if one.isascii() else f"\\[u{ord(one):04X}]" for one in escaped)
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped
