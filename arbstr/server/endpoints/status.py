"""The small endpoints: models, health and providers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from aiohttp import web

from arbstr import __version__
from arbstr.clock import format_ms
from arbstr.config.schema import Provider
from arbstr.engine.clients import KnownClient
from arbstr.engine.pricing import expected_msats
from arbstr.engine.routing.names import shown, some
from arbstr.engine.routing.router import Router
from arbstr.errors import ModelNotFound
from arbstr.money import to_sats
from arbstr.monitoring.source import InstanceStatus, ProviderStatus
from arbstr.server.request import Request
from arbstr.server.responses import json_response
from arbstr.server.router import NamedRoute, Route
from arbstr.types import Balance, Rates

if TYPE_CHECKING:
    from arbstr import shapes

# What "cheapest" means for a model before there is a request: prompts are longer than answers.
_TYPICAL_INPUT_TOKENS = 1000
_TYPICAL_OUTPUT_TOKENS = 256


class StatusEndpoints:
    """Endpoints about arbstr itself. `statuses` returns the providers' states, in the configuration's order.

    `first_lists` waits a moment for the lists of providers that are configured without models. `instances` returns the
    arbstrs that share the ledger, none where it is not shared; `lease_notice` what budgets admit without it.
    """

    def __init__(
        self,
        providers: Sequence[Provider],
        router: Router,
        first_lists: Callable[[], Awaitable[None]],
        statuses: Callable[[], Sequence[ProviderStatus]],
        uptime_s: Callable[[], float],
        started_s: int,
        instances: Callable[[], Sequence[InstanceStatus]] = tuple,
        lease_notice: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._providers = providers
        self._router = router
        self._statuses = statuses
        self._uptime_s = uptime_s
        self._first_lists = first_lists
        self._started_s = started_s
        self._instances = instances
        self._lease_notice = lease_notice
        self._names = router.names
        self._version = self._names.version
        self._models = self._described()

    def routes(self) -> list[Route | NamedRoute]:
        """Return the routes."""
        return [
            Route("GET", "/v1/models", self.models, for_clients=True),
            NamedRoute("GET", "/v1/models/", self.model, for_clients=True),
            Route("GET", "/health", self.health, for_clients=True),
            Route("GET", "/providers", self.providers),
        ]

    async def models(self, request: Request) -> web.Response:
        """Return every model that a provider lists and every alias, once; below `/policy/NAME` those it allows."""
        client = request.client
        policy = request.path_policy if client is None or client.policy is None else None  # else the client's wins
        known = (await self._known_to(client)).items()
        listed = [entry for name, entry in known if policy is None or self._router.allows(policy, name)]
        document: shapes.ModelList = {"object": "list", "data": listed}
        return json_response(document)

    async def model(self, request: Request, name: str) -> web.Response:
        """One model; also under a name that the pattern of an alias takes."""
        known = await self._known_to(request.client)
        models = {each.casefold(): described for each, described in known.items()}
        entry = models.get(name.casefold()) or self._by_pattern(name, request.client)
        if entry is None:
            message = f"No provider lists the model {shown(name)}; listed: {some(known)}."
            raise ModelNotFound(message, param="model")
        return json_response(entry)

    def _by_pattern(self, name: str, client: KnownClient | None) -> shapes.ModelEntry | None:
        """Return the description of a name that an alias's pattern takes, None if none does or the client may not."""
        model = self._names.resolve(name)
        is_alias = model.casefold() != name.casefold()
        offering = self._offering(model) if is_alias and self._may_use(client, name) else []
        return self._model(name, model, offering) if offering else None

    async def _known_to(self, client: KnownClient | None) -> dict[str, shapes.ModelEntry]:
        """Return the descriptions of the models and aliases that a client may use, itself and by its policy."""
        known = await self._known()
        if client is None:
            return known
        return {name: entry for name, entry in known.items() if self._may_use(client, name)}

    def _may_use(self, client: KnownClient | None, name: str) -> bool:
        if client is None:
            return True
        by_policy = client.policy is None or self._router.allows(client.policy, name)
        return by_policy and client.allows(name, self._names.resolve(name))

    async def _known(self) -> dict[str, shapes.ModelEntry]:
        """Return the descriptions of all models and aliases."""
        await self._first_lists()
        if self._version != self._names.version:
            self._version = self._names.version
            self._models = self._described()
        return self._models

    def _described(self) -> dict[str, shapes.ModelEntry]:
        models = ((name, self._names.resolve(name)) for name in self._names.all())
        offered = ((name, model, self._offering(model)) for name, model in models)
        return {name: self._model(name, model, found) for name, model, found in offered if found}

    def _offering(self, model: str) -> list[Provider]:
        return [one for one in self._providers if self._names.standing(one, model) in ("listed", "doubted")]

    def _model(self, name: str, model: str, offering: Sequence[Provider]) -> shapes.ModelEntry:
        """Describe a model, or an alias `name` of it."""
        prices = [_typical_msats(self._names.rates(one, model)) for one in offering]
        cheapest = offering[prices.index(min(prices))]
        offers: shapes.ModelOffers = {"providers": [one.name for one in offering], "cheapest": cheapest.name}
        if name.casefold() != model.casefold():
            offers["alias_of"] = model
        return {
            "id": name,
            "object": "model",
            "created": self._started_s,
            "owned_by": "routstr",
            "arbstr": offers,
        }

    async def health(self, request: web.BaseRequest) -> web.Response:
        """Return whether arbstr can serve: 503 when no provider is available."""
        statuses = self._statuses()
        usable = [status for status in statuses if not status.inert]
        verdict = _verdict(usable)
        document: shapes.Health = {
            "status": verdict,
            "version": __version__,
            "uptime_s": round(self._uptime_s(), 3),
            "providers": {status.name: _health(status) for status in statuses},
        }
        if instances := self._instances():
            document["instances"] = [_instance(one) for one in instances]
        if notice := self._lease_notice():
            document["ledger"] = notice
        return json_response(document, 503 if verdict == "unhealthy" else 200)

    async def providers(self, request: web.BaseRequest) -> web.Response:
        """Return the providers as configured, keys masked, and their health."""
        pairs = zip(self._providers, self._statuses(), strict=True)
        document: shapes.ProviderList = {"providers": [self._entry(provider, status) for provider, status in pairs]}
        return json_response(document)

    def _entry(self, provider: Provider, status: ProviderStatus) -> shapes.ProviderEntry:
        entry: shapes.ProviderEntry = {
            **provider.public(),
            "models": [*(provider.model_ids or self._names.learned(provider.name))],
            "health": _health(status),
            "charged_ratio": status.charged_ratio,
            "charged_ratios": dict(status.charged_ratios),
            "balance": None if status.balance is None else _balance(status.balance),
            "list_age_s": None if status.list_age_s is None else round(status.list_age_s, 3),
            "list_stale": status.list_stale,
        }
        if provider.kind == "routstr":
            entry["model_rates"] = {
                model: {
                    "input_rate_sats_per_1k": asked[0],
                    "output_rate_sats_per_1k": asked[1],
                    "base_fee_sats": asked[2],
                }
                for model, asked in self._names.price_list(provider).items()
            }
        return entry


