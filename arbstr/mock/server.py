"""A fake provider: a real HTTP server on 127.0.0.1 that answers as a Routstr node does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from random import Random

import orjson
from aiohttp import web

from arbstr.config.schema import MockProvider
from arbstr.mock import filler_text, payloads
from arbstr.mock.behaviors import USUAL, Behavior, BehaviorRequest, behavior_for, chooses_behavior, refusal
from arbstr.mock.json_schema import example
from arbstr.mock.parsed_request import ANY_OBJECT, ParsedRequest, parse_request
from arbstr.mock.payloads import Choice, Completion, Script
from arbstr.mock.token_lengths import draw_lengths
from arbstr.types import JsonObject, Rates

_SLOWER = 10  # times, for `mock-slow`
_OVERCHARGE = 3  # times, for `mock-overcharge`
_TICK_S = 0.03  # between writes of a stream: a fast one sends several events in each
_LONGEST_ANSWER = 2048  # tokens; more would take too long
_LONGEST_UNASKED = 240  # tokens, where the request names no limit
_WORD = "example"  # what a string says where its schema leaves it open
_GOODBYE_S = 0.1  # for unfinished requests at the end; nothing depends on them

_USD_PER_SAT = 0.001


class FakeProviderServer:
    """Serve one fake provider. While `failing` is a status, every request gets it; `asked` counts requests.

    `settings` come from the configuration, exact rates by model from `rates_for`, chance from `random`.
    """

    def __init__(self, settings: MockProvider, rates_for: Callable[[str], Rates], random: Random) -> None:
        self.name = settings.name
        self.failing: int | None = None
        self.asked = 0
        self._settings = settings
        self._rates_for = rates_for
        self._random = random
        self._runner: web.AppRunner | None = None

    async def start(self) -> str:
        """Open a free port; returns the URL to configure."""
        app = web.Application(client_max_size=0)
        app.add_routes([web.get("/v1/models", self._models), web.post("/v1/chat/completions", self._chat)])
        # Without handler_cancellation a request that hangs would outlive its client.
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=_GOODBYE_S)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"

    async def stop(self) -> None:
        """Close the port and cancel unfinished requests."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _models(self, request: web.Request) -> web.Response:
        return _json({"data": [_listing(model, self._rates_for(model)) for model in self._settings.models]})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        parsed = parse_request(await request.read())
        if parsed is None:
            message = "The body is no JSON object with a model and a list of messages"
            return _json({"error": {"message": message, "type": "invalid_request_error", "code": "invalid_json"}}, 400)
        requested = self._behavior(parsed)
        await asyncio.sleep(self._settings.delay_ms / 1000 * self._random.uniform(0.8, 1.2) * _slowness(requested))
        match requested.behavior:
            case Behavior.STATUS:
                return _refused(requested, parsed.model)
            case Behavior.UNKNOWN_MODEL:
                return _json(payloads.unknown_model(parsed.model), 400)
            case Behavior.REFUSE:
                return _hang_up(request)
            case Behavior.HANG:
                await asyncio.Event().wait()
        answer = self._answer(parsed, requested)
        per_second = self._settings.tokens_per_second / _slowness(requested)
        if parsed.stream and requested.behavior is not Behavior.JSON_STREAM:
            return await _stream(request, payloads.stream_script(requested.behavior, answer), per_second)
        return await _in_one_piece(request, requested.behavior, answer, per_second)

    def _behavior(self, parsed: ParsedRequest) -> BehaviorRequest:
        """Return what the model's name asks for, unless the provider is down or fails by chance."""
        requested = behavior_for(parsed.model, self.name)
        if self.failing is not None:
            return refusal(self.failing)
        if requested is USUAL and self._random.random() < self._settings.failure_rate:
            return refusal(503)
        if requested is USUAL and not self._has(parsed.model):
            return BehaviorRequest(Behavior.UNKNOWN_MODEL)
        return requested

    def _has(self, model: str) -> bool:
        return not self._settings.models or model in self._settings.models or chooses_behavior(model)

    def _answer(self, parsed: ParsedRequest, requested: BehaviorRequest) -> Completion:
        choices = [self._choice(parsed, echo=requested.behavior is Behavior.ECHO) for _ in range(parsed.choices)]
        factor = self._settings.charge_factor * (_OVERCHARGE if requested.behavior is Behavior.OVERCHARGE else 1)
        answered = sum(len(choice.tokens) for choice in choices)
        charged = payloads.bill(self._rates_for(parsed.model), parsed.input_tokens, answered, factor)
        return Completion(
            id=f"chatcmpl-mock{self._random.getrandbits(48):012x}",
            model=parsed.model,
            created_s=int(time.time()),
            choices=choices,
            bill=None if requested.behavior is Behavior.NO_USAGE else charged,
        )

    def _choice(self, parsed: ParsedRequest, *, echo: bool) -> Choice:
        """Return one choice: a tool call, JSON, or text."""
        limit = min(parsed.max_tokens or _LONGEST_ANSWER, _LONGEST_ANSWER)
        if parsed.tool is not None and not echo:
            arguments = filler_text.tokens_of(_json_text(parsed.tool.get("parameters") or ANY_OBJECT))
            call_id = f"call_mock{self._random.getrandbits(48):012x}"
            return Choice(*_cut(arguments, limit, "tool_calls"), tool=parsed.tool["name"], call_id=call_id)
        if parsed.schema is not None and not echo:
            return Choice(*_cut(filler_text.tokens_of(_json_text(parsed.schema)), limit, "stop"))
        if echo:
            return Choice(*_cut(filler_text.tokens_of(parsed.question), limit, "stop"))
        return Choice(*self._generate(parsed, limit))

    def _generate(self, parsed: ParsedRequest, limit: int) -> tuple[list[str], str]:
        """Return an answer's tokens and its finish reason."""
        if parsed.max_tokens is not None:
            return filler_text.answer(parsed.question, self._random, limit, whole=False), "length"
        _, natural = draw_lengths(self._random, code=False)
        return filler_text.answer(parsed.question, self._random, min(natural, _LONGEST_UNASKED), whole=True), "stop"


