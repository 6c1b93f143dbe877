"""What earlier Responses said, for clients that refer to them by id instead of sending the conversation again."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

from arbstr.engine.dialects.translation.fields import dumps, objects, unsupported
from arbstr.engine.lenient_json import loads
from arbstr.types import JsonObject

MOST_BYTES = 32 * 1024 * 1024

_REFERENCE = "item_reference"

_ADVICE = "arbstr keeps the latest answers in memory, not this one: send the whole conversation in 'input'"


class _Conversation(NamedTuple):
    client: str | None
    items: bytes  # a JSON list
    answer: tuple[str, ...]  # ids of the items in the answer


class ResponseHistory:
    """The conversations that answers ended, by the answer's id: to each client its own alone.

    `client` is a client's name, None for those without one. Bounded: beyond `most_bytes` those that have not been used
    for longest are dropped.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._conversations: OrderedDict[str, _Conversation] = OrderedDict()
        self._answers: dict[str, str] = {}  # the id of an item to that of the answer it is in

    def resolved(self, document: JsonObject, client: str | None = None) -> JsonObject:
        """Return a request with all that it refers to by id in its `input`.

        Raises `UnsupportedParameter` for an id that is not known, or not any more.
        """
        earlier, given = document.get("previous_response_id"), document.get("input")
        if earlier is None and not _references(given):
            return document
        items = [] if earlier is None else self._items_of(earlier, client, "previous_response_id")
        items += [self._item(item, client, f"input[{index}]") for index, item in enumerate(_as_items(given))]
        return {**document, "input": items, "previous_response_id": None}

    def knows(self, document: JsonObject, client: str | None = None) -> bool:
        """Return whether a client's request refers to an answer that is known here."""
        if not self._conversations:
            return False
        named = [item.get("id") for item in _references(document.get("input"))]
        answers = [self._answers.get(item_id) for item_id in named if isinstance(item_id, str)]
        answers.append(document.get("previous_response_id"))
        return any(self._conversation(answer, client) is not None for answer in answers)

    def remember(self, document: JsonObject, answer: JsonObject, client: str | None = None) -> None:
        """Keep a resolved request's conversation under the id of its answer.

        Not kept are those whose client does not want it (`store`), and those that alone are beyond the bound.
        """
        if document.get("store") is False:
            return
        answer_id, output = answer["id"], answer["output"]
        items = dumps([*_as_items(document.get("input")), *output])
        if len(items) > self._most_bytes:
            return
        self._conversations[answer_id] = _Conversation(client, items, tuple(item["id"] for item in output))
        for item in output:
            self._answers[item["id"]] = answer_id
        self._bytes += len(items)
        while self._bytes > self._most_bytes:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, dropped = self._conversations.popitem(last=False)
        self._bytes -= len(dropped.items)
        for item_id in dropped.answer:
            self._answers.pop(item_id, None)

    def _conversation(self, answer_id: Any, client: str | None) -> _Conversation | None:
        found = self._conversations.get(answer_id) if isinstance(answer_id, str) else None
        return found if found is not None and found.client == client else None

    def _items_of(self, answer_id: Any, client: str | None, path: str) -> list[JsonObject]:
        conversation = self._conversation(answer_id, client)
        if conversation is None:
            raise unsupported(path, answer_id, advice=_ADVICE)
        self._conversations.move_to_end(answer_id)
        items: list[JsonObject] = loads(conversation.items)
        return items

    def _item(self, item: JsonObject, client: str | None, path: str) -> JsonObject:
        """Return the item that another one refers to, the item itself if it is no reference."""
        if item.get("type") != _REFERENCE:
            return item
        item_id = item.get("id")
        answer_id = self._answers.get(item_id) if isinstance(item_id, str) else None
        found = [] if answer_id is None else self._items_of(answer_id, client, f"{path}.id")
        named = next((one for one in reversed(found) if one.get("id") == item_id), None)
        if named is None:
            raise unsupported(f"{path}.id", item_id, advice=_ADVICE)
        return named


def _as_items(given: Any) -> list[JsonObject]:
    """Return an `input` as a list of items."""
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}]
    return objects(given, "input")


def _references(given: Any) -> list[JsonObject]:
    if not isinstance(given, list):
        return []
    return [item for item in given if isinstance(item, dict) and item.get("type") == _REFERENCE]
