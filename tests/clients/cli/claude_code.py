"""Anthropic's Claude Code: `claude -p`. It speaks messages alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from checks import AT, ECHO, MODEL, has, run, same
from cli import call, json_lines
from connect import write_settings

WRITTEN = ("--output-format", "stream-json", "--verbose")
AS_ROOT = {"IS_SANDBOX": "1"}  # otherwise it refuses to be root


def claude(model: str, prompt: str) -> list[Any]:
    """Let Claude Code answer a prompt; the events of its answer."""
    write_settings("claude-code", model)
    events = json_lines(call("claude", "-p", prompt, "--allowedTools", "Bash", *WRITTEN, env=AS_ROOT))
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


def streamed_answer_of_its_own_model() -> None:
    if AT != "provider":  # arbstr has an alias for it
        write_settings("claude-code", MODEL)
        settings = Path.home() / ".claude/settings.json"
        document = json.loads(settings.read_text())
        document["env"] = {name: value for name, value in document["env"].items() if "MODEL" not in name}
        settings.write_text(json.dumps(document))
        events = json_lines(call("claude", "-p", "Hello.", *WRITTEN, env=AS_ROOT))
        same((events[-1]["type"], events[-1]["is_error"]), ("result", False))
        assert events[-1]["result"]


run(streamed_answer, tools, streamed_answer_of_its_own_model)
