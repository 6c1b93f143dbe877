"""Runs named checks and prints one JSON line for each: {"check", "ok", "why"}."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

BASE = os.environ["CLIENTS_BASE_URL"]
KEY = "clients-own-key"
MODEL = "gpt-4o"
MESSAGES: Any = [{"role": "user", "content": "What is the weather in Bern?"}]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS: Any = [{"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS}}]


def run(*checks: Callable[[], None]) -> None:
    for check in checks:
        why = ""
        try:
            check()
        except Exception as error:
            why = f"{type(error).__name__}: {error}"[:500]
        print(json.dumps({"check": check.__name__, "ok": not why, "why": why}), flush=True)
