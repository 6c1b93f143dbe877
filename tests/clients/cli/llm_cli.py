"""llm, which uses chat completions."""

from __future__ import annotations

from pathlib import Path

from checks import BASE, ECHO, KEY, MODEL, has, run, same
from cli import call, json_lines

MODELS = "".join(
    f'- model_id: arbstr-{name}\n  model_name: {name}\n  api_base: "{BASE}"\n'
    "  supports_tools: true\n  supports_schema: true\n"
    for name in (MODEL, ECHO)
)


def llm(*arguments: str) -> str:
    folder = Path.home() / "llm"
    folder.mkdir(exist_ok=True)
    (folder / "extra-openai-models.yaml").write_text(MODELS)
    return call("llm", *arguments, env={"LLM_USER_PATH": str(folder), "OPENAI_API_KEY": KEY})


def answer() -> None:
    same(llm("-m", f"arbstr-{ECHO}", "--no-stream", "Hello, Zürich").strip(), "Hello, Zürich")


def stream() -> None:
    same(llm("-m", f"arbstr-{ECHO}", "Hello, Zürich").strip(), "Hello, Zürich")


def tools() -> None:
    has(llm("-m", f"arbstr-{MODEL}", "--tool", "llm_version", "Please call llm_version with {}."), "The tool said: 0.")


def schema() -> None:
    (found,) = json_lines(llm("-m", f"arbstr-{MODEL}", "--schema", "name, age int", "A dog"))
    same(sorted(found), ["age", "name"])


run(answer, stream, tools, schema)
