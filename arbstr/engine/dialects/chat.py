"""OpenAI's chat completions. The only dialect that every provider speaks."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import orjson

from arbstr.engine.dialects.body import with_fields
from arbstr.engine.dialects.dialect import Dialect, Prompt, Sent
from arbstr.engine.dialects.fields import MOST_CHOICES, kind_of, messages_of, texts_of, whole
from arbstr.engine.prompt import count_prompt
from arbstr.engine.upstream import verdict
from arbstr.engine.upstream.sse import encode_event
from arbstr.errors import InvalidParameter
from arbstr.types import JsonObject, new_tuple

if TYPE_CHECKING:
    from arbstr import shapes

DONE = encode_event(b"[DONE]")

_INCLUDE_USAGE = b'"stream_options":{"include_usage":true}'
_DOUBTFUL = frozenset({"error", "errors", "type", "success"})  # what an answer has only where it may be an error
_USUAL_ENDS = ("stop", "length", "tool_calls")
_SAYS_LITTLE = frozenset({"role", "name", "index", "id"})  # of a delta: no part of an answer


class Chat(Dialect):
    """`chat/completions`."""

    name = "chat"
    path = "chat/completions"
    prompt_fields: ClassVar[tuple[str, ...]] = ("tools", "functions", "messages")
    caps: ClassVar[tuple[str, ...]] = ("max_tokens", "max_completion_tokens")
    words_in = frozenset({"choices"})
    text_begins = re.compile(
        rb'"delta": ?\{(?:"role": ?"[a-z]*", ?)?"(?:content|reasoning_content|reasoning)": ?"(?!")'
    )
    end = re.compile(rb'"finish_reason"\s*:\s*"(?!")')
    chunk_object: Literal["chat.completion.chunk", "text_completion"] = "chat.completion.chunk"
    chunk_id = "chatcmpl"

    def read_prompt(self, document: JsonObject) -> Prompt:
        """See `Dialect`."""
        messages = messages_of(document)
        chars, images = count_prompt(document)
        return new_tuple(Prompt, (chars, images, _last_user_text(messages)))

    def sent(self, document: JsonObject, body: bytes, *, stream: bool) -> Sent:
        """Return a body that makes a stream report its usage, whether or not the client wants to know."""
        options = _stream_options(document)
        if not stream or options.get("include_usage") is True:
            return new_tuple(Sent, (body, None, True))
        return Sent(_with_usage(document, options, body), plain=body, wants_usage=False)

    def choices(self, document: JsonObject) -> int:
        """See `Dialect`."""
        return whole(document, "n", MOST_CHOICES) or 1

    def fault_of(self, document: Any) -> JsonObject | None:
        """See `Dialect`."""
        return None if _is_plain_answer(document) else super().fault_of(document)

    def is_answer(self, document: Any) -> bool:
        """See `Dialect`."""
        choices = document.get("choices") if isinstance(document, dict) else None
        return isinstance(choices, list) and any(map(_is_usable, choices))

    def has_substance(self, document: Any) -> bool:
        """Return whether a stream's event has content of any kind, a tool call or a `finish_reason`."""
        return _has_choice(document, _brings)

    def finishes(self, document: Any) -> bool:
        """Return whether a stream's event has a valid `finish_reason`."""
        return _has_choice(document, _is_finished)

    def is_usage_only(self, document: JsonObject) -> bool:
        """See `Dialect`: no choices stand beside the usage."""
        return not document.get("choices") and verdict.error_of(document) is None

    def final_event(self, own: shapes.CostFigures, *, created_s: int, model: str, done: bool) -> bytes:
        """Return arbstr's event, a chunk that strict clients accept, between two `[DONE]`."""
        event: shapes.CostEvent = {
            "id": f"{self.chunk_id}-{own['request_id']}",
            "object": self.chunk_object,
            "created": created_s,
            "model": model,
            "choices": [],
            "arbstr": own,
        }
        return (b"" if done else DONE) + encode_event(orjson.dumps(event)) + DONE


CHAT = Chat()


def _stream_options(document: JsonObject) -> JsonObject:
    """Return `stream_options`, empty if it is absent. Raises `InvalidParameter`."""
    options = document.get("stream_options")
    if options is None:
        return {}
    if not isinstance(options, dict):
        raise InvalidParameter(
            f"The field 'stream_options' must be an object, not {kind_of(options)}.", param="stream_options"
        )
    wanted = options.get("include_usage")
    if wanted is not None and not isinstance(wanted, bool):
        raise InvalidParameter(
            f"The field 'stream_options.include_usage' must be true or false, not {kind_of(wanted)}.",
            param="stream_options.include_usage",
        )
    return options


def _with_usage(document: JsonObject, options: JsonObject, body: bytes) -> bytes:
    """Return a body that makes the provider report usage at the stream's end, in the client's bytes where possible."""
    if "stream_options" not in document:
        start = body.index(b"{") + 1
        return b"%b%b,%b" % (body[:start], _INCLUDE_USAGE, body[start:])
    return with_fields(body, stream_options={**options, "include_usage": True})


def _last_user_text(messages: list[JsonObject]) -> str:
    for message in reversed(messages):
        if message["role"] == "user":
            return "\n".join(texts_of(message.get("content")))
    return ""


def _is_plain_answer(document: Any) -> bool:
    """Whether it is as nearly all answers are: one choice with a message and a usual end, nothing that may be an error.

    Only to be quick: all else that `fault_of` does would come to the same.
    """
    if type(document) is not dict or document.get("object") != "chat.completion" or not _DOUBTFUL.isdisjoint(document):
        return False
    choices = document.get("choices")
    if type(choices) is not list or len(choices) != 1 or type(choices[0]) is not dict:
        return False
    message = choices[0].get("message")
    has_message = type(message) is dict and bool(message)
    return has_message and "error" not in choices[0] and choices[0].get("finish_reason") in _USUAL_ENDS


def _has_choice(document: Any, fits: Callable[[JsonObject], bool]) -> bool:
    choices = document.get("choices") if isinstance(document, dict) else None
    if isinstance(choices, list):
        for choice in choices:  # plain loops: every stream is judged so, and `any` would take twice as long
            if isinstance(choice, dict) and fits(choice):
                return True
    return False


def _is_usable(choice: Any) -> bool:
    """Return whether a choice of a whole response contains an answer."""
    if not isinstance(choice, dict):
        return False
    message = choice.get("message")
    return (isinstance(message, dict) and bool(message)) or isinstance(choice.get("text"), str)


def _brings(choice: JsonObject) -> bool:
    for part in (choice.get("delta"), choice.get("message")):
        if isinstance(part, dict):
            for key, value in part.items():
                if value and key not in _SAYS_LITTLE:
                    return True
    return bool(choice.get("text")) or _is_finished(choice)


def _is_finished(choice: JsonObject) -> bool:
    reason = choice.get("finish_reason")
    return isinstance(reason, str) and verdict.is_end(reason)
