"""Puts the messages of a chat request together, in the order in which chat completions want them.

The answers to an assistant message's tool calls follow it at once, whatever stood between in the client's document.
"""

from __future__ import annotations

from typing import Any

from arbstr.types import JsonObject

# Where providers put the model's reasoning. What came from one goes back in it, marked by its name.
REASONING_FIELDS = ("reasoning_content", "reasoning")
_MARK = "arbstr:"


def reasoning_mark(field: str) -> str:
    """Return the mark that a client sends back with reasoning, so that it goes back in the field it came in."""
    return _MARK + field


def marked_field(mark: Any) -> str | None:
    """Return the field that reasoning came in, None if no provider of chat completions sent it."""
    field = mark.removeprefix(_MARK) if isinstance(mark, str) else None
    return field if field in REASONING_FIELDS and mark != field else None


class Conversation:
    """Collects messages in the order of the client's document; `messages` returns them in chat's order."""

    def __init__(self) -> None:
        self._messages: list[JsonObject] = []
        self._instructions: list[str] = []  # of the first message, put together at the end: there may be many
        self._assistant: JsonObject | None = None  # the last message, while more of the same turn may come
        self._at = 0  # its place
        self._asked: dict[str, int] = {}  # ids of calls without a result yet, and which message they are in
        self._results: dict[int, list[JsonObject]] = {}  # by the message with the calls
        self._shown: dict[int, list[JsonObject]] = {}
        self._reasoning: tuple[str, list[str]] | None = None  # a field and texts, for the next assistant message
        self._reasoned: list[JsonObject] = []

    def instruct(self, words: str) -> None:
        """Add words of the system's. Many servers take them in the first message alone: later ones go as a user's."""
        self._assistant = self._reasoning = None
        if not self._messages:
            self._messages.append({"role": "system", "content": words})
            self._instructions.append(words)
        elif self._instructions and len(self._messages) == 1:
            self._instructions.append(words)
        else:
            self._messages.append({"role": "user", "content": f"<system>\n{words}\n</system>"})

    def say(self, content: str | list[JsonObject]) -> None:
        """Add a user's message."""
        self._assistant = self._reasoning = None
        self._end_turn()
        self._messages.append({"role": "user", "content": content})

    def answer(self, content: str | list[JsonObject], refusal: str | None = None) -> None:
        """Add words of the assistant's."""
        message = self._assistant
        if message is None or message["content"] is not None:
            message = self._new_assistant()
        message["content"] = content
        if refusal is not None:
            message["refusal"] = refusal

    def reason(self, field: str, reasoning: str) -> None:
        """Add reasoning of the assistant's; it is sent in the turn it belongs to, not in later ones."""
        before = [] if self._reasoning is None else self._reasoning[1]
        before.append(reasoning)
        self._reasoning = (field, before)
        self._assistant = None

    def call(self, call_id: str, name: str, arguments: str) -> None:
        """Add a tool call of the assistant's."""
        message = self._assistant or self._new_assistant()
        call: JsonObject = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
        message.setdefault("tool_calls", []).append(call)
        self._asked[call_id] = self._at

    def result(self, call_id: str, content: str, shown: list[JsonObject]) -> None:
        """Add a tool's result; `shown` are its images and files, which only a user's message may have."""
        self._assistant = None
        result = {"role": "tool", "tool_call_id": call_id, "content": content}
        about = {"type": "text", "text": f"From the result of tool call {call_id}:"}
        more = [{"role": "user", "content": [about, *shown]}] if shown else []
        asking = self._asked.pop(call_id, None)
        if asking is None:
            self._messages += [result, *more]
        else:
            self._results.setdefault(asking, []).append(result)
            self._shown.setdefault(asking, []).extend(more)

    def messages(self) -> list[JsonObject]:
        """Return all messages."""
        if self._instructions:
            self._messages[0]["content"] = "\n\n".join(self._instructions)
        if not self._results:
            return self._messages
        ordered: list[JsonObject] = []
        for index, message in enumerate(self._messages):
            ordered.append(message)
            if index in self._results:
                ordered += self._results[index]
                ordered += self._shown[index]
        return ordered

    def _new_assistant(self) -> JsonObject:
        message: JsonObject = {"role": "assistant", "content": None}
        if self._reasoning is not None:
            field, texts = self._reasoning
            message[field] = "\n\n".join(texts)
            self._reasoned.append(message)
            self._reasoning = None
        self._at = len(self._messages)
        self._messages.append(message)
        self._assistant = message
        return message

    def _end_turn(self) -> None:
        """Drop the reasoning of earlier turns: providers refuse or ignore it there."""
        for message in self._reasoned:
            for field in REASONING_FIELDS:
                message.pop(field, None)
        self._reasoned.clear()
