"""What earlier Responses said, for clients that refer to them by id instead of sending the conversation again."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple

from arbstr.engine.dialects.translation.fields import dumps, objects, unsupported, wrong
from arbstr.engine.lenient_json import loads
from arbstr.engine.prompt import count_prompt
from arbstr.types import JsonObject

MOST_BYTES = 32 * 1024 * 1024

_REFERENCE = "item_reference"

_ADVICE = "arbstr keeps the latest answers in memory, not this one: send the whole conversation in 'input'"


class Recalled(NamedTuple):
    """What a request refers to by id: its JSON, and the characters and images that count as prompt."""

    text: bytes
    chars: int
    images: int

    @classmethod
    def of(cls, items: list[JsonObject]) -> Recalled:
        """Return what has these items."""
        return cls(dumps(items), *count_prompt({"input": items}, "input"))


class _Conversation(NamedTuple):
    client: str | None
    whole: Recalled
    answer: dict[str, Recalled]  # its items, by id

    @property
    def size(self) -> int:
        """Its bytes."""
        return len(self.whole.text) + sum(len(item.text) for item in self.answer.values())


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
        named = self._named(given, client)
        items += [named[item["id"]] if item.get("type") == _REFERENCE else item for item in _as_items(given)]
        return {**document, "input": items, "previous_response_id": None}

    def recalled(self, document: JsonObject, client: str | None = None) -> Recalled | None:
        """Return all that a request refers to by id and is known here, each once; None if there is nothing."""
        if not self._conversations:
            return None
        earlier = self._conversation(document.get("previous_response_id"), client)
        found = [] if earlier is None else [earlier.whole]
        ids = (item.get("id") for item in _references(document.get("input")))
        each = dict.fromkeys(one for one in ids if isinstance(one, str))
        found += [there.answer[one] for one in each if (there := self._with_item(one, client))]
        if len(found) < 2:
            return found[0] if found else None
        texts, chars, images = zip(*found, strict=True)
        return Recalled(b"[%b]" % b",".join(texts), sum(chars), sum(images))

    def knows(self, document: JsonObject, client: str | None = None) -> bool:
        """Return whether a client's request refers to an answer that is known here."""
        if not self._conversations:
            return False
        if self._conversation(document.get("previous_response_id"), client) is not None:
            return True
        return any(self._with_item(item.get("id"), client) for item in _references(document.get("input")))

    def remember(self, document: JsonObject, answer: JsonObject, client: str | None = None) -> None:
        """Keep a resolved request's conversation under the id of its answer.

        Not kept are those whose client does not want it (`store`), and those that alone are beyond the bound.
        """
        if document.get("store") is False:
            return
        answer_id, output = answer["id"], answer["output"]
        whole = Recalled.of([*_as_items(document.get("input")), *output])
        if len(whole.text) > self._most_bytes:
            return
        kept = _Conversation(client, whole, {item["id"]: Recalled.of([item]) for item in output})
        self._conversations[answer_id] = kept
        for item in output:
            self._answers[item["id"]] = answer_id
        self._bytes += kept.size
        while self._bytes > self._most_bytes:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, dropped = self._conversations.popitem(last=False)
        self._bytes -= dropped.size
        for item_id in dropped.answer:
            self._answers.pop(item_id, None)

    def _conversation(self, answer_id: Any, client: str | None) -> _Conversation | None:
        found = self._conversations.get(answer_id) if isinstance(answer_id, str) else None
        return found if found is not None and found.client == client else None

    def _with_item(self, item_id: Any, client: str | None) -> _Conversation | None:
        """Return a client's conversation whose answer has this item."""
        return self._conversation(self._answers.get(item_id), client) if isinstance(item_id, str) else None

    def _items_of(self, answer_id: Any, client: str | None, path: str) -> list[JsonObject]:
        conversation = self._conversation(answer_id, client)
        if conversation is None:
            raise unsupported(path, answer_id, advice=_ADVICE)
        self._conversations.move_to_end(answer_id)
        items: list[JsonObject] = loads(conversation.whole.text)
        return items

    def _named(self, given: Any, client: str | None) -> JsonObject:
        """Return the items that an `input` refers to, by id. Each conversation is read once, however many are in it.

        An item may be referred to once: otherwise a small request could become one of any size.
        """
        named: JsonObject = {}
        read: set[str] = set()
        known: JsonObject = {}
        for index, item in enumerate(given if isinstance(given, list) else ()):
            if not isinstance(item, dict) or item.get("type") != _REFERENCE:
                continue
            item_id, path = item.get("id"), f"input[{index}].id"
            if self._with_item(item_id, client) is None:
                raise unsupported(path, item_id, advice=_ADVICE)
            if item_id in named:
                raise wrong(path, "that of an item which is not in the input yet")
            answer_id = self._answers[str(item_id)]
            if answer_id not in read:
                read.add(answer_id)
                items = self._items_of(answer_id, client, path)
                known |= {name: one for one in items if isinstance(name := one.get("id"), str)}
            named[str(item_id)] = known[str(item_id)]
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
