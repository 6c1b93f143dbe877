"""A provider's prompt cache: which beginnings of prompts it has seen before."""

from __future__ import annotations

from itertools import accumulate

from arbstr.mock import filler_text
from arbstr.mock.parsed_request import ParsedRequest

_LEAST_TOKENS = 1024  # shorter prompts are not cached, as with OpenAI and Anthropic
_MOST_BEGINNINGS = 10_000


class PromptCache:
    """Remember the beginnings of prompts, message by message, the newest of them."""

    def __init__(self) -> None:
        self._known: dict[int, None] = {}

    def count(self, request: ParsedRequest) -> tuple[int, int]:
        """Return how many input tokens are read from the cache and how many written to it, and remember the prompt."""
        if request.caching == "none":
            return 0, 0
        keys = list(
            accumulate(map(hash, request.prompt), lambda key, text: hash((key, text)), initial=hash(request.model))
        )
        known = next((i for i in range(len(keys) - 1, 0, -1) if keys[i] in self._known), 0)
        self._remember(keys[1:])
        read = sum(map(len, request.prompt[:known])) // filler_text.CHARS_PER_TOKEN
        read = read if read >= _LEAST_TOKENS else 0
        rest = request.input_tokens - read
        return read, rest if request.caching == "explicit" and request.input_tokens >= _LEAST_TOKENS else 0

    def _remember(self, keys: list[int]) -> None:
        self._known.update(dict.fromkeys(keys))
        for key in list(self._known)[: max(0, len(self._known) - _MOST_BEGINNINGS)]:
            del self._known[key]
