"""Runs named checks and prints one JSON line for each: {"check", "ok", "why"}."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

BASE = os.environ["CLIENTS_BASE_URL"]
ROOT = BASE.removesuffix("/v1")
AT = os.environ["CLIENTS_AT"]  # provider, native or translated
PROGRAMS = Path(os.environ["CLIENTS_PROGRAMS"])
KEY = "clients-own-key"
MODEL = "gpt-4o"
ECHO = "mock-echo"  # answers with the question
BUSY = "mock-error-429-after-0"
OVERLOADED = "mock-error-529"
FAILING = "mock-late-error"  # an error in the middle of a stream
TORN = "mock-drop-stream"  # a connection that breaks there
EMBEDDINGS = "text-embedding-3-small"
SAYING = 'Grüße, 世界 🌍: "quoted" and \\ and </tag>.\nA second line, e.g. data: [DONE]'
QUESTION = "What is the weather in Bern?"
MESSAGES: Any = [{"role": "user", "content": QUESTION}]
ECHOED: Any = [{"role": "user", "content": SAYING}]
PARAMETERS: Any = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS: Any = [{"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS}}]
# A fake provider makes the calls that a question spells out.
ONE_CALL = 'Please call get_weather with {"city": "Bern"}.'
TWO_CALLS = 'Please call get_weather with {"city": "Bern"} and call get_weather with {"city": "Zürich"}.'
CITIES = ["Bern", "Zürich"]


def run(*checks: Callable[[], None]) -> None:
    for check in checks:
        why = ""
        try:
            check()
        except Exception as error:
            why = f"{type(error).__name__}: {error}"[:500]
        print(json.dumps({"check": check.__name__, "ok": not why, "why": why}), flush=True)


def raises(kinds: Any, call: Callable[[], Any]) -> None:
    """Check that a call fails with an error of those kinds."""
    try:
        found = call()
    except kinds:
        return
    raise AssertionError(f"{found!r:.200} instead of an error")


def breaks_off(events: Callable[[], Any]) -> None:
    """Check that a stream begins, and then fails."""
    read = []

    def to_the_end() -> list[Any]:
        for event in events():
            read.append(event)  # noqa: PERF402 - those before the failure count
        return read

    raises(Exception, to_the_end)
    assert len(read) > 2, f"it failed at once: {read!r:.200}"


def same(found: Any, wanted: Any) -> None:
    assert found == wanted, f"{found!r} instead of {wanted!r}"


def has(text: Any, part: str) -> None:
    assert part in str(text), f"no {part!r} in {str(text)[-300:]!r}"


def weather(city: str) -> str:
    """What the tool answers."""
    return f"sunny in {city}"
