"""The small endpoints: models, health, providers, and what a request would cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from aiohttp import web

from arbstr import __version__
from arbstr.config.schema import Provider
from arbstr.engine.body_memory import BodyMemory
from arbstr.engine.chat_request import decode, parse
from arbstr.engine.pricing import expected_msats
from arbstr.engine.routing.router import Router
from arbstr.engine.upstream.model_lists import Lists
from arbstr.errors import ModelNotFound
from arbstr.ledger.routing_json import routing_json
from arbstr.monitoring.source import ProviderStatus
from arbstr.server.request import Request
from arbstr.server.request_body import RequestBody
from arbstr.server.responses import json_response
from arbstr.server.router import NamedRoute, Route

if TYPE_CHECKING:
    from arbstr import shapes

# What "cheapest" means for a model before there is a request: prompts are longer than answers.
_TYPICAL_INPUT_TOKENS = 1000
_TYPICAL_OUTPUT_TOKENS = 256


class StatusEndpoints:
    """Endpoints about arbstr itself. `statuses` returns the providers' states, in the configuration's order."""

    def __init__(
        self,
        providers: Sequence[Provider],
        router: Router,
        memory: BodyMemory,
        lists: Lists,
        statuses: Callable[[], Sequence[ProviderStatus]],
        uptime_s: Callable[[], float],
        started_s: int,
    ) -> None:
        self._providers = providers
        self._router = router
        self._memory = memory
        self._statuses = statuses
        self._uptime_s = uptime_s
        self._lists = lists
        self._started_s = started_s
        self._learned: dict[str, tuple[str, ...]] = {}
        self._models = self._described()

    @property
    def model_names(self) -> tuple[str, ...]:
        """The models that are configured, each once."""
        return tuple(dict.fromkeys(model for provider in self._providers for model in provider.model_ids))

    def routes(self) -> list[Route | NamedRoute]:
        """Return the routes."""
        return [
            Route("GET", "/v1/models", self.models),
            NamedRoute("GET", "/v1/models/", self.model),
            Route("GET", "/health", self.health),
            Route("GET", "/providers", self.providers),
            Route("POST", "/v1/cost", self.cost),
        ]

    async def models(self, request: web.BaseRequest) -> web.Response:
        """Return every model that a provider lists, once, in OpenAI's list shape."""
        document: shapes.ModelList = {"object": "list", "data": list((await self._known()).values())}
        return json_response(document)

    async def model(self, request: web.BaseRequest, name: str) -> web.Response:
        """One model."""
        models = await self._known()
        if name not in models:
            served = ", ".join(models) or "none"
            raise ModelNotFound(f"No provider lists the model {name[:100]!r}; listed: {served}.", param="model")
        return json_response(models[name])

    async def _known(self) -> dict[str, shapes.ModelEntry]:
        """Return the descriptions of all models that are configured or listed by a provider without models."""
        learned = await self._lists()
        if learned != self._learned:
            self._learned = learned
            self._models = self._described()
        return self._models

    def _described(self) -> dict[str, shapes.ModelEntry]:
        listed = [*self.model_names, *(name for names in self._learned.values() for name in names)]
        has = {name: frozenset(names) for name, names in self._learned.items()}
        return {
            name: _model(
                name,
                [one for one in self._providers if one.serves(name) and (one.name not in has or name in has[one.name])],
                self._started_s,
            )
            for name in dict.fromkeys(listed)
        }

    async def health(self, request: web.BaseRequest) -> web.Response:
        """Return whether arbstr can serve: 503 when no provider is available."""
        statuses = self._statuses()
        verdict = _verdict(statuses)
        document: shapes.Health = {
            "status": verdict,
            "version": __version__,
            "uptime_s": round(self._uptime_s(), 3),
            "providers": {status.name: _health(status) for status in statuses},
        }
        return json_response(document, 503 if verdict == "unhealthy" else 200)

    async def providers(self, request: web.BaseRequest) -> web.Response:
        """Return the providers as configured, keys masked, and their health."""
        listed: list[shapes.ProviderEntry] = [
            {
                **provider.public(),
                "health": _health(status),
                "charged_ratio": status.charged_ratio,
            }
            for provider, status in zip(self._providers, self._statuses(), strict=True)
        ]
        document: shapes.ProviderList = {"providers": listed}
        return json_response(document)

    async def cost(self, request: Request) -> web.Response:
        """Return what a chat request would cost and where; nothing is sent."""
        request_body = RequestBody(request, self._memory)
        try:
            body = await request_body.read()
        finally:
            request_body.release()
        policy = request.headers.get("X-Arbstr-Policy", "").strip() or None
        chat = parse(decode(body), body, request_id=request.id, policy=policy)
        return json_response(routing_json(self._router.preview(chat)))


def _model(name: str, providers: Sequence[Provider], created_s: int) -> shapes.ModelEntry:
    cheapest = min(
        providers,
        key=lambda provider: expected_msats(provider.rates_for(name), _TYPICAL_INPUT_TOKENS, _TYPICAL_OUTPUT_TOKENS),
    )
    return {
        "id": name,
        "object": "model",
        "created": created_s,
        "owned_by": "routstr",
        "arbstr": {"providers": [provider.name for provider in providers], "cheapest": cheapest.name},
    }


def _verdict(statuses: Sequence[ProviderStatus]) -> shapes.HealthVerdict:
    if all(status.state == "closed" and status.in_rotation for status in statuses):
        return "ok"
    is_down = all(status.state == "open" or not status.in_rotation for status in statuses)
    return "unhealthy" if is_down else "degraded"


def _health(status: ProviderStatus) -> shapes.ProviderState:
    return {
        "state": status.state,
        "failure_count": status.failure_count,
        "in_rotation": status.in_rotation,
        "in_flight": status.in_flight,
        "success_rate": status.success_rate,
        "latency_ms": status.latency_ms,
        "last_error": status.last_error,
        "open_until_ms": status.open_until_ms,
    }
