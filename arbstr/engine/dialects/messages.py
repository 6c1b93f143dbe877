"""Anthropic's Messages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

import orjson

from arbstr.engine import metering
from arbstr.engine.dialects.dialect import Dialect, Prompt, comment
from arbstr.engine.dialects.fields import has_objects, messages_of, texts_of
from arbstr.engine.metering import Counts
from arbstr.engine.prompt import count_prompt
from arbstr.engine.upstream import verdict
from arbstr.engine.upstream.sse import encode_event
from arbstr.errors import ApiError, UnsupportedParameter
from arbstr.types import JsonObject

if TYPE_CHECKING:
    from arbstr import shapes

_STOP = encode_event(b'{"type":"message_stop"}', name=b"message_stop")
_DELTA = "content_block_delta"
_START = "content_block_start"
_LAST_DELTA = "message_delta"
_KINDS_OF_EVENTS = ("message_", "content_block_", "ping")  # as they begin
# By the field that is refused: upon this, Anthropic's own clients send the whole conversation instead.
_DETAILS = {"thread": {"error_code": "thread_unsupported_request"}}
_EMPTY_STARTS = ("text", "thinking")  # blocks that begin empty: their words follow
_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


class Messages(Dialect):
    """`messages`. Its errors have types of their own, and no code."""

    name = "messages"
    path = "messages"
    id_prefix = "msg"
    prompt_fields = ("tools", "system", "messages")
    query = ("beta",)
    ends_with_done = False
    caps = ("max_tokens",)
    retryable = Dialect.retryable | {529}  # overloaded
    spoken_in = b"content_block"
    words_in = frozenset(("content", "content_block", "delta", "message"))
    text_begins = re.compile(rb'"delta": ?\{(?:"type": ?"[a-z_]*", ?)?"(?:text|thinking|partial_json)": ?"(?!")')
    end = re.compile(rb'"(?:stop_reason"\s*:\s*"(?!")|type"\s*:\s*"message_stop")')
    translation: ClassVar[str | None] = "arbstr.engine.dialects.translation.messages"

    def read_prompt(self, document: JsonObject) -> Prompt:
        """See `Dialect`. A message that only has results of tools is not the user's."""
        chars, images = count_prompt(document)
        for message in reversed(messages_of(document)):
            if message["role"] == "user" and not _has_results_only(message.get("content")):
                return Prompt(chars, images, "\n".join(texts_of(message.get("content"))))
        return Prompt(chars, images, "")

    def is_answer(self, document: Any) -> bool:
        """See `Dialect`. An answer without content is one if it says why it has stopped."""
        content = document.get("content") if isinstance(document, dict) else None
        return has_objects(content) or (content == [] and _is_stop(document.get("stop_reason")))

    def has_substance(self, document: Any) -> bool:
        """See `Dialect`."""
        kind = document.get("type") if isinstance(document, dict) else None
        if kind == _DELTA:
            delta = document.get("delta")
            return isinstance(delta, dict) and any(value for name, value in delta.items() if name != "type")
        if kind == _START:
            block = document.get("content_block")
            return isinstance(block, dict) and (block.get("type") not in _EMPTY_STARTS or bool(block.get("text")))
        return self.finishes(document)

    def finishes(self, document: Any) -> bool:
        """See `Dialect`."""
        delta = document.get("delta") if isinstance(document, dict) and document.get("type") == _LAST_DELTA else None
        return isinstance(delta, dict) and _is_stop(delta.get("stop_reason"))

    def is_last(self, document: Any) -> bool:
        """See `Dialect`. Routstr nodes send a cost after it."""
        return isinstance(document, dict) and document.get("type") == "message_stop"

    def error_of(self, document: Any) -> JsonObject | None:
        """See `Dialect`."""
        kind = document.get("type") if isinstance(document, dict) else None
        if isinstance(kind, str) and kind.startswith(_KINDS_OF_EVENTS):
            return verdict.error_of({"error": document["error"]}) if "error" in document else None
        return verdict.error_of(document)

    def counts_of(self, document: Any) -> Counts | None:
        """See `Dialect`. Input tokens come when the message starts, output tokens in its last delta."""
        message = document.get("message") if isinstance(document, dict) else None
        return metering.counts_of(message if isinstance(message, dict) else document)

    def error_body(self, error: ApiError) -> JsonObject:
        """See `Dialect`."""
        document = _error(error.status, error.message)
        if isinstance(error, UnsupportedParameter) and error.param in _DETAILS:
            document["error"]["details"] = _DETAILS[error.param]
        return document

    def refusal_body(self, body: bytes, status: int, message: str) -> bytes:
        """See `Dialect`."""
        return orjson.dumps(_error(status, message))

    def error_event(self, error: ApiError, *, after: bytes = b"") -> bytes:
        """See `Dialect`."""
        return encode_event(orjson.dumps(self.error_body(error)), name=b"error")

    def final_event(self, own: shapes.CostFigures, *, created_s: int, model: str, done: bool) -> bytes:
        """See `Dialect`."""
        return (b"" if done else _STOP) + comment(own)


MESSAGES = Messages()


def _error(status: int, message: str) -> JsonObject:
    default = "invalid_request_error" if status < 500 else "api_error"
    return {"type": "error", "error": {"type": _KINDS.get(status, default), "message": message}}


def _is_stop(reason: Any) -> bool:
    return isinstance(reason, str) and verdict.is_end(reason)


def _has_results_only(content: Any) -> bool:
    if not isinstance(content, list) or not content:
        return False
    return all(isinstance(block, dict) and block.get("type") == "tool_result" for block in content)
