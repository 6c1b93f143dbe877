"""What fake providers say: calls of tools, JSON that fits a schema, the result of a tool, or filler text."""

from __future__ import annotations

from random import Random

import orjson

from arbstr.mock import filler_text
from arbstr.mock.completion import Choice, ToolCall
from arbstr.mock.json_schema import example
from arbstr.mock.parsed_request import ParsedRequest, WantedCall
from arbstr.mock.token_lengths import draw_lengths

_LONGEST_ANSWER = 2048  # tokens; more would take too long
_LONGEST_UNASKED = 240  # tokens, where the request names no limit, or one that is a safeguard
_REASONING = 20  # tokens, where a request asks for some
_SAFEGUARD = 1000  # tokens; a lower limit is used up: a client that sets one means that length
_LONGEST_QUOTE = 400  # characters of a tool's result
_WORD = "example"  # what a string says where its schema leaves it open


class AnswerWriter:
    """Write choices; chance comes from `random`."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def new_id(self) -> str:
        """Return an id, without the prefix that it has in each dialect."""
        return f"mock{self._random.getrandbits(48):012x}"

    def choice(self, request: ParsedRequest, *, echo: bool) -> Choice:
        """Return one choice: the question itself, tool calls, JSON, the result of a tool, or text."""
        limit = min(request.max_tokens or _LONGEST_ANSWER, _LONGEST_ANSWER)
        if echo:
            return Choice(*_cut(request.question, limit, "stop"))
        reasoning = self._reason(request)
        if request.calls:
            return self._calling(request, limit, reasoning)
        if request.schema is not None:
            return Choice(*_cut(_json_text(request.schema), limit, "stop"), reasoning=reasoning)
        if request.result is not None:
            return Choice(
                *_cut(f"The tool said: {request.result[:_LONGEST_QUOTE]}", limit, "stop"), reasoning=reasoning
            )
        return Choice(*self._generate(request, limit), reasoning=reasoning)

    def _reason(self, request: ParsedRequest) -> list[str]:
        if not request.reasons:
            return []
        return filler_text.answer(request.question, self._random, _REASONING, whole=False)

    def _calling(self, request: ParsedRequest, limit: int, reasoning: list[str]) -> Choice:
        calls, reasons = [], set()
        for wanted in request.calls:
            tokens, reason = _cut(_arguments(wanted), limit, "tool_calls")
            calls.append(ToolCall(self.new_id(), wanted.tool, tokens))
            reasons.add(reason)
        return Choice([], "length" if "length" in reasons else "tool_calls", tuple(calls), reasoning)

    def _generate(self, request: ParsedRequest, limit: int) -> tuple[list[str], str]:
        """Return a text's tokens and its finish reason."""
        if request.max_tokens is not None and request.max_tokens <= _SAFEGUARD:
            return filler_text.answer(request.question, self._random, limit, whole=False), "length"
        _, natural = draw_lengths(self._random, code=False)
        return filler_text.answer(request.question, self._random, min(natural, _LONGEST_UNASKED), whole=True), "stop"


def _cut(text: str, limit: int, finish_reason: str) -> tuple[list[str], str]:
    tokens = filler_text.tokens_of(text)
    return tokens[:limit], "length" if len(tokens) > limit else finish_reason


def _arguments(wanted: WantedCall) -> str:
    """Return the arguments of a call: those given, or some that fit; a custom tool takes text."""
    if wanted.arguments is not None:
        return orjson.dumps(wanted.arguments).decode()
    return _WORD if wanted.tool.custom else _json_text(wanted.tool.parameters)


def _json_text(schema: object) -> str:
    return orjson.dumps(example(schema, _WORD)).decode()
