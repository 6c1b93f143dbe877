"""Commands about a request, safe to paste into a shell. They hold no secret, and no prompt: arbstr keeps none."""

from __future__ import annotations

import json
import shlex
from typing import Any

from arbstr.ledger.model import Entry

PROMPT = "Say hello."  # where the request had its own
_PATHS = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
    "embeddings": "/v1/embeddings",
    "completions": "/v1/completions",
}


def ask_for(address: str, request_id: str) -> str:
    """Return the command that asks for a request's row."""
    return f"curl {shlex.quote(f'{address}/v1/requests/{request_id}')}"


def repeat(address: str, entry: Entry) -> str | None:
    """Return the command that sends a request like it, of another prompt; None for one of no dialect arbstr speaks."""
    path = _PATHS.get(entry.dialect or "")
    if path is None:
        return None
    words = ["curl", f"{address}{path}", "-H", "Content-Type: application/json"]
    if entry.policy is not None and entry.policy.isprintable():
        words += ["-H", f"X-Arbstr-Policy: {entry.policy}"]
    return shlex.join([*words, "-d", json.dumps(_body(entry))])


def _body(entry: Entry) -> dict[str, Any]:
    """Return a body of the request's dialect."""
    asked: dict[str, Any]
    match entry.dialect:
        case "responses" | "embeddings":
            asked = {"input": PROMPT}
        case "completions":
            asked = {"prompt": PROMPT}
        case "messages":
            asked = {"max_tokens": 256, "messages": [{"role": "user", "content": PROMPT}]}
        case _:
            asked = {"messages": [{"role": "user", "content": PROMPT}]}
    return {"model": entry.model, **asked, **({"stream": True} if entry.streaming else {})}
