"""The dialects that arbstr speaks with clients."""

from __future__ import annotations

from arbstr.engine.dialects.chat import CHAT
from arbstr.engine.dialects.dialect import Dialect

DIALECTS: tuple[Dialect, ...] = (CHAT,)
