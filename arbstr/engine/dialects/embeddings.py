"""OpenAI's embeddings."""

from __future__ import annotations

from typing import Any

from arbstr.engine import metering
from arbstr.engine.dialects.completions import text_inputs
from arbstr.engine.dialects.dialect import Dialect, Prompt
from arbstr.engine.prompt import count_prompt
from arbstr.types import JsonObject, Usage


class Embeddings(Dialect):
    """`embeddings`: no output, no streams."""

    name = "embeddings"
    path = "embeddings"
    streams = False
    words_in = frozenset(("data",))

    def read_prompt(self, document: JsonObject) -> Prompt:
        """See `Dialect`."""
        return Prompt(*count_prompt(document, "input"), "\n".join(text_inputs(document, "input")))

    def max_tokens(self, cap: int | None) -> int | None:
        """Return that there is no output."""
        return 0

    def is_answer(self, document: Any) -> bool:
        """See `Dialect`."""
        data = document.get("data") if isinstance(document, dict) else None
        return isinstance(data, list) and any(isinstance(each, dict) and each.get("embedding") for each in data)

    def usage_of(self, document: Any) -> Usage | None:
        """See `Dialect`. All tokens are input; some providers state the total alone."""
        return metering.input_only(document)


EMBEDDINGS = Embeddings()