def _cut(tokens: list[str], limit: int, finish_reason: str) -> tuple[list[str], str]:
    return tokens[:limit], "length" if len(tokens) > limit else finish_reason


def _json_text(schema: JsonObject) -> str:
    return orjson.dumps(example(schema, _WORD)).decode()


def _slowness(requested: BehaviorRequest) -> int:
    return _SLOWER if requested.behavior is Behavior.SLOW else 1


def _refused(requested: BehaviorRequest, model: str) -> web.Response:
    response = _json(payloads.refusal(requested.status, model, requested.retry_after_s), requested.status)
    if requested.retry_after_s is not None:
        response.headers["Retry-After"] = str(requested.retry_after_s)
    return response


async def _in_one_piece(
    request: web.Request, behavior: Behavior, answer: Completion, per_second: float
) -> web.StreamResponse:
    """Answer in one piece, when the last token would be due."""
    await asyncio.sleep(answer.token_count / per_second if per_second else 0)
    match behavior:
        case Behavior.BAD_JSON:
            return web.Response(body=b'{"id": "chatcmpl-mock", "choices": [', content_type="application/json")
        case Behavior.EMPTY | Behavior.EMPTY_STREAM:
            return web.Response(body=b"", content_type="application/json")
        case Behavior.ERROR_EVENT | Behavior.LATE_ERROR:
            return _json(payloads.failure(answer.model))
        case Behavior.DROP | Behavior.STALL:
            return await _by_half(request, answer.body(), "abort" if behavior is Behavior.DROP else "hang")
    headers = answer.bill.headers if answer.bill else {}
    return web.Response(body=answer.body(), content_type="application/json", headers=headers)


async def _by_half(request: web.Request, body: bytes, after: payloads.After) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    return await _end(request, response, after)


async def _stream(request: web.Request, script: Script, per_second: float) -> web.StreamResponse:
    """Send a stream at `per_second` events a second (0: at once)."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    await response.prepare(request)
    for batch in _batches(script.paced, per_second):
        await response.write(b"".join(batch))
        await asyncio.sleep(len(batch) / per_second if per_second else 0)
    if script.rest:
        await response.write(script.rest)
    return await _end(request, response, script.after)


def _batches(events: list[bytes], per_second: float) -> Sequence[list[bytes]]:
    """Return the events of each write: those due in a tick, at least one."""
    size = max(1, round(per_second * _TICK_S)) if per_second else max(1, len(events))
    return [events[start : start + size] for start in range(0, len(events), size)]


async def _end(request: web.Request, response: web.StreamResponse, after: payloads.After) -> web.StreamResponse:
    match after:
        case "abort":
            _hang_up(request)
        case "hang":
            await asyncio.Event().wait()
    return response


def _hang_up(request: web.Request) -> web.Response:
    """Close the connection at once; the response returned is never sent."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _json(document: JsonObject, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(document), status=status, content_type="application/json")


def _listing(model: str, rates: Rates) -> JsonObject:
    """Return a model's entry in a node's list, priced in sats and in USD per token."""
    sats = {"prompt": float(rates.input) / 1000, "completion": float(rates.output) / 1000}
    return {
        "id": model,
        "name": model,
        "context_length": 128_000,
        "pricing": {key: price * _USD_PER_SAT for key, price in sats.items()},
        "sats_pricing": sats,
        "top_provider": {"context_length": 128_000, "max_completion_tokens": 16_384},
        "enabled": True,
    }
