"""Under which name a chat request caps its answer's tokens."""

from __future__ import annotations

import re
from typing import Any

# OpenAI's reasoning models refuse `max_tokens`; other servers may not know `max_completion_tokens`, and an unknown cap
# is none.
_OPENAI_REASONING = re.compile(r"(?:^|[/:])(?:o\d|gpt-(?:[5-9]|\d\d))", re.IGNORECASE)


def cap_field(model: Any) -> str:
    """Return the name of the field that caps the output tokens for a model."""
    reasons = isinstance(model, str) and _OPENAI_REASONING.search(model) is not None
    return "max_completion_tokens" if reasons else "max_tokens"
