"""Anthropic's Claude Code: `claude -p`. It speaks messages alone."""

from __future__ import annotations

from typing import Any

from checks import ECHO, MODEL, has, run, same
from cli import call, json_lines
from connect import write_settings

AS_ROOT = {"IS_SANDBOX": "1"}  # otherwise it refuses to be root


def claude(model: str, prompt: str) -> list[Any]:
    """Let Claude Code answer a prompt; the events of its answer."""
    write_settings("claude-code", model)
    output = call(
        "claude", "-p", prompt, "--allowedTools", "Bash", "--output-format", "stream-json", "--verbose", env=AS_ROOT
    )
    events = json_lines(output)
    same((events[-1]["type"], events[-1]["is_error"]), ("result", False))
    assert events[-1]["usage"]["output_tokens"] > 0
    return events


def streamed_answer() -> None:
    has(claude(ECHO, "Say hello to Zürich.")[-1]["result"], "Say hello to Zürich.")


def tools() -> None:
    events = claude(MODEL, 'Please call Bash with {"command": "echo sunny in Zürich", "description": "weather"}.')
    uses = [
        block["name"]
        for event in events
        if event["type"] == "assistant"
        for block in event["message"]["content"]
        if block["type"] == "tool_use"
    ]
    same(uses, ["Bash"])
    has(events[-1]["result"], "The tool said: sunny in Zürich")


run(streamed_answer, tools)
