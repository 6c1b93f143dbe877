"""The dialects that arbstr speaks with clients."""

from __future__ import annotations

from arbstr.engine.dialects.chat import CHAT
from arbstr.engine.dialects.completions import COMPLETIONS
from arbstr.engine.dialects.dialect import Dialect
from arbstr.engine.dialects.embeddings import EMBEDDINGS
from arbstr.engine.dialects.messages import MESSAGES
from arbstr.engine.dialects.responses import RESPONSES

DIALECTS: tuple[Dialect, ...] = (CHAT, RESPONSES, MESSAGES, EMBEDDINGS, COMPLETIONS)
_OF_MESSAGES = ("/messages/", "/messages/count_tokens/")
TRANSLATED = frozenset(dialect.name for dialect in DIALECTS if dialect.translation is not None)


def dialect_at(path: str) -> Dialect:
    """Return the dialect in whose shape errors at a path are: that of the endpoint, chat's for all others."""
    return MESSAGES if f"{path}/".endswith(_OF_MESSAGES) else CHAT
