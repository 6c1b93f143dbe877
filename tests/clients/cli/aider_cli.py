"""aider, which uses chat completions, and no tools: it reads changes out of the text."""

from __future__ import annotations

from pathlib import Path

from checks import BASE, ECHO, KEY, ROOT, has, run
from cli import call

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


def aider(*options: str, message: str) -> str:
    env = {"OPENAI_API_BASE": BASE, "OPENAI_API_KEY": KEY, "ANTHROPIC_API_BASE": ROOT, "ANTHROPIC_API_KEY": KEY}
    return call("aider", *QUIET, *options, "--message", message, env=env)


def answer() -> None:
    has(aider("--model", f"openai/{ECHO}", "--no-stream", message="Say hello to Zürich."), "Say hello to Zürich.")


def stream() -> None:
    has(aider("--model", f"openai/{ECHO}", message="Say hello to Zürich."), "Say hello to Zürich.")


def changed_file() -> None:
    aider("--model", f"openai/{ECHO}", "--edit-format", "whole", "notes.txt", message=CHANGE)
    has((Path.home() / "work/notes.txt").read_text(), "It is sunny in Zürich.")


def message_stream() -> None:
    has(aider("--model", f"anthropic/{ECHO}", message="Say hello to Zürich."), "Say hello to Zürich.")


run(answer, stream, changed_file, message_stream)
