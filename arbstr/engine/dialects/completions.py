"""OpenAI's text completions, of old."""

from __future__ import annotations

import re
from typing import Any

from arbstr.engine.dialects.chat import Chat
from arbstr.engine.dialects.dialect import Prompt
from arbstr.engine.dialects.fields import MOST_CHOICES, kind_of, whole
from arbstr.engine.prompt import count_prompt
from arbstr.errors import InvalidParameter
from arbstr.types import JsonObject


class Completions(Chat):
    """`completions`: answers and streams are as chat's, with a text in the place of a message."""

    name = "completions"
    path = "completions"
    prompt_fields = ("prompt",)
    caps = ("max_tokens",)
    text_begins = re.compile(rb'"text": ?"(?!")')
    chunk_object = "text_completion"
    chunk_id = "cmpl"

    def read_prompt(self, document: JsonObject) -> Prompt:
        """See `Dialect`."""
        return Prompt(*count_prompt(document, "prompt"), "\n".join(text_inputs(document, "prompt")))

    def choices(self, document: JsonObject) -> int:
        """See `Dialect`. Each of several prompts is answered so often."""
        each = max(whole(document, name, MOST_CHOICES) or 1 for name in ("n", "best_of"))
        prompts = document["prompt"]
        return each * (len(prompts) if _is_several(prompts) else 1)


COMPLETIONS = Completions()


def text_inputs(document: JsonObject, name: str) -> list[str]:
    """Return the texts in a field with one or several texts, or tokens. Raises `InvalidParameter`."""
    given = document.get(name)
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list) or not given:
        fault = "is missing" if given is None else f"must be a string or a list, not {kind_of(given)}"
        raise InvalidParameter(f"The field '{name}' {fault}.", param=name)
    return [text for text in given if isinstance(text, str)]


def _is_several(prompts: Any) -> bool:
    return isinstance(prompts, list) and not isinstance(prompts[0], int)
