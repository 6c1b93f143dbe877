"""Made-up clients of a proxy with fake providers, so that the demo has something to show."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Self

import aiohttp

from arbstr.config.schema import Config, Rule
from arbstr.mock import filler_text
from arbstr.mock.fleet import FakeFleet
from arbstr.mock.server import FakeProviderServer
from arbstr.mock.token_lengths import draw_lengths
from arbstr.redaction import Secret
from arbstr.types import JsonObject

_AT_ONCE = 6  # requests to begin with, so that the screen is not empty
_PER_SECOND = 1.2
_BURST_CHANCE = 0.08  # that one request is followed by a burst
_STREAMED = 0.7
_CODE = 0.35
_NAMED_POLICY = 0.25
_LIMITED = 0.6  # that a chat request limits its answer; code always does
_GOES_ON = 0.5  # that a request is the next one of a conversation
_CONVERSATIONS = 8  # that can go on; the oldest does, which has had its answer by then
_LONGEST_CONVERSATION = 60_000  # characters
_LEAVES = 0.05  # that a client gives up early
_LONGEST_ANSWER = 700  # tokens; the few longer ones would hide what goes on
_PATIENCE_S = 120.0
_FIRST_PRICE_S, _BETWEEN_PRICES_S, _PRICE_FACTORS = 40.0, (40.0, 80.0), ("0.7", "1", "1.3", "1.6")
_LOW_MSATS, _BEFORE_TOP_UP_S, _TOP_UP_MSATS, _LOOK_S = 60_000, 25.0, 350_000, 1.0  # of a node's balance
_BEFORE_MISTAKE_S, _MISTAKE_S, _MISTAKE_FACTOR = 55.0, 4.0, Decimal(30)  # short enough to be read once in a list
_BEFORE_TAKING_S, _TAKEN_MSATS, _BETWEEN_MISTAKES_S = 20.0, 1_500, 240.0
_FIRST_FAILURE_S, _FAILURE_S, _BETWEEN_FAILURES_S = 10.0, (6.0, 14.0), (25.0, 60.0)

_QUESTIONS = (
    "Could you summarise this for someone in a hurry?",
    "What am I missing here?",
    "Please plan a weekend around these notes.",
    "Explain this as you would to a new colleague.",
    "Which of these points would you check first, and why?",
    "Rewrite this in a friendlier tone.",
    "Is any of this still true today?",
)
_TASKS = (
    "Please review this code.",
    "Implement a function that reads this back.",
    "There is a bug in here somewhere; where would you look?",
    "Refactor this so that it can be tested.",
    "Write a function for the case that the file is empty.",
)


@dataclass(frozen=True, slots=True)
class DemoRequest:
    """A request to send: its body, the rule it names if any, and after how many seconds the client leaves."""

    body: JsonObject
    policy: str | None
    patience_s: float


class DemoTraffic:
    """Inside `async with`, requests arrive at the proxy, and now and then one provider of the fleet fails.

    Nodes change their prices, list wrong ones for a moment, take what no request explains, and get more money some time
    after their balance has run low.

    `base_url` is the proxy's address without a path, `token` what it asks of clients. The same `seed` (by default that
    of the fleet's configuration) makes the same requests. `tempo` is how many times faster than usual all happens.
    """

    def __init__(
        self,
        base_url: str,
        fleet: FakeFleet,
        *,
        seed: int | None = None,
        token: Secret | None = None,
        tempo: float = 1.0,
    ) -> None:
        self._url = f"{base_url}/v1/chat/completions"
        self._fleet = fleet
        self._random = Random(fleet.config.mock.seed if seed is None else seed)
        self._tempo = tempo
        self._headers = {} if token is None else {"Authorization": f"Bearer {token.reveal()}"}
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *raised: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=None)
        async with (
            aiohttp.ClientSession(headers=self._headers, timeout=timeout) as session,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(self._inject_failures(Random(self._random.random())))
            for node in self._fleet.nodes:
                group.create_task(self._move_prices(node, Random(self._random.random())))
                group.create_task(self._top_up(node))
                group.create_task(self._go_wrong(node))
            requests = demo_requests(self._fleet.config, Random(self._random.random()))
            for pause_s in pauses(self._random):
                group.create_task(self._send(session, next(requests)))
                await asyncio.sleep(pause_s / self._tempo)

    async def _send(self, session: aiohttp.ClientSession, request: DemoRequest) -> None:
        """Send one request and read the answer to its end; errors are for the proxy to show."""
        headers = {} if request.policy is None else {"X-Arbstr-Policy": request.policy}
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with (
                asyncio.timeout(request.patience_s / self._tempo),
                session.post(self._url, json=request.body, headers=headers) as response,
            ):
                async for _ in response.content.iter_any():
                    pass

    async def _move_prices(self, node: FakeProviderServer, random: Random) -> None:
        """Change a node's prices now and then, for ever."""
        await asyncio.sleep(_FIRST_PRICE_S / self._tempo)
        while True:
            others = [factor for factor in map(Decimal, _PRICE_FACTORS) if factor != node.price_factor]
            node.price_factor = random.choice(others)
            await asyncio.sleep(random.uniform(*_BETWEEN_PRICES_S) / self._tempo)

    async def _top_up(self, node: FakeProviderServer) -> None:
        """Put money on a node's key once it has been low for a while, for ever."""
        while node.account is not None:
            if node.account.msats < _LOW_MSATS:
                await asyncio.sleep(_BEFORE_TOP_UP_S / self._tempo)
                node.account.top_up(_TOP_UP_MSATS)
            await asyncio.sleep(_LOOK_S / self._tempo)

    async def _go_wrong(self, node: FakeProviderServer) -> None:
        """Have a node list tenfold prices for a moment, and take money for nothing, again and again."""
        await asyncio.sleep(_BEFORE_MISTAKE_S / self._tempo)
        while node.account is not None:
            node.misprint_factor = _MISTAKE_FACTOR
            await asyncio.sleep(_MISTAKE_S / self._tempo)
            node.misprint_factor = Decimal(1)
            await asyncio.sleep(_BEFORE_TAKING_S / self._tempo)
            node.account.charge(_TAKEN_MSATS)
            await asyncio.sleep(_BETWEEN_MISTAKES_S / self._tempo)

    async def _inject_failures(self, random: Random) -> None:
        """Make one provider at a time fail for a while, for ever."""
        await asyncio.sleep(_FIRST_FAILURE_S / self._tempo)
        while True:
            # Mostly a busy one: the failure of an idle one would not be noticed.
            (name,) = random.choices(self._fleet.names, [(asked + 1) ** 2 for asked in self._fleet.asked])
            self._fleet.fail(name, random.choice((500, 502, 503, 503, 429)))
            try:
                await asyncio.sleep(random.uniform(*_FAILURE_S) / self._tempo)
            finally:
                self._fleet.recover(name)
            await asyncio.sleep(random.uniform(*_BETWEEN_FAILURES_S) / self._tempo)


