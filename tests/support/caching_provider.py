"""A scripted provider with a prompt cache that keeps what it is sent until it is to forget."""

from __future__ import annotations

import json
from typing import Any

from tests.support.provider import Asked, Reply, completion, json_reply, sse_reply

CHARS_PER_TOKEN = 4


class PromptCache:
    """A script for a `ScriptedProvider`: answers with 5 tokens, and says how many of the prompt were cached.

    `forgets`: from now on nothing is found.
    """

    def __init__(self) -> None:
        self.forgets = False
        self._known: set[str] = set()

    def __call__(self, asked: Asked) -> Reply:
        document = asked.json
        prompts = _beginnings(document)
        sizes = [len(prompt) // CHARS_PER_TOKEN for prompt in prompts]
        held = [size for prompt, size in zip(prompts, sizes, strict=True) if prompt in self._known]
        self._known.update(prompts)
        usage = {
            "prompt_tokens": sizes[-1],
            "completion_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 0 if self.forgets or not held else held[-1]},
        }
        answer = completion() | {"usage": usage}
        if not document.get("stream"):
            return json_reply(answer)
        chunk = {"choices": [{"index": 0, "delta": {"content": "Hello"}, "finish_reason": "stop"}], "usage": usage}
        return sse_reply(f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode())


def _beginnings(document: Any) -> list[str]:
    messages = document["messages"]
    return [json.dumps(messages[:count]) for count in range(1, len(messages) + 1)]
