"""OpenAI's Codex: `codex exec`. It speaks Responses alone."""

from __future__ import annotations

from typing import Any

from checks import ECHO, MODEL, has, run, same
from cli import call, json_lines
from connect import write_settings

QUIET = ("--skip-git-repo-check", "-c", "check_for_update_on_startup=false", "-c", "analytics.enabled=false")


def codex(model: str, prompt: str) -> list[Any]:
    """Let Codex answer a prompt; the items of its answer."""
    write_settings("codex", model)
    events = json_lines(call("codex", "exec", *QUIET, "--json", prompt))
    same(events[-1]["type"], "turn.completed")
    assert events[-1]["usage"]["output_tokens"] > 0
    return [event["item"] for event in events if event["type"] == "item.completed"]


def streamed_answer() -> None:
    says = [item["text"] for item in codex(ECHO, "Say hello to Zürich.") if item["type"] == "agent_message"]
    same(says, ["Say hello to Zürich."])


def tools() -> None:
    items = codex(MODEL, 'Please call exec_command with {"cmd": "echo sunny in Zürich"}.')
    (command,) = [item for item in items if item["type"] == "command_execution"]
    same((command["exit_code"], command["aggregated_output"].strip()), (0, "sunny in Zürich"))
    has(items[-1]["text"], "sunny in Zürich")


run(streamed_answer, tools)
