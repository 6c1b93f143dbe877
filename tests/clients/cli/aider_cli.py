"""aider, which uses chat completions, and no tools: it reads changes out of the text."""

from __future__ import annotations

from pathlib import Path

from checks import AT, ECHO, KEY, has, run
from cli import call
from connect import variables, write_settings

QUIET = (
    "--no-git", "--yes-always", "--no-check-update", "--no-show-model-warnings", "--no-pretty", "--no-analytics",
    "--no-detect-urls", "--no-auto-lint", "--map-tokens", "0",
)  # fmt: skip
CHANGE = """Put this into notes.txt:

notes.txt
```
It is sunny in Zürich.
```
"""


def aider(model: str, *options: str, message: str) -> str:
    write_settings("aider", model)
    key = {} if AT == "provider" else {"OPENAI_API_KEY": KEY}  # a token is not written into its file
    return call("aider", *QUIET, *options, "--message", message, env=key)


def answer() -> None:
    has(aider(ECHO, "--no-stream", message="Say hello to Zürich."), "Say hello to Zürich.")


def stream() -> None:
    has(aider(ECHO, message="Say hello to Zürich."), "Say hello to Zürich.")


def changed_file() -> None:
    aider(ECHO, "--edit-format", "whole", "notes.txt", message=CHANGE)
    has((Path.home() / "work/notes.txt").read_text(), "It is sunny in Zürich.")


def message_stream() -> None:
    variables("anthropic", ECHO)
    has(aider(ECHO, "--model", f"anthropic/{ECHO}", message="Say hello to Zürich."), "Say hello to Zürich.")


run(answer, stream, changed_file, message_stream)
