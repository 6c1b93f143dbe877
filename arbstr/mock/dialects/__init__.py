"""The dialects in which fake providers answer with text: how a request is read, and an answer written, in each."""

from arbstr.mock.dialects.base import Dialect, Stream
from arbstr.mock.dialects.chat import Chat
from arbstr.mock.dialects.completions import Completions
from arbstr.mock.dialects.messages import Messages
from arbstr.mock.dialects.responses import Responses

__all__ = ["DIALECTS", "Dialect", "Stream"]

DIALECTS: tuple[Dialect, ...] = (Chat(), Completions(), Responses(), Messages())
