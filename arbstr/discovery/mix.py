"""What the user buys: models and the size of requests, by which nodes are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

from arbstr.config.schema import Config
from arbstr.engine.pricing import expected_msats
from arbstr.engine.routing.listing import Listing
from arbstr.ledger.model import Stats
from arbstr.types import NO_GROUP

Source = Literal["ledger", "configuration", "default"]

_MOST_MODELS = 50
_DEFAULT = ("gpt-4o-mini", "gpt-4o", "claude-sonnet-4", "deepseek-r1")
_INPUT_TOKENS, _OUTPUT_TOKENS = 1000, 256  # of a request, where the ledger does not say


class Part(NamedTuple):
    """A model, its share of all requests, and the tokens of a request."""

    model: str
    share: float
    input_tokens: float
    output_tokens: float


class Mix(NamedTuple):
    """The parts of what is bought, their shares adding up to 1, and where that is known from."""

    parts: tuple[Part, ...]
    source: Source


class Quote(NamedTuple):
    """What a request of the mix costs at a node, on average over the part that the node sells, in sats.

    `covered` is that part, from 0 to 1; `times_cheapest` compares the cost with the lowest for each model anywhere.
    """

    sats_per_request: float
    covered: float
    times_cheapest: float | None


def mix_of(config: Config, past: Stats | None, resolve: Callable[[str], str]) -> Mix:
    """Return the mix of the ledger's requests by model, else of the configuration's models, else a usual one."""
    if past is not None and (bought := _bought(past, resolve)):
        return Mix(bought, "ledger")
    rules = (model for rule in config.policies.rules for model in (*rule.allowed_models, *rule.fallback_models))
    models = (model for provider in config.providers for model in provider.model_ids)
    named = list(dict.fromkeys(map(resolve, (*models, *rules))))[:_MOST_MODELS]
    parts = tuple(Part(model, 1 / len(named), _INPUT_TOKENS, _OUTPUT_TOKENS) for model in named)
    return Mix(parts, "configuration") if parts else Mix(_usual(), "default")


def _usual() -> tuple[Part, ...]:
    return tuple(Part(model, 1 / len(_DEFAULT), _INPUT_TOKENS, _OUTPUT_TOKENS) for model in _DEFAULT)


def _bought(past: Stats, resolve: Callable[[str], str]) -> tuple[Part, ...]:
    sums: dict[str, list[int]] = {}
    for asked, figures in past.groups.items():
        if figures.success and asked not in ("", NO_GROUP) and figures.input_tokens:
            known = sums.setdefault(resolve(asked), [0, 0, 0])
            for index, number in enumerate((figures.success, figures.input_tokens, figures.output_tokens)):
                known[index] += number
    most = sorted(sums.items(), key=lambda item: -item[1][0])[:_MOST_MODELS]
    total = sum(requests for _, (requests, *_) in most)
    return tuple(Part(model, count / total, spent_in / count, out / count) for model, (count, spent_in, out) in most)


def quotes(listings: Sequence[Listing | None], mix: Mix) -> list[Quote | None]:
    """Return what the mix costs by each list of prices; None for one that has none of its models."""
    costs = [_costs(listing, mix.parts) for listing in listings]
    cheapest = [_least(column) for column in zip(*costs, strict=True)]
    return [_quote(row, cheapest, mix.parts) for row in costs]


def _costs(listing: Listing | None, parts: Iterable[Part]) -> list[float | None]:
    """Return what a request of each part costs, in msats; None where the model is not sold."""
    return [_cost(listing, part) for part in parts]


def _cost(listing: Listing | None, part: Part) -> float | None:
    found = None if listing is None else listing.find(part.model)
    if found is None or found.rates is None:
        return None
    return expected_msats(found.rates, part.input_tokens, part.output_tokens)


def _least(costs: Iterable[float | None]) -> float:
    return min((cost for cost in costs if cost is not None), default=0.0)


def _quote(costs: Sequence[float | None], cheapest: Sequence[float], parts: Sequence[Part]) -> Quote | None:
    sold = [
        (part.share, cost, least) for part, cost, least in zip(parts, costs, cheapest, strict=True) if cost is not None
    ]
    covered = sum(share for share, _, _ in sold)
    if not covered:
        return None
    cost = sum(share * cost for share, cost, _ in sold)
    best = sum(share * least for share, _, least in sold)
    return Quote(cost / covered / 1000, min(covered, 1.0), cost / best if best else None)
