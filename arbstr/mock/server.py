"""A fake provider: a real HTTP server on 127.0.0.1 that answers as a Routstr node does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from decimal import Decimal
from functools import partial
from random import Random

import orjson
from aiohttp import web
from aiohttp.http import HttpProcessingError

from arbstr.config.schema import MockProvider
from arbstr.mock import embeddings, failures, media
from arbstr.mock.answers import AnswerWriter
from arbstr.mock.behaviors import USUAL, Behavior, BehaviorRequest, behavior_for, chooses_behavior, refusal
from arbstr.mock.billing import Bill, TokenCounts, bill
from arbstr.mock.completion import Completion
from arbstr.mock.dialects import DIALECTS, Dialect
from arbstr.mock.failures import Failure
from arbstr.mock.node_account import NodeAccount
from arbstr.mock.parsed_request import ParsedRequest
from arbstr.mock.prompt_cache import PromptCache
from arbstr.mock.sending import hang_up, json_response, send_stream, send_whole
from arbstr.mock.stream_script import stream_script
from arbstr.types import JsonObject, Rates

_SLOWER = 10  # times, for `mock-slow`
_OVERCHARGE = 3  # times, for `mock-overcharge`
_GOODBYE_S = 0.1  # for unfinished requests at the end; nothing depends on them

_USD_PER_SAT = 0.001
_VERSION = "0.4.3"  # nodes of which charge in full for an answer that nobody waits for

_Respond = Callable[[web.Request], Awaitable[web.StreamResponse]]
_Answer = Callable[[BehaviorRequest], Awaitable[web.StreamResponse]]
_ShapeError = Callable[[Failure], tuple[int, JsonObject]]


class FakeProviderServer:
    """Serve one fake provider. While `failing` is a status, every request gets it; `asked` counts requests.

    `settings` come from the configuration, exact rates by model from `rates_for`, chance from `random`. With an
    `account` it is a node where requests are paid from a balance. It asks `price_factor` times its rates, and its
    list says `misprint_factor` times that.
    """

    def __init__(
        self,
        settings: MockProvider,
        rates_for: Callable[[str], Rates],
        random: Random,
        account: NodeAccount | None = None,
    ) -> None:
        self.name = settings.name
        self.failing: int | None = None
        self.asked = 0
        self.account = account
        self.price_factor = Decimal(1)
        self.misprint_factor = Decimal(1)
        self._settings = settings
        self._list_rates_for = rates_for
        self._random = random
        self._writer = AnswerWriter(random)
        self._cache = PromptCache()
        self._runner: web.AppRunner | None = None

    async def start(self) -> str:
        """Open a free port; returns the URL to configure."""
        app = web.Application(client_max_size=0)
        looked_at = [web.get("/v1/models", self._models)]
        if self.account is not None:
            looked_at += [web.get("/v1/balance/info", self._balance), web.get("/v1/info", _info)]
        app.add_routes([*looked_at, *self._routes(), web.route("*", "/{path:.*}", _not_found)])
        # Without handler_cancellation a request that hangs would outlive its client.
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=_GOODBYE_S)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"

    async def stop(self) -> None:
        """Close the port and cancel unfinished requests."""
        if self._runner is not None:
            await self._runner.cleanup()

    def _routes(self) -> list[web.RouteDef]:
        """Return the paths of the dialects that this provider speaks."""
        paths: dict[str, tuple[str, _Respond]] = {
            **{dialect.name: (dialect.path, partial(self._text, dialect)) for dialect in DIALECTS},
            "embeddings": ("/embeddings", self._embeddings),
            **{path: (f"/{path}", partial(self._media, answer)) for path, answer in media.ANSWERS.items()},
        }
        spoken = paths if self._settings.dialects is None else self._settings.dialects
        return [web.post(f"/v1{path}", respond) for name, (path, respond) in paths.items() if name in spoken]

    async def _models(self, request: web.Request) -> web.Response:
        asks = {model: _times(self._rates_for(model), self.misprint_factor) for model in self._settings.models}
        return json_response({"data": [_listing(model, rates) for model, rates in asks.items()]})

    async def _balance(self, request: web.Request) -> web.Response:
        assert self.account is not None
        return json_response(self.account.info())

    def _rates_for(self, model: str) -> Rates:
        """Return what it asks for a model now."""
        rates = self._list_rates_for(model)
        return rates if self.price_factor == 1 else _times(rates, self.price_factor)

    async def _text(self, dialect: Dialect, request: web.Request) -> web.StreamResponse:
        """Answer a request for text in its dialect."""
        document = _document(await request.read())
        parsed = None if document is None else dialect.parse(document)
        if parsed is None:
            return self._failed(failures.no_request(), dialect.error)
        return await self._serve(request, parsed.model, partial(self._write, dialect, request, parsed), dialect.error)

    async def _write(
        self, dialect: Dialect, request: web.Request, parsed: ParsedRequest, requested: BehaviorRequest
    ) -> web.StreamResponse:
        answer = self._complete(parsed, requested)
        per_second = self._settings.tokens_per_second / _slowness(requested)
        if parsed.stream and requested.behavior is not Behavior.JSON_STREAM:
            return await send_stream(request, stream_script(requested.behavior, answer, dialect), per_second)
        await asyncio.sleep(answer.token_count / per_second if per_second else 0)
        headers = answer.bill.headers if answer.bill else {}
        return await send_whole(request, requested.behavior, orjson.dumps(dialect.body(answer)), headers)

    async def _embeddings(self, request: web.Request) -> web.StreamResponse:
        document = _document(await request.read())
        parsed = None if document is None else embeddings.parse(document)
        if parsed is None:
            return self._failed(failures.no_request(), _plain_error)
        return await self._serve(request, parsed.model, partial(self._embed, request, parsed), _plain_error)

    async def _embed(
        self, request: web.Request, parsed: ParsedRequest, requested: BehaviorRequest
    ) -> web.StreamResponse:
        charged = self._bill(parsed, requested, TokenCounts(parsed.input_tokens, 0))
        body = orjson.dumps(embeddings.body(parsed, charged))
        return await send_whole(request, requested.behavior, body, charged.headers if charged else {})

    async def _media(self, answer: media.Answer, request: web.Request) -> web.StreamResponse:
        """Answer a request about images or sound; it may leave its model open, and name one that is not listed."""
        document = (
            await _form(request) if request.content_type.startswith("multipart/") else _json(await request.read())
        )
        found = None if document is None else answer(document)
        if document is None or found is None:
            return self._failed(failures.no_request(), _plain_error)
        send = partial(_send_media, request, found)
        return await self._serve(request, str(document.get("model") or ""), send, _plain_error, listed=False)

    async def _serve(
        self, request: web.Request, model: str, answer: _Answer, shape: _ShapeError, *, listed: bool = True
    ) -> web.StreamResponse:
        """Answer as the model's behavior has it; errors get their shape from `shape`."""
        self.asked += 1
        requested = self._behavior(model, listed=listed)
        await asyncio.sleep(self._settings.delay_ms / 1000 * self._random.uniform(0.8, 1.2) * _slowness(requested))
        match requested.behavior:
            case Behavior.STATUS:
                failure = failures.refusal(requested.status, model, requested.retry_after_s)
                return _failure(failure, shape, requested.retry_after_s)
            case Behavior.UNKNOWN_MODEL:
                return _failure(failures.unknown_model(model), shape)
            case Behavior.REFUSE:
                return hang_up(request)
            case Behavior.HANG:
                await asyncio.Event().wait()
        return await answer(requested)

    def _failed(self, failure: Failure, shape: _ShapeError) -> web.Response:
        """Refuse a request that is none; it counts all the same."""
        self.asked += 1
        return _failure(failure, shape)

    def _behavior(self, model: str, *, listed: bool) -> BehaviorRequest:
        """Return what the model's name asks for, unless the provider is down or fails by chance."""
        requested = behavior_for(model, self.name)
        if self.failing is not None:
            return refusal(self.failing)
        if self.account is not None and self.account.is_empty:
            return refusal(402)
        if requested is USUAL and self._random.random() < self._settings.failure_rate:
            return refusal(503)
        if requested is USUAL and listed and not self._has(model):
            return BehaviorRequest(Behavior.UNKNOWN_MODEL)
        return requested

    def _has(self, model: str) -> bool:
        return not self._settings.models or model in self._settings.models or chooses_behavior(model)

    def _complete(self, parsed: ParsedRequest, requested: BehaviorRequest) -> Completion:
        echo = requested.behavior is Behavior.ECHO
        choices = [self._writer.choice(parsed, echo=echo) for _ in range(parsed.choices)]
        cached, written = self._cache.count(parsed)
        tokens = TokenCounts(
            input=parsed.input_tokens,
            output=sum(choice.token_count for choice in choices),
            cached=cached,
            written=written,
            reasoning=sum(len(choice.reasoning) for choice in choices),
        )
        return Completion(
            id=self._writer.new_id(),
            created_s=int(time.time()),
            request=parsed,
            choices=choices,
            bill=self._bill(parsed, requested, tokens),
        )

    def _bill(self, parsed: ParsedRequest, requested: BehaviorRequest, tokens: TokenCounts) -> Bill | None:
        """Return what is charged; None if the provider does not say."""
        if requested.behavior is Behavior.NO_USAGE:
            return None
        factor = self._settings.charge_factor * (_OVERCHARGE if requested.behavior is Behavior.OVERCHARGE else 1)
        charged = bill(self._rates_for(parsed.model), tokens, factor)
        if self.account is not None:
            self.account.charge(charged.total_msats)
        return charged


