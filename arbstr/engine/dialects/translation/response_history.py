"""What earlier Responses said, for clients that refer to them by id instead of sending the conversation again."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

from arbstr.engine.dialects.translation.fields import dumps, objects, unsupported
from arbstr.engine.lenient_json import loads
from arbstr.types import JsonObject

MOST_BYTES = 32 * 1024 * 1024

_ADVICE = "arbstr keeps the latest answers in memory, not this one: send the whole conversation in 'input'"


class _Conversation(NamedTuple):
    items: bytes  # a JSON list
    answer: tuple[str, ...]  # ids of the items in the answer


class ResponseHistory:
    """The conversations that answers ended, by the answer's id.

    Bounded: beyond `most_bytes` those that have not been used for longest are dropped.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._conversations: OrderedDict[str, _Conversation] = OrderedDict()
        self._answers: dict[str, str] = {}  # the id of an item to that of the answer it is in

    def items(self, document: JsonObject) -> list[JsonObject]:
        """Return all items of a request's conversation: earlier ones, and its own with references resolved.

        Raises `UnsupportedParameter` for an id that is not known, or not any more.
        """
        earlier = document.get("previous_response_id")
        items = [] if earlier is None else self._items_of(earlier, "previous_response_id")
        given = document.get("input")
        if isinstance(given, str):
            return [*items, {"type": "message", "role": "user", "content": given}]
        return items + [self._resolved(item, f"input[{at}]") for at, item in enumerate(objects(given, "input"))]

    def items_if_known(self, document: JsonObject) -> list[JsonObject] | None:
        """Return the items of a conversation that refers to answers known here; None if it refers to none of them."""
        given = document.get("input")
        named = [document.get("previous_response_id")]
        if isinstance(given, list):
            references = [one for one in given if isinstance(one, dict) and one.get("type") == "item_reference"]
            named += [self._answers.get(one["id"]) for one in references if isinstance(one.get("id"), str)]
        known = any(isinstance(answer_id, str) and answer_id in self._conversations for answer_id in named)
        return self.items(document) if known else None

    def remember(self, items: list[JsonObject], response: JsonObject) -> None:
        """Keep a conversation under the id of the answer that ended it, unless it alone is beyond the bound."""
        output = response["output"]
        conversation = _Conversation(dumps([*items, *output]), tuple(item["id"] for item in output))
        if len(conversation.items) > self._most_bytes:
            return
        self._conversations[response["id"]] = conversation
        for item_id in conversation.answer:
            self._answers[item_id] = response["id"]
        self._bytes += len(conversation.items)
        while self._bytes > self._most_bytes:
            _, dropped = self._conversations.popitem(last=False)
            self._bytes -= len(dropped.items)
            for item_id in dropped.answer:
                self._answers.pop(item_id, None)

    def _items_of(self, answer_id: Any, path: str) -> list[JsonObject]:
        conversation = self._conversations.get(answer_id) if isinstance(answer_id, str) else None
        if conversation is None:
            raise unsupported(path, answer_id, advice=_ADVICE)
        self._conversations.move_to_end(answer_id)
        items: list[JsonObject] = loads(conversation.items)
        return items

    def _resolved(self, item: JsonObject, path: str) -> JsonObject:
        """Return the item that another one refers to, the item itself if it is no reference."""
        if item.get("type") != "item_reference":
            return item
        item_id = item.get("id")
        answer_id = self._answers.get(item_id) if isinstance(item_id, str) else None
        found = [] if answer_id is None else self._items_of(answer_id, f"{path}.id")
        named = next((one for one in reversed(found) if one.get("id") == item_id), None)
        if named is None:
            raise unsupported(f"{path}.id", item_id, advice=_ADVICE)
        return named
