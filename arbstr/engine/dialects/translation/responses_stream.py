"""A chat stream as the events of a Responses stream."""

from __future__ import annotations

from arbstr.engine import metering
from arbstr.engine.dialects.translation import chat_answer
from arbstr.engine.dialects.translation.chat_answer import Calls, Reasoning, suffix_of
from arbstr.engine.dialects.translation.fields import dumps
from arbstr.engine.dialects.translation.responses_answer import annotation_of, ending, item_status, skeleton
from arbstr.engine.dialects.translation.responses_items import CallItem, Events, MessageItem, ReasoningItem
from arbstr.engine.dialects.translation.responses_tools import ClientTool, client_tools
from arbstr.types import JsonObject

_UNDER_WAY = b',"status":"in_progress","error":null,"incomplete_details":null,"output":[],"usage":null}'


class StreamTranslator:
    """Takes chunks by `feed` and returns events; `end` or `fail` returns the last ones.

    Tool calls stay open until the end, since providers may interleave their arguments.
    """

    def __init__(self, request: JsonObject, *, answer_id: str, now_s: float) -> None:
        self._request = request
        self._answer_id = answer_id
        self._now_s = now_s
        self._events = Events()
        self._head = b""  # what the answer says from its beginning, as JSON without its last brace
        self._items: list[ReasoningItem | MessageItem | CallItem] = []
        self._open: ReasoningItem | MessageItem | None = None
        self._calls = Calls(answer_id)
        self._call_items: dict[int, CallItem] = {}
        self._tools: dict[str, ClientTool] | None = None  # known from the first call on
        self._finish: str | None = None
        self._counts: metering.Counts | None = None

    def feed(self, chunk: JsonObject) -> bytes:
        """Take in a chunk; return the events for the client, possibly none."""
        item = self._open
        if isinstance(item, MessageItem) and (words := chat_answer.only_text_of(chunk)):
            return item.add(words)
        out = b"" if self._head else self._begin(chunk)
        choice = chat_answer.choice_of(chunk)
        counts = chat_answer.counts_of(chunk, choice)
        if counts is not None:
            self._counts = metering.merge(self._counts, counts)
        if choice is None:
            return out
        self._finish = chat_answer.finish_of(choice) or self._finish
        delta = chat_answer.message_of(choice)
        reasoning = chat_answer.reasoning_of(delta)
        if reasoning is not None:
            out += self._reason(reasoning)
        text = chat_answer.content_of(delta)
        if text:
            out += self._say(text, chat_answer.logprobs_of(choice))
        return out + self._add_rest(delta)

    def say(self, text: str) -> bytes | None:
        """Take in text alone, of one or several chunks; return its events, None if a first chunk has to come before."""
        return self._say(text, []) if self._head else None

    def end(self) -> bytes:
        """Return the events that close the answer, with its usage."""
        out = b"" if self._head else self._begin({})
        if not self._items:
            out += self._say("", [])
        status = item_status(self._finish)
        out += self._close_all(status)
        return out + self._whole(f"response.{status}", ending(self._finish, self._output(), self._counts))

    def fail(self, message: str) -> bytes:
        """Return the events of an answer that broke off."""
        out = b"" if self._head else self._begin({})
        error = {"code": "server_error", "message": message}
        out += self._events.write("error", {**error, "param": None})
        last = {"status": "failed", "error": error, "incomplete_details": None, "output": self._output(), "usage": None}
        return out + self._whole("response.failed", last)

    def _begin(self, chunk: JsonObject) -> bytes:
        self._head = dumps(skeleton(self._request, chunk, self._answer_id, self._now_s))[:-1]
        kinds = ("response.created", "response.in_progress")
        return b"".join(self._events.write_data(kind, b'"response":%b%b' % (self._head, _UNDER_WAY)) for kind in kinds)

    def _whole(self, kind: str, last: JsonObject) -> bytes:
        """Return an event with the whole answer."""
        return self._events.write_data(kind, b'"response":%b,%b' % (self._head, dumps(last)[1:]))

    def _reason(self, reasoning: Reasoning) -> bytes:
        if isinstance(self._open, ReasoningItem):
            return self._open.add(reasoning.text)
        closed = self._close_open()
        item = ReasoningItem(self._events, len(self._items), self._new_id("rs"), reasoning.field)
        self._items.append(item)
        self._open = item
        return closed + item.begin() + item.add(reasoning.text)

    def _say(self, text: str, logprobs: list[JsonObject]) -> bytes:
        if isinstance(self._open, MessageItem):  # almost every time
            return self._open.add(text, logprobs)
        opened, message = self._message()
        return opened + message.add(text, logprobs)

    def _message(self) -> tuple[bytes, MessageItem]:
        """Return the open message, and the events that open it if it was not."""
        if isinstance(self._open, MessageItem):
            return b"", self._open
        closed = self._close_open()
        item = MessageItem(self._events, len(self._items), self._new_id("msg"))
        self._items.append(item)
        self._open = item
        return closed + item.begin(), item

    def _add_rest(self, delta: JsonObject) -> bytes:
        """Return the events of what few chunks have: a refusal, citations, tool calls."""
        out = b""
        refusal = chat_answer.refusal_of(delta)
        if refusal:
            opened, message = self._message()
            out += opened + message.refuse(refusal)
        for annotation in chat_answer.annotations_of(delta):
            shown = annotation_of(annotation)
            if shown is not None:
                opened, message = self._message()
                out += opened + message.annotate(shown)
        calls = chat_answer.calls_of(delta)
        return out + b"".join(map(self._call, calls)) if calls else out

    def _call(self, delta: JsonObject) -> bytes:
        call, arguments = self._calls.add(delta)
        item = self._call_items.get(call.position)
        if item is not None:
            return item.add(arguments)
        if not call.name:
            return b""
        closed = self._close_open()
        if self._tools is None:
            self._tools = client_tools(self._request)
        item = CallItem(self._events, len(self._items), self._answer_id, call, self._tools)
        self._items.append(item)
        self._call_items[call.position] = item
        return closed + item.begin()

    def _close_open(self, status: str = "completed") -> bytes:
        item, self._open = self._open, None
        return b"" if item is None else item.close(status)

    def _close_all(self, status: str) -> bytes:
        """Close what is open; the last item has the answer's own status."""
        last = self._items[-1]
        out = self._close_open(status if self._open is last else "completed")
        return out + b"".join(item.close(status if item is last else "completed") for item in self._call_items.values())

    @property
    def answer(self) -> JsonObject:
        """The answer's id and what has been said of it, for those that refer to it later."""
        return {"id": self._answer_id, "output": self._output()}

    def _output(self) -> list[JsonObject]:
        return [item.shown for item in self._items if item.shown is not None]

    def _new_id(self, prefix: str) -> str:
        return f"{prefix}_{suffix_of(self._answer_id)}_{len(self._items)}"
