"""What a chat answer says, whole or in chunks, in the spellings that providers use. Never trusts a type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from arbstr.engine import metering
from arbstr.engine.dialects.translation.conversation import REASONING_FIELDS
from arbstr.engine.dialects.translation.fields import dumps_text
from arbstr.types import JsonObject

_NOTHING: JsonObject = {}
_TEXTS = ("text", "output_text", None)  # the types of parts that hold text


class Tokens(NamedTuple):
    """The tokens of an answer. `input` includes those read from and written to a cache, `output` the reasoning."""

    input: int = 0
    output: int = 0
    cached: int = 0
    written: int = 0
    reasoning: int = 0


class Reasoning(NamedTuple):
    """The model's reasoning, and the field it came in."""

    text: str
    field: str


def choice_of(document: JsonObject) -> JsonObject | None:
    """Return the first choice of an answer or chunk; None if it has none. Other choices were not asked for."""
    choices = document.get("choices")
    if not isinstance(choices, list):
        return None
    for choice in choices:
        if isinstance(choice, dict) and choice.get("index") in (0, None):
            return choice
    return None


def only_text_of(chunk: JsonObject) -> str | None:
    """Return the text of a chunk that brings nothing else, as nearly all do; None for any other chunk."""
    choices = chunk.get("choices")
    if type(choices) is not list or len(choices) != 1 or type(choices[0]) is not dict or chunk.get("usage") is not None:
        return None
    get = choices[0].get
    delta = get("delta")
    if type(delta) is not dict or len(delta) != 1 or get("index") != 0 or get("finish_reason") or get("logprobs"):
        return None
    text = delta.get("content")
    return text if type(text) is str and "x_groq" not in chunk and "usage" not in choices[0] else None


def message_of(choice: JsonObject) -> JsonObject:
    """Return the message of a choice, or its delta in a stream."""
    for name in ("delta", "message"):
        message = choice.get(name)
        if isinstance(message, dict):
            return message
    return _NOTHING


