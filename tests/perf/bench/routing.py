"""How long choosing and learning take: `python -m tests.perf.bench.routing`.

Twenty providers serve the model; every request is routed, and its end is learned. Prints microseconds a request, the
best of several rounds, for each strategy, and fails when `cheapest` takes longer than its limit. Also for conversations
of some 50 messages at providers that price what they have cached, one request after the other and each after other
work, and how long hashing a prompt of 100 KB takes. Choosing is over once the first candidate has been looked at: it
will be tried.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from dataclasses import replace

from arbstr.config.schema import Breaker, Config, Policies, Provider, Rule
from arbstr.engine.circuit_breaker import CircuitBreakers
from arbstr.engine.prefixes import prefix_of
from arbstr.engine.routing.router import Router
from arbstr.types import Attempt, InferenceRequest, RequestRecord, Routing

PROVIDERS = 20
REQUESTS = 2000
ROUNDS = 7
LIMIT_US = 30.0


def config() -> Config:
    rates = random.Random(1)
    providers = tuple(
        Provider(
            name=f"provider-{number}",
            url="http://127.0.0.1:1/v1",
            models=("model",),
            input_rate=round(rates.uniform(1, 20), 2),
            output_rate=round(rates.uniform(5, 60), 2),
            base_fee=number % 3,
        )
        for number in range(PROVIDERS)
    )
    rule = Rule(name="code", keywords=("code", "function", "implement"), max_sats_per_request=1000)
    return Config(providers=providers, policies=Policies(rules=(rule,)))


def health() -> CircuitBreakers:
    """Breakers that are all closed, as they are asked in a real run."""
    return CircuitBreakers(
        [f"provider-{number}" for number in range(PROVIDERS)],
        Breaker(),
        clock=time.monotonic,
        now_ms=lambda: 0,
        random=random.Random(4).random,
        on_change=lambda event: None,
    )


def requests() -> list[InferenceRequest]:
    return requests_of(REQUESTS)


def requests_of(count: int) -> list[InferenceRequest]:
    sizes = random.Random(2)
    texts = ("please implement this function", "what is the weather like in Lisbon today")
    return [
        InferenceRequest(
            request_id="r",
            model="model",
            stream=number % 2 == 0,
            wants_usage=False,
            max_tokens=None,
            prompt_chars=sizes.randrange(20, 60_000),
            last_user_text=texts[number % 2],
            policy=None,
            body=b"",
        )
        for number in range(count)
    ]


def outcome(request: InferenceRequest, routing: Routing) -> RequestRecord:
    """A whole answer with a charge: everything there is to learn from."""
    provider = routing.candidates[0].provider
    return RequestRecord(
        request_id=request.request_id,
        received_at_ms=0,
        model=request.model,
        streaming=request.stream,
        success=True,
        latency_ms=300,
        provider=provider,
        policy=routing.policy,
        input_tokens=request.prompt_chars // 4 + 1,
        output_tokens=150,
        cost_msats=10_400,
        list_cost_msats=10_000,
        provider_cost_msats=10_400,
        stream_duration_ms=900 if request.stream else None,
        attempts=(Attempt(provider, 0, 300),),
        routing=routing,
    )


def measure(strategy: str) -> tuple[float, float]:
    """Microseconds a request for choosing and for learning, the best of the rounds."""
    base = config()
    policies = base.policies.model_copy(update={"default_strategy": strategy})
    router = Router(
        base.model_copy(update={"policies": policies}),
        clock=time.monotonic,
        random=random.Random(3).random,
        unavailable=health().unavailable,
    )
    best = (float("inf"), float("inf"))
    batch = requests()
    for _ in range(ROUNDS):
        started = time.perf_counter()
        routings = [router.route(request) for request in batch]
        for routing in routings:
            routing.candidates[0]
        routed = time.perf_counter()
        records = [outcome(request, routing) for request, routing in zip(batch, routings, strict=True)]
        recorded = time.perf_counter()
        for request, record in zip(batch, records, strict=True):
            router.learn(record, request)
        learned = time.perf_counter()
        best = min(best[0], routed - started), min(best[1], learned - recorded)
    return best[0] / REQUESTS * 1e6, best[1] / REQUESTS * 1e6


def measure_caches(*, after_work: bool) -> tuple[float, float, float]:
    """Microseconds for choosing and for learning, all providers with prompt caches, and for hashing a prompt.

    The processor's own caches hold what routing needs only while nothing else is done. Medians: requests differ, and a
    mean of so few would tell of other programs.
    """
    base = config()
    cached = tuple(one.model_copy(update={"cached_input_rate": 0.5}) for one in base.providers)
    router = Router(
        base.model_copy(update={"providers": cached}),
        clock=time.monotonic,
        random=random.Random(3).random,
        unavailable=health().unavailable,
    )
    messages = [{"role": "user", "content": f"{number} {'word ' * 100}"} for number in range(200)]
    requests = [in_conversation(number, messages) for number in range(REQUESTS)]
    took: list[tuple[float, float]] = []
    hashing: list[float] = []
    for one in requests:
        started = time.perf_counter()
        routing = router.route(one)
        routing.candidates[0]
        routed = time.perf_counter()
        record = outcome(one, routing)
        recorded = time.perf_counter()
        router.learn(record, one)
        learned = time.perf_counter()
        took.append((routed - started, learned - recorded))
        if after_work or len(hashing) < REQUESTS // 10:
            started = time.perf_counter()
            prefix_of({"messages": messages}, ("messages",))
            hashing.append(time.perf_counter() - started)
    choosing, learning = map(statistics.median, zip(*took, strict=True))
    return choosing * 1e6, learning * 1e6, statistics.median(hashing) * 1e6


def in_conversation(number: int, messages: list[dict[str, str]]) -> InferenceRequest:
    """One of a hundred conversations goes on by a message."""
    talk = {"messages": [{"role": "system", "content": f"{number % 100}"}, *messages[: 40 + number // 50]]}
    return replace(requests_of(1)[0], request_id=str(number), prefix=prefix_of(talk, ("messages",)))


def main() -> int:
    print(f"{PROVIDERS} providers, microseconds a request (limit {LIMIT_US:.0f}, cheapest)")
    totals = {}
    for strategy in ("cheapest", "lowest_latency", "round_robin", "weighted"):
        choosing, learning = measure(strategy)
        totals[strategy] = choosing + learning
        print(f"{strategy:>15}: choose {choosing:5.1f}  learn {learning:5.1f}  both {choosing + learning:5.1f}")
    for name, after_work in (("prompt caches", False), ("after work", True)):
        choosing, learning, hashing = measure_caches(after_work=after_work)
        both = choosing + learning
        print(f"{name:>15}: choose {choosing:5.1f}  learn {learning:5.1f}  both {both:5.1f}  hash {hashing:.0f}")
    return 0 if totals["cheapest"] < LIMIT_US else 1


if __name__ == "__main__":
    sys.exit(main())
