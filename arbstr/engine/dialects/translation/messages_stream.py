"""A chat stream as the events of a Messages stream.

Blocks are open one at a time and numbered in order, whatever the order in which a provider sends pieces of parallel
tool calls: pieces of later blocks wait until the open one is complete.
"""

from __future__ import annotations

from typing import Literal

from arbstr.engine import metering
from arbstr.engine.dialects.translation import chat_answer
from arbstr.engine.dialects.translation.chat_answer import Calls
from arbstr.engine.dialects.translation.conversation import reasoning_mark
from arbstr.engine.dialects.translation.fields import dumps
from arbstr.engine.dialects.translation.messages_answer import skeleton, stop_of, tool_use, usage_of
from arbstr.engine.dialects.translation.messages_tools import client_names
from arbstr.engine.lenient_json import loads
from arbstr.engine.upstream.sse import encode_event
from arbstr.types import JsonObject

Kind = Literal["text", "thinking", "tool_use"]

_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
_DELTAS: dict[Kind, bytes] = {
    "text": b'"text_delta","text":',
    "thinking": b'"thinking_delta","thinking":',
    "tool_use": b'"input_json_delta","partial_json":',
}


class _Block:
    """A block of the answer; `pieces` are all that came of it, `sent` how many of them have gone out."""

    def __init__(self, kind: Kind, head: JsonObject, signature: str = "") -> None:
        self.kind = kind
        self.head = head
        self.signature = signature
        self.pieces: list[str] = []
        self.sent = 0
        self.closed = False
        self._braces = 0

    def add(self, piece: str) -> None:
        """Add what has come of it."""
        if piece:
            self.pieces.append(piece)
            if self.kind == "tool_use":
                self._braces += piece.count("{") - piece.count("}")

    def is_complete(self) -> bool:
        """Return whether no more can come: for a call, whether its arguments are JSON."""
        if self.kind != "tool_use":
            return True
        if self._braces or not self.pieces:  # reading all of it with every piece would take long
            return False
        try:
            loads("".join(self.pieces).encode("utf-8", "surrogatepass"))
        except ValueError:
            return False
        return True


