"""Values for the routing tests, with everything filled in that a test does not speak of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from arbstr.config.schema import Config, Policies, Provider, Rule
from arbstr.engine.dialects.chat import CHAT
from arbstr.engine.request_context import RequestContext
from arbstr.engine.routing.router import Router
from arbstr.types import Attempt, InferenceRequest, RequestRecord, Routing
from tests.support.clock import Clock


def chat(model: str = "gpt-4o", **fields: Any) -> InferenceRequest:
    given: dict[str, Any] = {
        "request_id": "r-1",
        "model": model,
        "stream": False,
        "wants_usage": False,
        "max_tokens": None,
        "prompt_chars": 400,
        "last_user_text": "hello",
        "policy": None,
        "body": b"{}",
    }
    return InferenceRequest(**(given | fields))


def provider(name: str, input_rate: float = 10, output_rate: float = 30, **fields: Any) -> Provider:
    return Provider(name=name, url="http://localhost:1/v1", input_rate=input_rate, output_rate=output_rate, **fields)


def routed(clock: Clock) -> RequestContext:
    """A request of 100 tokens that has been routed, by no rule."""
    context = RequestContext("r-1", 1_700_000_000_000, CHAT, clock)
    context.identify("gpt-4o", streaming=False, session=None)
    context.set_request(chat(max_tokens=500))
    context.set_routing(Routing("cheapest", None, "gpt-4o", 100, 256, ()))
    return context


def config(providers: Sequence[Provider], *rules: Rule, **policies: Any) -> Config:
    return Config(providers=tuple(providers), policies=Policies(rules=rules, **policies))


def router(providers: Sequence[Provider], *rules: Rule, clock: Clock | None = None, **given: Any) -> Router:
    """A router without matchers of other packages; `policies` are further settings of that section."""
    policies = given.pop("policies", {})
    parts: dict[str, Any] = {"clock": clock or Clock(), "random": lambda: 0.5} | given
    return Router(config(providers, *rules, **policies), **parts)


def answered(request: InferenceRequest, routing: Routing, **fields: Any) -> RequestRecord:
    """The row of a request that its first candidate answered."""
    name = fields.get("provider", routing.candidates[0].provider)
    given: dict[str, Any] = {
        "request_id": request.request_id,
        "received_at_ms": 0,
        "model": request.model,
        "streaming": request.stream,
        "success": True,
        "latency_ms": 100,
        "provider": name,
        "policy": routing.policy,
        "input_tokens": 100,
        "output_tokens": 50,
        "cost_msats": 2500,
        "list_cost_msats": 2500,
        "attempts": (Attempt(name, 0, 100),),
        "routing": routing,
    }
    return RequestRecord(**(given | fields))


def order(routing: Routing) -> list[str]:
    """The candidates' names in the order in which they are tried."""
    return [candidate.provider for candidate in routing.candidates]
