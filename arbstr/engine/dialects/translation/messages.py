"""Anthropic's Messages over chat completions."""

from arbstr.engine.dialects.translation.messages_answer import from_chat
from arbstr.engine.dialects.translation.messages_request import to_chat
from arbstr.engine.dialects.translation.messages_stream import StreamTranslator

__all__ = ["StreamTranslator", "from_chat", "to_chat"]
