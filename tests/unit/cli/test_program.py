"""Which commands are loaded for a command line: all that it may be about, and no others."""

from __future__ import annotations

import typer

from arbstr.cli import program


def commands(*arguments: str) -> set[str]:
    """The names of the commands that are loaded for a command line."""
    made = typer.main.get_command(program.application(program._needed(arguments)))
    return set(made.commands)  # type: ignore[attr-defined]  # it is a group


def test_a_command_is_loaded_with_those_of_its_module_alone() -> None:
    assert commands("statusline", "--json") == {"statusline"}
    assert commands("serve") == {"serve", "tui"}
    assert all(name in commands(name) for name in commands())


def test_all_are_loaded_where_a_line_may_be_about_any() -> None:
    everything = commands()
    assert {"serve", "statusline", "db"} < everything
    assert commands("--help") == commands("man") == commands("sevre") == everything
