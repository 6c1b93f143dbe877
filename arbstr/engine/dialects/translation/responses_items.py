"""The items of a streamed Responses answer: each yields the events of its beginning, its growth and its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from arbstr.engine.dialects.translation.chat_answer import Call, Reasoning
from arbstr.engine.dialects.translation.fields import dumps
from arbstr.engine.dialects.translation.responses_answer import call_item, message_item, reasoning_item, text_part
from arbstr.engine.dialects.translation.responses_tools import ClientTool
from arbstr.types import JsonObject

Part = Literal["output_text", "refusal"]


class Events:
    """Writes events, numbered in order."""

    def __init__(self) -> None:
        self._number = 0

    def write(self, kind: str, fields: JsonObject) -> bytes:
        """Return an event."""
        return self.write_data(kind, dumps(fields)[1:-1])

    def write_data(self, kind: str, fields: bytes) -> bytes:
        """Return an event of fields that are JSON already, without the braces."""
        name, number = kind.encode(), self._number
        self._number += 1
        return b'event: %b\ndata: {"type":"%b","sequence_number":%d,%b}\n\n' % (name, name, number, fields)


class _Item:
    """An item of the output, open until `close`; `shown` is what it is at its end."""

    def __init__(self, events: Events, output_index: int, item_id: str) -> None:
        self.events = events
        self.id = item_id
        self.output_index = output_index
        self.shown: JsonObject | None = None
        self._place = dumps({"item_id": item_id, "output_index": output_index})[1:-1]

    def event(self, kind: str, **fields: object) -> bytes:
        """Return an event of this item."""
        return self.events.write_data(kind, b"%b,%b" % (self._place, dumps(fields)[1:-1]))

    def delta(self, kind: str, place: bytes, delta: str) -> bytes:
        """Return an event with more of a text; `place` says where in the item."""
        return self.events.write_data(kind, b'%b,%b,"delta":%b' % (self._place, place, dumps(delta)))

    def added(self, item: JsonObject) -> bytes:
        """Return the event of the item's beginning."""
        return self.events.write("response.output_item.added", {"output_index": self.output_index, "item": item})

    def done(self, item: JsonObject) -> bytes:
        """Return the event of the item's end."""
        self.shown = item
        return self.events.write("response.output_item.done", {"output_index": self.output_index, "item": item})


class ReasoningItem(_Item):
    """The model's reasoning, as a summary of one part."""

    _PLACE = b'"summary_index":0'

    def __init__(self, events: Events, output_index: int, item_id: str, field: str) -> None:
        super().__init__(events, output_index, item_id)
        self._field = field
        self._texts: list[str] = []

    def begin(self) -> bytes:
        """Return the events of its beginning."""
        empty = {"id": self.id, "type": "reasoning", "summary": [], "status": "in_progress"}
        part = {"type": "summary_text", "text": ""}
        return self.added(empty) + self.event("response.reasoning_summary_part.added", summary_index=0, part=part)

    def add(self, text: str) -> bytes:
        """Return the event of more text."""
        self._texts.append(text)
        return self.delta("response.reasoning_summary_text.delta", self._PLACE, text)

    def close(self, status: str) -> bytes:
        """Return the events of its end."""
        item = reasoning_item(self.id, Reasoning("".join(self._texts), self._field), status)
        part = item["summary"][0]
        return (
            self.event("response.reasoning_summary_text.done", summary_index=0, text=part["text"])
            + self.event("response.reasoning_summary_part.done", summary_index=0, part=part)
            + self.done(item)
        )