def pauses(random: Random) -> Iterator[float]:
    """Yield the seconds between one request and the next, without end."""
    yield from [0.15] * (_AT_ONCE - 1)
    while True:
        if random.random() < _BURST_CHANCE:
            yield from [0.05] * random.randrange(3, 8)
        yield random.expovariate(_PER_SECOND)


def demo_requests(config: Config, random: Random) -> Iterator[DemoRequest]:
    """Yield requests for the configuration's models and rules, without end."""
    listed = {model for provider in config.providers for model in provider.model_ids}
    models = sorted(model for model in listed if "embedding" not in model) or ["gpt-4o-mini"]
    rules = [rule for rule in config.policies.rules if rule.name.isascii()]  # others don't fit in a header
    conversations: list[DemoRequest] = []
    while True:
        if len(conversations) == _CONVERSATIONS and random.random() < _GOES_ON:
            request = _next_of(conversations.pop(0), random)
        else:
            request = _demo_request(models, rules, random)
        if _said(request) < _LONGEST_CONVERSATION:
            conversations = [*conversations, request][-_CONVERSATIONS:]
        yield request


def _next_of(before: DemoRequest, random: Random) -> DemoRequest:
    """Return a conversation's next request: all that was said, an answer, and a further question."""
    last = before.body["messages"][-1]["content"]
    code = last.startswith(_TASKS)
    _, answered = draw_lengths(random, code=code)
    answer = filler_text.passage(random, answered * filler_text.CHARS_PER_TOKEN, code=code)
    question = random.choice(_TASKS if code else _QUESTIONS)
    said = [*before.body["messages"], _message("assistant", answer), _message("user", question)]
    return DemoRequest({**before.body, "messages": said}, before.policy, _PATIENCE_S)


def _said(request: DemoRequest) -> int:
    return sum(len(message["content"]) for message in request.body["messages"])


def _message(role: str, content: str) -> JsonObject:
    return {"role": role, "content": content}


def _demo_request(models: Sequence[str], rules: Sequence[Rule], random: Random) -> DemoRequest:
    rule = random.choice(rules) if rules and random.random() < _NAMED_POLICY else None
    code = random.random() < _CODE
    asked, answered = draw_lengths(random, code=code)
    body: JsonObject = {"model": _model(models, rule, random), "messages": _messages(asked, random, code=code)}
    if code or random.random() < _LIMITED:
        body["max_tokens"] = min(answered, _LONGEST_ANSWER)
    if random.random() < _STREAMED:
        body["stream"] = True
    patience_s = random.uniform(0.2, 1.2) if random.random() < _LEAVES else _PATIENCE_S
    return DemoRequest(body, None if rule is None else rule.name, patience_s)


def _model(models: Sequence[str], rule: Rule | None, random: Random) -> str:
    return random.choice([model for model in models if rule is None or rule.allows(model)] or models)


def _messages(tokens: int, random: Random, *, code: bool) -> list[JsonObject]:
    """Return a conversation of about that many tokens that ends with a question."""
    question = random.choice(_TASKS if code else _QUESTIONS)
    chars = max(0, tokens * filler_text.CHARS_PER_TOKEN - len(question))
    context = filler_text.passage(random, chars, code=code)
    if code or not context:
        return [{"role": "user", "content": f"{question}\n\n{context}".rstrip()}]
    return [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": f"{context}\n\n{question}"},
    ]
