"""OpenAI's Responses."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

import orjson

from arbstr.engine import metering
from arbstr.engine.dialects.dialect import Dialect, Prompt, comment
from arbstr.engine.dialects.fields import has_objects, kind_of, texts_of
from arbstr.engine.metering import Counts
from arbstr.engine.prompt import count_prompt
from arbstr.engine.upstream import verdict
from arbstr.engine.upstream.sse import encode_event
from arbstr.errors import ApiError, InvalidParameter
from arbstr.types import JsonObject

if TYPE_CHECKING:
    from arbstr import shapes

_ENDS = ("response.completed", "response.incomplete")
_FAILED = "response.failed"
_WORDLESS_ITEMS = ("message", "reasoning")  # when they are added: their words follow
_UNDER_WAY = ("incomplete", "queued", "in_progress")
_WITHOUT_ANSWER = ("failed", "cancelled")
_NUMBER = re.compile(rb'"sequence_number"\s*:\s*(\d{1,15})\b')
_KEPT_THERE = ("prompt", "previous_response_id", "conversation")  # the input that these name is at the provider


class Responses(Dialect):
    """`responses`."""

    name = "responses"
    path = "responses"
    id_prefix = "resp"
    prompt_fields = ("tools", "instructions", *_KEPT_THERE, "input")
    caps = ("max_output_tokens",)
    ends_with_done = False
    spoken_in = b'.delta"'
    words_in = frozenset(("output", "item", "part", "delta", "text", "arguments", "refusal", "response"))
    text_begins = re.compile(rb'"delta": ?"(?!")')
    end = re.compile(rb'"type"\s*:\s*"response\.(?:completed|incomplete)"')
    translation: ClassVar[str | None] = "arbstr.engine.dialects.translation.responses"

    def read_prompt(self, document: JsonObject) -> Prompt:
        """See `Dialect`."""
        prompt = document.get("input")
        if isinstance(prompt, str):
            text = prompt
        elif isinstance(prompt, list) and all(isinstance(item, dict) for item in prompt):
            text = _last_user_text(prompt)
        elif prompt is None and any(document.get(name) for name in _KEPT_THERE):
            text = ""
        else:
            fault = "is missing" if prompt is None else f"must be a string or a list of objects, not {kind_of(prompt)}"
            raise InvalidParameter(f"The field 'input' {fault}.", param="input")
        return Prompt(*count_prompt(document, "input"), text)

    def is_answer(self, document: Any) -> bool:
        """See `Dialect`. One that is not complete may have nothing yet."""
        if not isinstance(document, dict) or document.get("status") in _WITHOUT_ANSWER:
            return False
        output = document.get("output")
        return has_objects(output) or (output == [] and document.get("status") in _UNDER_WAY)

    def has_substance(self, document: Any) -> bool:
        """See `Dialect`."""
        kind = document.get("type") if isinstance(document, dict) else None
        if not isinstance(kind, str):
            return False
        if kind.endswith(".delta"):
            return bool(document.get("delta"))
        if kind == "response.output_item.added":
            item = document.get("item")
            return isinstance(item, dict) and item.get("type") not in _WORDLESS_ITEMS
        return kind == "response.output_item.done" or kind in _ENDS

    def finishes(self, document: Any) -> bool:
        """See `Dialect`."""
        return isinstance(document, dict) and document.get("type") in _ENDS

    def is_last(self, document: Any) -> bool:
        """See `Dialect`."""
        return self.finishes(document)

    def error_of(self, document: Any) -> JsonObject | None:
        """See `Dialect`."""
        kind = document.get("type") if isinstance(document, dict) else None
        if not isinstance(kind, str) or not kind.startswith("response."):
            return verdict.error_of(document)
        response = document.get("response")
        within = response if isinstance(response, dict) else {}
        stated = document.get("error") or within.get("error")
        error = verdict.error_of({"error": stated}) if stated else None
        if error is None and (kind == _FAILED or within.get("status") in _WITHOUT_ANSWER):
            return {"message": "the response failed"}
        return error

    def counts_of(self, document: Any) -> Counts | None:
        """See `Dialect`."""
        response = document.get("response") if isinstance(document, dict) else None
        return metering.counts_of(response if isinstance(response, dict) else document)

    def error_event(self, error: ApiError, *, after: bytes = b"") -> bytes:
        """See `Dialect`. Some clients know the one event, some the other; both go on with the numbers of events."""
        number = _next_number(after)
        failed = {"code": error.code, "message": error.message}
        event = {"type": "error", "sequence_number": number, **failed, "param": error.param}
        response = {"object": "response", "status": "failed", "error": failed, "output": []}
        last = {"type": _FAILED, "sequence_number": number + 1, "response": response}
        return encode_event(orjson.dumps(event), name=b"error") + encode_event(
            orjson.dumps(last), name=_FAILED.encode()
        )

    def final_event(self, own: shapes.CostFigures, *, created_s: int, model: str, done: bool) -> bytes:
        """See `Dialect`."""
        return comment(own)


RESPONSES = Responses()


def _next_number(events: bytes) -> int:
    """Return the number of the event that follows these, 0 if they have none."""
    found = _NUMBER.match(events, max(events.rfind(b'"sequence_number"'), 0))
    return 0 if found is None else int(found[1]) + 1


def _last_user_text(items: list[JsonObject]) -> str:
    for item in reversed(items):
        if item.get("role") == "user":
            return "\n".join(texts_of(item.get("content")))
    return ""
