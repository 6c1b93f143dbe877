"""OpenAI's Codex: `codex exec`. It speaks Responses alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from checks import BASE, ECHO, KEY, MODEL, has, run, same
from cli import call, json_lines

CONFIG = f"""
model_provider = "arbstr"
check_for_update_on_startup = false

[analytics]
enabled = false

[model_providers.arbstr]
name = "arbstr"
base_url = "{BASE}"
wire_api = "responses"
env_key = "ARBSTR_KEY"
"""


def codex(model: str, prompt: str) -> list[Any]:
    """Let Codex answer a prompt; the items of its answer."""
    (Path.home() / ".codex").mkdir(exist_ok=True)
    (Path.home() / ".codex/config.toml").write_text(CONFIG)
    output = call("codex", "exec", "--skip-git-repo-check", "--json", "-m", model, prompt, env={"ARBSTR_KEY": KEY})
    events = json_lines(output)
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
