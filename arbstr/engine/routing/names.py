"""Names of models: what a requested name stands for, who lists that model, and what it is called there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from arbstr.config.aliases import Aliases
from arbstr.config.schema import Config, Provider, is_pattern

_NAMED = 100  # in an error message
_REMEMBERED = 4096  # requested names; clients may send any
_DATE = re.compile(r"[-@]20\d\d-?[01]\d-?[0-3]\d$")


class ModelNames:
    """Resolves names of models. `version` grows with each change to what providers list.

    `configured` are the models of the configuration, `aliases` those that are no patterns.
    """

    def __init__(self, config: Config) -> None:
        self.configured = tuple(dict.fromkeys(model for provider in config.providers for model in provider.model_ids))
        self.aliases = {name: model for name, model in config.aliases.items() if not is_pattern(name)}
        self.version = 0
        self._aliases = Aliases(config.aliases, self.configured)
        self._spelled = {model.casefold(): model for model in reversed(self.configured)}
        self._listings: dict[str, Listing] = {}
        self._resolved: dict[str, str] = {}

    def resolve(self, asked: str) -> str:
        """Return the model that a requested name stands for, in the case of those who list it."""
        return self._resolved.get(asked) or self._resolve(asked)

    def _resolve(self, asked: str) -> str:
        model = self._aliases.resolve(asked)
        folded = model.casefold()
        spelled = self._spelled.get(folded) or next(
            (name for listing in self._listings.values() if (name := listing.by_name.get(folded))), model
        )
        if len(self._resolved) >= _REMEMBERED:
            self._resolved.clear()
        self._resolved[asked] = spelled
        return spelled

    def learn(self, provider: str, models: tuple[str, ...]) -> None:
        """Set the list of a provider that is configured without models."""
        if self.learned(provider) != models:
            self._listings[provider] = Listing(models)
            self._resolved.clear()
            self.version += 1

    def learned(self, provider: str) -> tuple[str, ...]:
        """Return what a provider that is configured without models lists; empty while that is unknown."""
        listing = self._listings.get(provider)
        return () if listing is None else listing.models

    def id_at(self, provider: Provider, model: str) -> str:
        """Return what a model is called at a provider."""
        listing = self._listings.get(provider.name)
        return provider.upstream_id(model) if listing is None else listing.find(model) or model

    def is_listed(self, provider: Provider, model: str) -> bool:
        """Return whether a provider lists a model; one whose list is unknown may have any."""
        listing = self._listings.get(provider.name)
        return provider.serves(model) if listing is None else listing.find(model) is not None

    def all(self) -> Iterator[str]:
        """Yield every model that a provider lists, then the aliases; each once, whatever its case."""
        learned = (model for listing in self._listings.values() for model in listing.models)
        seen: set[str] = set()
        for name in (*self.configured, *learned, *self.aliases):
            if (folded := name.casefold()) not in seen:
                seen.add(folded)
                yield name


class Listing:
    """The models that a provider says it has, found without regard to case, vendor prefix and date.

    A model may be asked for without its prefix (`openai/gpt-4o` as `gpt-4o`), with one that it lacks there, and without
    its date; not with another date, for who asks for a date means it. What two models could mean stands for neither.
    """

    def __init__(self, models: tuple[str, ...]) -> None:
        self.models = models
        self.by_name = {model.casefold(): model for model in reversed(models)}
        self._by_part: dict[str, str | None] = {}
        for model in self.by_name.values():
            for part in {_bare(model), _undated(model), _undated(_bare(model))}:
                folded = part.casefold()
                self._by_part[folded] = model if folded not in self._by_part else None

    def find(self, name: str) -> str | None:
        """Return the id of a model there, None if it is not listed."""
        folded = name.casefold()
        return self.by_name.get(folded) or self._by_part.get(folded) or self.by_name.get(_bare(folded))


def _bare(model: str) -> str:
    """Return the name without the vendor before the first slash."""
    return model.partition("/")[2] or model


def _undated(model: str) -> str:
    return _DATE.sub("", model)


def some(names: Iterable[str]) -> str:
    """Return names for an error message, comma-separated; not all where they are many."""
    known = list(names)
    more = f" and {len(known) - _NAMED} more" if len(known) > _NAMED else ""
    return (", ".join(known[:_NAMED]) or "none") + more
