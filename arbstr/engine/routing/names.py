"""Names of models: what a requested name stands for, who sells that model, as what, and at which rates."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Literal

from arbstr.config.aliases import Aliases
from arbstr.config.schema import Config, Provider, is_pattern
from arbstr.engine.node_reservation import ReservationTerms
from arbstr.engine.routing.listing import ListedModel, Listing
from arbstr.sanitize import quoted
from arbstr.types import Price, PriceSource, Rates

Standing = Literal[
    "listed",  # on the provider's list, or that has never been read and it may have any model
    "unlisted",  # not on the list, but a list is not all that a provider may have
    "doubted",  # listed, but long ago
    "absent",  # not sold there
    "unread",  # a node's list decides what it sells, and has not been read yet
]

_NAMED = 100  # in an error message
_SHOWN = 100  # characters of a name, there
_REMEMBERED = 4096  # requested names; clients may send any


class Reading:
    """The latest reading of a provider's list: `at_s` is when, by the clock of `ModelNames`."""

    __slots__ = ("at_s",)

    def __init__(self) -> None:
        self.at_s = 0.0


class ModelNames:
    """Resolves names of models. `version` grows with each change to what providers list.

    `configured` are the models of the configuration, `aliases` those that are no patterns. `clock` is monotonic
    seconds.
    """

    def __init__(self, config: Config, clock: Callable[[], float] = time.monotonic) -> None:
        usable = (provider for provider in config.providers if not provider.is_inert)
        self.configured = tuple(dict.fromkeys(model for provider in usable for model in provider.model_ids))
        self.aliases = {name: model for name, model in config.aliases.items() if not is_pattern(name)}
        self.version = 0
        self._aliases = Aliases(config.aliases, self.configured)
        self._spelled = {model.casefold(): model for model in reversed(self.configured)}
        self._clock = clock
        self._listings: dict[str, Listing] = {}
        self._readings: dict[str, Reading] = {}
        self._doubted: set[str] = set()  # providers whose lists are old
        # By provider and model. The configuration's own look-ups are slow, and every request needs several.
        self.known_rates: dict[tuple[str, str], Rates] = {}
        self._ids: dict[tuple[str, str], str] = {}
        self._price_lists: dict[str, dict[str, tuple[float, float, float]]] = {}
        self._resolved: dict[str, str] = {}

    def resolve(self, asked: str) -> str:
        """Return the model that a requested name stands for, in the case of those who list it."""
        return self._resolved.get(asked) or self._resolve(asked)

    def _resolve(self, asked: str) -> str:
        model = self._aliases.resolve(asked)
        folded = model.casefold()
        spelled = self._spelled.get(folded) or next(
            (name for listing in self._listings.values() if (name := listing.spelled(folded))), model
        )
        if len(self._resolved) >= _REMEMBERED:
            self._resolved.clear()
        self._resolved[asked] = spelled
        return spelled

    def learn(
        self, provider: Provider, models: tuple[ListedModel, ...], *, doubted: bool = False, age_s: float = 0.0
    ) -> None:
        """Set a provider's list, read `age_s` ago; `doubted`: that is long, and it may no longer be true."""
        self._readings.setdefault(provider.name, Reading()).at_s = self._clock() - age_s
        known = self._listings.get(provider.name)
        was_doubted = provider.name in self._doubted
        if known is not None and known.models == models and was_doubted == doubted:
            return
        (self._doubted.add if doubted else self._doubted.discard)(provider.name)
        if known is None or known.models != models:
            self._listings[provider.name] = Listing(models, cuts_dates=provider.kind == "routstr")
        self._resolved.clear()
        self.known_rates.clear()
        self._ids.clear()
        self._price_lists.clear()
        self.version += 1

    def learned(self, provider: str) -> tuple[str, ...]:
        """Return the ids on a provider's list; empty while it has not been read."""
        listing = self._listings.get(provider)
        return () if listing is None else listing.ids

    def id_at(self, provider: Provider, model: str) -> str:
        """Return what a model is called at a provider."""
        key = (provider.name, model)
        return self._ids.get(key) or self._new_id(provider, key)

    def _new_id(self, provider: Provider, key: tuple[str, str]) -> str:
        found = self._find(provider, key[1])
        if len(self._ids) >= _REMEMBERED:
            self._ids.clear()
        known = self._ids[key] = provider.upstream_id(key[1]) if found is None else found.id
        return known

    def standing(self, provider: Provider, model: str) -> Standing:
        """Return whether a provider sells a model, as far as is known."""
        if provider.is_inert or not provider.serves(model):
            return "absent"
        if provider.name not in self._listings:
            return "unread" if provider.kind == "routstr" and not provider.has_rates else "listed"
        if self._find(provider, model) is None:
            return "absent" if provider.kind == "routstr" else "unlisted"
        return "doubted" if provider.name in self._doubted else "listed"

    def rates(self, provider: Provider, model: str) -> Rates:
        """Return what a provider asks for a model: as configured, else as it says itself."""
        key = (provider.name, model)
        return self.known_rates.get(key) or self._new_rates(provider, key)

    def _new_rates(self, provider: Provider, key: tuple[str, str]) -> Rates:
        found = self._find(provider, key[1])
        listed = None if found is None else found.rates
        if len(self.known_rates) >= _REMEMBERED:
            self.known_rates.clear()
        rates = provider.rates_for(key[1]) if listed is None else provider.rates_over(listed, key[1])
        self.known_rates[key] = rates
        return rates

    def terms(self, provider: Provider, model: str) -> ReservationTerms | None:
        """Return what a node reserves for a model by, None where it does not say."""
        found = self._find(provider, model)
        return None if found is None else found.terms

    def reading(self, provider: Provider, model: str) -> Reading | None:
        """Return the reading that a provider's rates for a model come from, None where they come from no list."""
        return None if self.price_source(provider, model) == "configured" else self._readings[provider.name]

    def price_source(self, provider: Provider, model: str) -> PriceSource:
        """Return where a provider's rates for a model come from: its list, unless the file has both of its own."""
        found, filed = self._find(provider, model), provider.rates_for(model)
        if found is None or found.rates is None:
            return "configured"
        rates = self.rates(provider, model)
        if rates != found.rates and (rates.input, rates.output) == (filed.input, filed.output):
            return "configured"
        return "stale" if provider.name in self._doubted else "doubted" if found.doubted else "list"

    def price(self, provider: Provider, model: str) -> Price:
        """Return what a provider asks for a model, and where that comes from."""
        return Price(*_in_sats(self.rates(provider, model)), self.price_source(provider, model))

    def list_age_s(self, provider: str) -> float | None:
        """Return how long ago a provider's list was read, in seconds; None if it never was."""
        reading = self._readings.get(provider)
        return None if reading is None else max(self._clock() - reading.at_s, 0.0)

    def is_stale(self, provider: str) -> bool:
        """Check whether a provider's list is so old that its prices are doubted."""
        return provider in self._doubted

    def price_list(self, provider: Provider) -> Mapping[str, tuple[float, float, float]]:
        """Return input rate, output rate and fee, in sats, of each model that is configured or priced by a node."""
        listing = self._listings.get(provider.name)
        if listing is None or provider.kind != "routstr":
            return {model: _in_sats(provider.rates_for(model)) for model in provider.model_ids}
        prices = self._price_lists.get(provider.name)
        if prices is None:
            sold = [model for model in provider.model_ids or listing.ids if self.standing(provider, model) != "absent"]
            prices = {model: _in_sats(self.rates(provider, model)) for model in sold}
            self._price_lists[provider.name] = prices
        return prices

    def _find(self, provider: Provider, model: str) -> ListedModel | None:
        listing = self._listings.get(provider.name)
        return None if listing is None else listing.find(provider.upstream_id(model))

    def all(self) -> Iterator[str]:
        """Yield every model that a provider lists, then the aliases; each once, whatever its case."""
        learned = (model for listing in self._listings.values() for model in listing.ids)
        seen: set[str] = set()
        for name in (*self.configured, *learned, *self.aliases):
            if (folded := name.casefold()) not in seen:
                seen.add(folded)
                yield name


def _in_sats(rates: Rates) -> tuple[float, float, float]:
    return float(rates.input), float(rates.output), float(rates.base_fee / 1000)


def some(names: Iterable[str]) -> str:
    """Return names for an error message, comma-separated; not all where they are many."""
    known = list(names)
    more = f" and {len(known) - _NAMED} more" if len(known) > _NAMED else ""
    return (", ".join(known[:_NAMED]) or "none") + more


def shown(name: str) -> str:
    """Return a name that a client has given, in quotes, for an error message."""
    return quoted(name, _SHOWN, "'")


def wanted(model: str, path: str) -> str:
    """Return what a request is for, for an error message: its model, or the path below `/v1` if it names none."""
    return f"the model {shown(model)}" if model else f"/v1/{path}"
