"""Fields of translated requests that not every provider of chat completions takes, and no answer needs."""

from __future__ import annotations

from collections.abc import Callable

from arbstr.types import JsonObject

UNSUPPORTED_S = 86_400.0  # how long a field that a provider refused is not sent there again

_REMEMBERED = 4096  # clients may ask for any model
_OPTIONAL = (
    *("stream_options", "prompt_cache_key", "safety_identifier", "service_tier", "parallel_tool_calls"),
    *("reasoning_effort", "verbosity", "top_k"),
)


class OptionalFields:
    """Remembers which optional fields a provider has refused for which model. `clock` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._refused: dict[tuple[str, str, str], float] = {}  # by provider, model and field, until when

    def left_out(self, document: JsonObject, provider: str) -> JsonObject:
        """Return a chat request without the fields that the provider has refused for its model."""
        if not self._refused:
            return document
        model, now_s = document["model"], self._clock()
        return {
            name: value for name, value in document.items() if self._refused.get((provider, model, name), 0.0) <= now_s
        }

    def learn(self, document: JsonObject, provider: str, refusal: bytes) -> list[str]:
        """Remember the optional fields of a request that a refusal names; return them."""
        named = [name for name in _OPTIONAL if name in document and name.encode() in refusal]
        if len(self._refused) > _REMEMBERED:
            self._refused.clear()
        self._refused.update(((provider, document["model"], name), self._clock() + UNSUPPORTED_S) for name in named)
        return named