class MessageItem(_Item):
    """A message, of texts and refusals."""

    def __init__(self, events: Events, output_index: int, item_id: str) -> None:
        super().__init__(events, output_index, item_id)
        self._parts: list[JsonObject] = []
        self._open: Part | None = None
        self._texts: list[str] = []
        self._annotations: list[JsonObject] = []
        self._logprobs: list[JsonObject] = []
        self._where = b""

    def begin(self) -> bytes:
        """Return the event of its beginning."""
        return self.added(message_item(self.id, [], "in_progress"))

    def add(self, text: str, logprobs: Sequence[JsonObject] = ()) -> bytes:
        """Return the events of more text."""
        opened = b"" if self._open == "output_text" else self._turn_to("output_text")
        self._texts.append(text)
        if logprobs:
            self._logprobs += logprobs
            where = b'%b,"logprobs":%b' % (self._where, dumps(logprobs))
        else:
            where = self._where + b',"logprobs":[]'
        return opened + self.delta("response.output_text.delta", where, text)

    def refuse(self, text: str) -> bytes:
        """Return the events of more of a refusal."""
        opened = self._turn_to("refusal")
        self._texts.append(text)
        return opened + self.delta("response.refusal.delta", self._where, text)

    def annotate(self, annotation: JsonObject) -> bytes:
        """Return the events of a citation."""
        opened = self._turn_to("output_text")
        self._annotations.append(annotation)
        where = {"content_index": len(self._parts), "annotation_index": len(self._annotations) - 1}
        return opened + self.event("response.output_text.annotation.added", **where, annotation=annotation)

    def close(self, status: str) -> bytes:
        """Return the events of its end."""
        closed = self._close_part()
        return closed + self.done(message_item(self.id, self._parts, status))

    def _turn_to(self, kind: Part) -> bytes:
        """Return the events that open a part of a kind, none while it is open."""
        if self._open == kind:
            return b""
        closed = self._close_part()
        self._open = kind
        self._where = b'"content_index":%d' % len(self._parts)
        part = text_part("", [], []) if kind == "output_text" else {"type": "refusal", "refusal": ""}
        return closed + self.event("response.content_part.added", content_index=len(self._parts), part=part)

    def _close_part(self) -> bytes:
        if self._open is None:
            return b""
        index, text = len(self._parts), "".join(self._texts)
        if self._open == "output_text":
            part = text_part(text, self._annotations, self._logprobs)
            said = self.event("response.output_text.done", content_index=index, text=text, logprobs=self._logprobs)
        else:
            part = {"type": "refusal", "refusal": text}
            said = self.event("response.refusal.done", content_index=index, refusal=text)
        self._parts.append(part)
        self._open, self._texts, self._annotations, self._logprobs = None, [], [], []
        return said + self.event("response.content_part.done", content_index=index, part=part)


class CallItem(_Item):
    """A call of one of the client's tools."""

    def __init__(
        self, events: Events, output_index: int, answer_id: str, call: Call, tools: dict[str, ClientTool]
    ) -> None:
        tool = tools.get(call.name)
        self._kind = "function" if tool is None else tool.kind
        self._call = call
        self._answer_id = answer_id
        self._tools = tools
        super().__init__(events, output_index, self._item("in_progress")["id"])

    def begin(self) -> bytes:
        """Return the events of its beginning, and of the arguments that came before the name."""
        item = self._item("in_progress")
        item |= {name: "" for name in ("arguments", "input") if isinstance(item.get(name), str)}
        return self.added(item) + self.add(self._call.arguments)

    def add(self, arguments: str) -> bytes:
        """Return the event of more arguments. Free-form input is known at the end only."""
        if not arguments or self._kind != "function":
            return b""
        return self.events.write_data(
            "response.function_call_arguments.delta", b'%b,"delta":%b' % (self._place, dumps(arguments))
        )

    def close(self, status: str) -> bytes:
        """Return the events of its end."""
        item = self._item(status)
        if self._kind == "custom":
            text = item["input"]
            said = self.event("response.custom_tool_call_input.delta", delta=text)
            return said + self.event("response.custom_tool_call_input.done", input=text) + self.done(item)
        if self._kind == "function":
            missing = b"" if self._call.arguments else self.add(item["arguments"])
            fields = {"arguments": item["arguments"], "name": item["name"]}
            return missing + self.event("response.function_call_arguments.done", **fields) + self.done(item)
        return self.done(item)

    def _item(self, status: str) -> JsonObject:
        return call_item(self._answer_id, self._call, self._tools, status)