def _times(rates: Rates, factor: Decimal) -> Rates:
    def times(rate: Decimal | None) -> Decimal | None:
        return None if rate is None else rate * factor

    return Rates(
        rates.input * factor,
        rates.output * factor,
        rates.base_fee * factor,
        times(rates.cached_input),
        times(rates.cache_write),
    )


def _json(body: bytes) -> JsonObject | None:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None


def _document(body: bytes) -> JsonObject | None:
    """Parse a body that names a model. Return None if it does not."""
    document = _json(body)
    return document if document is not None and isinstance(document.get("model"), str) else None


async def _form(request: web.Request) -> JsonObject | None:
    """Read a form: its fields as text, its files as their sizes."""
    try:
        fields = await request.post()
    except (ValueError, HttpProcessingError):
        return None
    return {
        name: len(value.file.read()) if isinstance(value, web.FileField) else str(value)
        for name, value in fields.items()
    }


async def _send_media(request: web.Request, found: media.Media, requested: BehaviorRequest) -> web.StreamResponse:
    return await send_whole(request, requested.behavior, found.body, content_type=found.content_type)


def _slowness(requested: BehaviorRequest) -> int:
    return _SLOWER if requested.behavior is Behavior.SLOW else 1


def _plain_error(failure: Failure) -> tuple[int, JsonObject]:
    return failure.status, failure.body


def _failure(failure: Failure, shape: _ShapeError, retry_after_s: int | None = None) -> web.Response:
    status, body = shape(failure)
    response = json_response(body, status)
    if retry_after_s is not None:
        response.headers["Retry-After"] = str(retry_after_s)
    return response


async def _info(request: web.Request) -> web.Response:
    return json_response({"name": "a fake node", "version": _VERSION})


async def _not_found(request: web.Request) -> web.Response:
    """Refuse a path that this provider does not know."""
    return json_response({"detail": "Not Found"}, 404)


def _listing(model: str, rates: Rates) -> JsonObject:
    """Return a model's entry in a node's list, priced in sats and in USD per token."""
    sats = {"prompt": float(rates.input) / 1000, "completion": float(rates.output) / 1000}
    if rates.cached_input is not None:
        sats["input_cache_read"] = float(rates.cached_input) / 1000
    return {
        "id": model,
        "name": model,
        "context_length": 128_000,
        "pricing": {key: price * _USD_PER_SAT for key, price in sats.items()},
        "sats_pricing": sats,
        "top_provider": {"context_length": 128_000, "max_completion_tokens": 16_384},
        "enabled": True,
    }