class StreamTranslator:
    """Takes chunks by `feed` and returns events; `end` or `fail` returns the last ones."""

    def __init__(self, request: JsonObject, *, answer_id: str, now_s: float) -> None:
        self._request = request
        self._answer_id = answer_id
        self._begun = False
        self._blocks: list[_Block] = []
        self._open = 0  # the block that may be written to: those before it are closed
        self._started = False  # whether its beginning has gone out
        self._calls = Calls(answer_id)
        self._call_blocks: dict[int, _Block] = {}
        self._names: dict[str, str] | None = None  # known from the first call on
        self._last_choice: JsonObject = {}
        self._refusals: list[str] = []
        self._counts: metering.Counts | None = None

    def feed(self, chunk: JsonObject) -> bytes:
        """Take in a chunk; return the events for the client, possibly none."""
        if self._started and (words := chat_answer.only_text_of(chunk)):
            return self._add(self._block_of("text"), words)
        out = b"" if self._begun else self._begin(chunk)
        choice = chat_answer.choice_of(chunk)
        counts = chat_answer.counts_of(chunk, choice)
        if counts is not None:
            self._counts = metering.merge(self._counts, counts)
        if choice is None:
            return out
        if chat_answer.finish_of(choice) is not None:
            self._last_choice = choice
        delta = chat_answer.message_of(choice)
        reasoning = chat_answer.reasoning_of(delta)
        if reasoning is not None:
            block = self._block_of("thinking", reasoning_mark(reasoning.field))
            out += self._add(block, reasoning.text)
        text = chat_answer.content_of(delta)
        if text:
            out += self._add(self._block_of("text"), text)
        return out + self._add_rest(delta)

    def say(self, text: str) -> bytes | None:
        """Take in text alone, of one or several chunks; return its events, None if a first chunk has to come before."""
        return self._add(self._block_of("text"), text) if self._begun else None

    def end(self) -> bytes:
        """Return the events that close the answer, with its stop reason and usage."""
        out = b"" if self._begun else self._begin({})
        while self._open < len(self._blocks):
            out += self._flush() + self._close()
        stop = stop_of(
            self._last_choice, self._request, has_calls=bool(self._call_blocks), refusal="".join(self._refusals)
        )
        last = {"type": "message_delta", "delta": stop, "usage": usage_of(self._counts)}
        return out + _event(b"message_delta", dumps(last)) + _STOP

    def fail(self, message: str) -> bytes:
        """Return the event of an answer that broke off."""
        error = {"type": "error", "error": {"type": "api_error", "message": message}}
        return _event(b"error", dumps(error))

    def _begin(self, chunk: JsonObject) -> bytes:
        self._begun = True
        empty: JsonObject = {"content": [], "stop_reason": None, "stop_sequence": None, "usage": usage_of(None)}
        message = {**skeleton(self._request, chunk, self._answer_id), **empty}
        return _event(b"message_start", dumps({"type": "message_start", "message": message}))

    def _block_of(self, kind: Kind, signature: str = "") -> _Block:
        """Return the last block if it is of this kind, else a new one."""
        if self._blocks and self._blocks[-1].kind == kind:
            return self._blocks[-1]
        words = (
            {"type": "thinking", "thinking": "", "signature": ""}
            if kind == "thinking"
            else {"type": "text", "text": ""}
        )
        block = _Block(kind, words, signature)
        self._blocks.append(block)
        return block

    def _add_rest(self, delta: JsonObject) -> bytes:
        """Return the events of what few chunks have: a refusal, tool calls."""
        out = b""
        refusal = chat_answer.refusal_of(delta)
        if refusal:
            self._refusals.append(refusal)
            out += self._add(self._block_of("text"), refusal)
        calls = chat_answer.calls_of(delta)
        return out + b"".join(map(self._call, calls)) if calls else out

    def _call(self, delta: JsonObject) -> bytes:
        call, arguments = self._calls.add(delta)
        block = self._call_blocks.get(call.position)
        if block is None and call.name:
            if self._names is None:
                self._names = client_names(self._request)
            block = _Block("tool_use", tool_use(call, self._names, {}))
            arguments = call.arguments
            self._blocks.append(block)
            self._call_blocks[call.position] = block
        return b"" if block is None else self._add(block, arguments)

    def _add(self, block: _Block, piece: str) -> bytes:
        """Add to a block; return the events that can go out now."""
        if block.closed:  # what follows complete arguments is white space
            return b""
        block.add(piece)
        out = b""
        while self._blocks[self._open] is not block and self._blocks[self._open].is_complete():
            out += self._flush() + self._close()
        return out + self._flush()

    def _flush(self) -> bytes:
        """Return the events of what has come of the open block and not gone out."""
        block = self._blocks[self._open]
        out = b""
        if not self._started:
            self._started = True
            start = {"type": "content_block_start", "index": self._open, "content_block": block.head}
            out = _event(b"content_block_start", dumps(start))
        new = "".join(block.pieces[block.sent :])
        block.sent = len(block.pieces)
        return out + self._delta(_DELTAS[block.kind], new) if new else out

    def _close(self) -> bytes:
        """Return the events of the open block's end, and turn to the next."""
        block = self._blocks[self._open]
        signed = self._delta(b'"signature_delta","signature":', block.signature) if block.signature else b""
        stop = _event(b"content_block_stop", b'{"type":"content_block_stop","index":%d}' % self._open)
        block.closed = True
        self._open += 1
        self._started = False
        return signed + stop

    def _delta(self, kind: bytes, text: str) -> bytes:
        return (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":%b%b}}\n\n'
            % (self._open, kind, dumps(text))
        )


def _event(name: bytes, data: bytes) -> bytes:
    return encode_event(data, name=name)
