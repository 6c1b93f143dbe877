"""How many tokens a request will take, before it is sent; learned from those that finished."""

from __future__ import annotations

from arbstr.types import ChatRequest

CHARS_PER_TOKEN = 4.0
OUTPUT_TOKENS = 256.0


class TokenEstimator:
    """Expected tokens of requests."""

    def expect(self, request: ChatRequest, policy: str | None, model: str) -> tuple[float, float]:
        """The expected input and output tokens of a request."""
        output = OUTPUT_TOKENS if request.max_tokens is None else float(request.max_tokens)
        return request.prompt_chars / CHARS_PER_TOKEN, output