def content_of(message: JsonObject) -> str:
    """Return the text of a message or delta; some providers send a list of parts."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "".join(_part_texts(content)) if isinstance(content, list) else ""


def reasoning_of(message: JsonObject) -> Reasoning | None:
    """Return the reasoning in a message or delta, None if it has none."""
    for field in REASONING_FIELDS:
        value = message.get(field)
        if value and isinstance(value, str):
            return Reasoning(value, field)
    content = message.get("content")
    if not isinstance(content, list):
        return None
    thoughts = [part.get("thinking") for part in content if isinstance(part, dict) and part.get("type") == "thinking"]
    texts = [thought if isinstance(thought, str) else content_of({"content": thought}) for thought in thoughts]
    return Reasoning("".join(texts), REASONING_FIELDS[0]) if any(texts) else None


def refusal_of(message: JsonObject) -> str:
    """Return the refusal in a message or delta, empty if it has none."""
    return text_of(message.get("refusal"))


def text_of(value: Any) -> str:
    """Return a text, empty for anything else."""
    return value if isinstance(value, str) else ""


def finish_of(choice: JsonObject) -> str | None:
    """Return why the model stopped, None while it goes on."""
    return text_of(choice.get("finish_reason")) or None


def stop_sequence_of(choice: JsonObject) -> str | None:
    """Return the stop sequence that was met, which vLLM and SGLang tell."""
    return text_of(choice.get("stop_reason")) or text_of(choice.get("matched_stop")) or None


def calls_of(message: JsonObject) -> list[JsonObject]:
    """Return the tool calls in a message or delta, the single `function_call` of old among them."""
    calls = message.get("tool_calls")
    if isinstance(calls, list) and calls:
        return [call for call in calls if isinstance(call, dict)]
    old = message.get("function_call")
    return [{"index": 0, "function": old}] if isinstance(old, dict) else []


def annotations_of(message: JsonObject) -> list[JsonObject]:
    """Return a message's or delta's annotations."""
    found = message.get("annotations")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def logprobs_of(choice: JsonObject) -> list[JsonObject]:
    """Return the log probabilities of the tokens in a choice."""
    found = choice.get("logprobs")
    tokens = found.get("content") if isinstance(found, dict) else None
    return [token for token in tokens if isinstance(token, dict)] if isinstance(tokens, list) else []


def counts_of(document: JsonObject, choice: JsonObject | None) -> metering.Counts | None:
    """Return the usage that a chunk states, None if it has none, as almost all."""
    if document.get("usage") is None and "x_groq" not in document and (choice is None or "usage" not in choice):
        return None
    return metering.counts_of(document)


def tokens_of(counts: metering.Counts | None) -> Tokens:
    """Return the tokens for a client; zeros where the provider did not say."""
    if counts is None:
        return Tokens()
    usage = counts.usage()
    return Tokens(
        usage.input_tokens or 0,
        usage.output_tokens or 0,
        usage.cached_tokens,
        usage.cache_write_tokens,
        min(counts.reasoning or 0, usage.output_tokens or 0),
    )


class Call:
    """A tool call, complete or while it streams in. `position` is its place among the calls."""

    def __init__(self, position: int, call_id: str) -> None:
        self.position = position
        self.id = call_id
        self.name = ""
        self._pieces: list[str] = []

    def add(self, name: str, arguments: str) -> None:
        """Add what a delta brought; the first name counts, since some providers repeat it."""
        self.name = self.name or name
        if arguments:
            self._pieces.append(arguments)

    @property
    def arguments(self) -> str:
        """The arguments so far."""
        return "".join(self._pieces)


class Calls:
    """Tells which call each delta belongs to: by index, by id, or the last one where a provider gives neither."""

    def __init__(self, answer_id: str) -> None:
        self._answer_id = answer_id
        self._all: list[Call] = []
        self._by_index: dict[int, Call] = {}
        self._by_id: dict[str, Call] = {}

    def __iter__(self) -> Iterator[Call]:
        return iter(self._all)

    def add(self, delta: JsonObject) -> tuple[Call, str]:
        """Take in a delta; return its call and the arguments it brought."""
        call = self._call_of(delta)
        function = _function_of(delta)
        arguments = function.get("arguments", function.get("input"))
        if not isinstance(arguments, str):
            arguments = dumps_text(arguments) if isinstance(arguments, dict | list) else ""
        call.add(text_of(function.get("name")), arguments)
        return call, arguments

    def _call_of(self, delta: JsonObject) -> Call:
        index, call_id = delta.get("index"), text_of(delta.get("id"))
        if not isinstance(index, int):
            found = self._by_id.get(call_id) if call_id else self._all[-1] if self._all else None
            return found or self._new(len(self._all), call_id)
        found = self._by_index.get(index)
        if found is None:
            return self._new(index, call_id)
        if call_id and call_id != found.id:  # some providers give all calls the index 0
            known = self._by_id.get(call_id)
            return known or (self._new(index, call_id) if _function_of(delta).get("name") else found)
        return found

    def _new(self, index: int, call_id: str) -> Call:
        position = len(self._all)
        call = Call(position, call_id or f"call_{suffix_of(self._answer_id)}_{position}")
        self._all.append(call)
        self._by_index[index] = call
        self._by_id[call.id] = call
        return call


def whole_calls(message: JsonObject, answer_id: str) -> list[Call]:
    """Return the tool calls of a whole message, each with an id; those without a name are left out."""
    calls = Calls(answer_id)
    for index, call in enumerate(calls_of(message)):
        calls.add({**call, "index": index})
    return [call for call in calls if call.name]


def suffix_of(answer_id: str) -> str:
    """Return what follows the prefix of an id, to make other ids from."""
    return answer_id.rpartition("_")[2]


def _function_of(call: JsonObject) -> JsonObject:
    for kind in ("function", "custom"):
        function = call.get(kind)
        if isinstance(function, dict):
            return function
    return _NOTHING


def _part_texts(parts: list[Any]) -> list[str]:
    return [text_of(part.get("text")) for part in parts if isinstance(part, dict) and part.get("type") in _TEXTS]
