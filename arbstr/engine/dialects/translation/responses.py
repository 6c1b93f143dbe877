"""OpenAI's Responses over chat completions."""

from arbstr.engine.dialects.translation.responses_answer import from_chat
from arbstr.engine.dialects.translation.responses_request import to_chat
from arbstr.engine.dialects.translation.responses_stream import StreamTranslator

__all__ = ["StreamTranslator", "from_chat", "to_chat"]
