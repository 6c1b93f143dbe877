"""llm, which uses chat completions."""

from __future__ import annotations

from checks import AT, ECHO, KEY, MODEL, has, run, same
from cli import call, json_lines
from connect import write_settings


def llm(model: str, *arguments: str) -> str:
    write_settings("llm", model)
    if AT != "provider":
        call("llm", "keys", "set", "arbstr", "--value", KEY)
    return call("llm", "-m", f"arbstr/{model}", *arguments)


def answer() -> None:
    same(llm(ECHO, "--no-stream", "Hello, Zürich").strip(), "Hello, Zürich")


def stream() -> None:
    same(llm(ECHO, "Hello, Zürich").strip(), "Hello, Zürich")


def tools() -> None:
    has(llm(MODEL, "--tool", "llm_version", "Please call llm_version with {}."), "The tool said: 0.")


def schema() -> None:
    (found,) = json_lines(llm(MODEL, "--schema", "name, age int", "A dog"))
    same(sorted(found), ["age", "name"])


run(answer, stream, tools, schema)