def _balance(balance: Balance) -> shapes.ProviderBalance:
    return {
        "state": balance.state,
        "free_sats": to_sats(balance.free_msats),
        "reserved_sats": to_sats(balance.reserved_msats),
        "spent_sats": to_sats(balance.spent_msats),
        "runway_hours": None if balance.runway_hours is None else round(balance.runway_hours, 3),
        "read_at": None if balance.read_at_ms is None else format_ms(balance.read_at_ms),
        "node_version": balance.node_version,
    }


def _typical_msats(rates: Rates) -> float:
    return expected_msats(rates, _TYPICAL_INPUT_TOKENS, _TYPICAL_OUTPUT_TOKENS)


def _verdict(statuses: Sequence[ProviderStatus]) -> shapes.HealthVerdict:
    if statuses and all(status.state == "closed" and status.in_rotation for status in statuses):
        return "ok"
    is_down = all(status.state == "open" or not status.in_rotation for status in statuses)
    return "unhealthy" if is_down else "degraded"


def _instance(one: InstanceStatus) -> shapes.Instance:
    return {
        "name": one.name,
        "this": one.here,
        "version": one.version,
        "started_at": format_ms(one.started_at_ms),
        "in_flight": one.in_flight,
        "requests": one.requests,
        "heard_at": None if one.heard_at_ms is None else format_ms(one.heard_at_ms),
        "stale": one.stale,
    }


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
