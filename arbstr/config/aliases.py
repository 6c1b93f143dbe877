"""Aliases of models: names and patterns that stand for a model. Names match without regard to case.

An alias by its exact name comes first, then a model that a provider is configured with, then the pattern with the most
characters besides `*`, of equal ones the first. What an alias stands for may be an exact alias again, but no pattern
applies to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from arbstr.config.schema import Provider, is_pattern
from arbstr.config.toml_file import key_path
from arbstr.sanitize import quoted
from arbstr.suggest import did_you_mean


class Aliases:
    """The aliases of a configuration; `models` are those that its providers list."""

    def __init__(self, aliases: Mapping[str, str], models: Iterable[str]) -> None:
        patterns = sorted(filter(is_pattern, aliases), key=lambda name: name.count("*") - len(name))
        self._exact = {name.casefold(): model for name, model in aliases.items() if not is_pattern(name)}
        self._patterns = [(expression(name), aliases[name]) for name in patterns]
        self._models = frozenset(model.casefold() for model in models)

    def resolve(self, name: str) -> str:
        """Return the model that a name stands for; the name itself if it is no alias."""
        model = self._first(name)
        return name if model is None else self.chain(name, model)[-1]

    def chain(self, name: str, model: str) -> list[str]:
        """Return the names from an alias over its model to the end; in a loop, to the first that comes again."""
        names, seen = [name], {name.casefold()}
        following: str | None = model
        while following is not None:
            names.append(following)
            folded = following.casefold()
            following = None if folded in seen else self._exact.get(folded)
            seen.add(folded)
        return names

    def _first(self, name: str) -> str | None:
        """Return what a name that was asked for stands for, None if it is no alias."""
        folded = name.casefold()
        if folded in self._exact or folded in self._models:
            return self._exact.get(folded)
        return next((model for expression, model in self._patterns if expression.fullmatch(folded)), None)


def alias_problems(
    aliases: Mapping[str, str], providers: Iterable[Provider], *, takes_any_model: bool
) -> Iterator[str]:
    """Yield what is wrong with aliases: loops, and models that no provider lists, unless one takes any model."""
    models = {model.casefold(): model for provider in providers for model in provider.model_ids}
    known = Aliases(aliases, models)
    for name, meant in aliases.items():
        *way, model = known.chain(name, meant)
        place = key_path(("aliases", name))
        if model.casefold() in map(str.casefold, way):
            yield f"{place} leads back to itself ({' → '.join((*way, model))}); name a model there"
        elif not takes_any_model and model.casefold() not in models:
            hint = did_you_mean(model, models.values()) or "name one of theirs"
            yield f"{place} is {quoted(model)}, a model that no provider lists; {hint}"


def expression(pattern: str) -> re.Pattern[str]:
    """Return the expression that a whole name has to match, in lower case, to fit a pattern."""
    return re.compile(".*".join(map(re.escape, pattern.casefold().split("*"))), re.DOTALL)
