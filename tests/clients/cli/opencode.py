"""opencode, by way of the three libraries of Vercel's AI SDK that it comes with."""

from __future__ import annotations

import json
from typing import Any

from checks import ECHO, MODEL, has, run, same
from cli import call, json_lines
from connect import write_settings

LIBRARY = "@ai-sdk/openai-compatible"  # the one in the settings that arbstr gives


def opencode(library: str, model: str, prompt: str) -> list[Any]:
    """Let opencode answer a prompt; the events of its answer."""
    write_settings("opencode", model)
    config: Any = {"autoupdate": False, "share": "disabled", "small_model": f"arbstr/{model}"}
    if library != LIBRARY:
        config["provider"] = {"arbstr": {"npm": library}}
    # It quotes each argument that has a space in it, and all quotation marks within.
    output = call(
        "opencode", "run", "--format", "json", "-m", f"arbstr/{model}", *prompt.split(),
        env={"OPENCODE_CONFIG_CONTENT": json.dumps(config)},
    )  # fmt: skip
    events = json_lines(output)
    same([event for event in events if event["type"] == "error"], [])
    return events


def answers(library: str) -> None:
    events = opencode(library, ECHO, "Say hello to Zürich.")
    has([event["part"]["text"] for event in events if event["type"] == "text"], "Say hello to Zürich.")
    assert events[-1]["part"]["tokens"]["output"] > 0


def uses_tools(library: str) -> None:
    asked = {"command": "echo sunny in Zürich", "description": "weather"}
    arguments = json.dumps(asked, separators=(",", ":")).replace(" ", "\\u0020")
    events = opencode(library, MODEL, f"Please call bash with {arguments}.")
    states = [event["part"]["state"] for event in events if event["type"] == "tool_use"]
    same([(state["status"], state["output"].strip()) for state in states], [("completed", "sunny in Zürich")])
    has([event["part"]["text"] for event in events if event["type"] == "text"], "The tool said: sunny in Zürich")


def chat_streamed() -> None:
    answers(LIBRARY)


def chat_tools() -> None:
    uses_tools(LIBRARY)


def response_streamed() -> None:
    answers("@ai-sdk/openai")


def response_tools() -> None:
    uses_tools("@ai-sdk/openai")


def message_streamed() -> None:
    answers("@ai-sdk/anthropic")


def message_tools() -> None:
    uses_tools("@ai-sdk/anthropic")


run(chat_streamed, chat_tools, response_streamed, response_tools, message_streamed, message_tools)
