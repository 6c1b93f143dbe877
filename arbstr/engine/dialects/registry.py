"""The dialects that arbstr speaks with clients."""

from __future__ import annotations

import re

from arbstr.engine.dialects.chat import CHAT
from arbstr.engine.dialects.completions import COMPLETIONS
from arbstr.engine.dialects.dialect import Dialect
from arbstr.engine.dialects.embeddings import EMBEDDINGS
from arbstr.engine.dialects.messages import MESSAGES
from arbstr.engine.dialects.responses import RESPONSES
from arbstr.types import JsonObject

DIALECTS: tuple[Dialect, ...] = (CHAT, RESPONSES, MESSAGES, EMBEDDINGS, COMPLETIONS)
_OF_MESSAGES = re.compile(r"(?:/policy/[^/?]*)?(?:/v1)?/messages(?![^/?])")
_OF_ANTHROPIC = frozenset(("system", "stop_sequences", "thinking", "anthropic_version"))
_OF_EMBEDDINGS = frozenset(("encoding_format", "dimensions"))
NAMES = frozenset(dialect.name for dialect in DIALECTS)
TRANSLATED = frozenset(dialect.name for dialect in DIALECTS if dialect.translation is not None)


def dialect_at(raw_path: str) -> Dialect:
    """Return the dialect in whose shape errors at a path, as it came, are: Anthropic's below its own, else OpenAI's."""
    return MESSAGES if _OF_MESSAGES.match(raw_path) else CHAT


def dialect_of(document: JsonObject) -> Dialect:
    """Return the dialect that a request seems to be in, by its fields."""
    if "prompt" in document and "input" not in document:
        return COMPLETIONS
    if "input" in document or "previous_response_id" in document:
        return EMBEDDINGS if _embeds(document) else RESPONSES
    return MESSAGES if not _OF_ANTHROPIC.isdisjoint(document) else CHAT


def _embeds(document: JsonObject) -> bool:
    """Whether a request with an input is for embeddings: as a setting, a list of texts or tokens, or the model says."""
    given, model = document.get("input"), document.get("model")
    is_list = isinstance(given, list) and bool(given) and not isinstance(given[0], dict)
    return is_list or not _OF_EMBEDDINGS.isdisjoint(document) or (isinstance(model, str) and "embed" in model.lower())
