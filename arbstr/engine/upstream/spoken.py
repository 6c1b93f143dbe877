"""Which dialects each provider speaks: as it is configured, else all of them until it is known better."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping

from arbstr.config.schema import Provider
from arbstr.engine.dialects.chat import CHAT
from arbstr.engine.dialects.dialect import Dialect
from arbstr.engine.dialects.registry import NAMES, TRANSLATED

logger = logging.getLogger(__name__)

UNLEARNED_S = 86_400.0
MISSED_S = 600.0  # how long a single model is not asked for again in a dialect
_ENOUGH = 2  # models that an endpoint has not been found for: then it is not there
_REMEMBERED = 4096  # models; clients may ask for any name


class SpokenDialects:
    """What providers speak. `clock` is monotonic seconds."""

    def __init__(self, providers: Iterable[Provider], clock: Callable[[], float]) -> None:
        self._providers = {provider.name: provider for provider in providers}
        self._configured = any(provider.dialects for provider in self._providers.values())
        self._unable: dict[str, dict[str, str]] = {}  # by dialect, while nothing is known but the configuration
        self._clock = clock
        self._unlearned: dict[tuple[str, str], float] = {}  # provider and dialect, until when
        self._missed: dict[tuple[str, str], dict[str, float]] = {}  # likewise, by model

    def take_over(self, before: SpokenDialects, staying: Collection[str]) -> None:
        """Go on with what was learned of the providers that stay; both learn more of them from now on."""
        self._unlearned, self._missed = before._unlearned, before._missed
        for key in [*self._unlearned, *self._missed]:
            if key[0] not in staying:
                self._unlearned.pop(key, None)
                self._missed.pop(key, None)

    def speaks(self, provider: Provider, dialect: str, model: str) -> bool:
        """Return whether a provider may be asked for a model in a dialect."""
        if provider.dialects:
            return dialect in provider.dialects or dialect not in NAMES
        if not self._unlearned and not self._missed:  # nearly always
            return True
        key, now_s = (provider.name, dialect), self._clock()
        until_s = max(self._unlearned.get(key, 0.0), self._missed.get(key, {}).get(model, 0.0))
        return until_s <= now_s

    def unable(self, dialect: str, model: str) -> Mapping[str, str]:
        """Return the providers that can't serve a model's requests in a dialect, also not translated, with reasons."""
        if not self._unlearned and not self._missed:  # nearly always
            return self._unable_by_configuration(dialect) if self._configured else {}
        return self._unable_now(dialect, model)

    def _unable_by_configuration(self, dialect: str) -> Mapping[str, str]:
        known = self._unable.get(dialect)
        if known is None:
            known = self._unable_now(dialect, "")
            if dialect in NAMES:
                self._unable[dialect] = known
        return known

    def _unable_now(self, dialect: str, model: str) -> dict[str, str]:
        return {
            name: f"it does not speak {dialect}"
            for name, provider in self._providers.items()
            if not self.speaks(provider, dialect, model)
            and (dialect not in TRANSLATED or not self.speaks(provider, CHAT.name, model))
        }

    def unlearn(self, provider: Provider, dialect: Dialect) -> None:
        """Remember that a provider has no endpoint for a dialect."""
        if not provider.dialects:
            logger.info("provider %s does not speak %s; not asked in it for a day", provider.name, dialect.name)
            self._unlearned[provider.name, dialect.name] = self._clock() + UNLEARNED_S
            self._missed.pop((provider.name, dialect.name), None)

    def missed(self, provider: Provider, dialect: Dialect, model: str) -> None:
        """Remember that a provider's 404 was about the endpoint or the model; for several models it is the former."""
        now_s = self._clock()
        models = self._missed.setdefault((provider.name, dialect.name), {})
        models[model] = now_s + MISSED_S
        if sum(until_s > now_s for until_s in models.values()) >= _ENOUGH:
            self.unlearn(provider, dialect)
        elif len(models) > _REMEMBERED:
            models.clear()

    def answered(self, provider: Provider, dialect: Dialect) -> None:
        """Remember that a provider speaks a dialect: what it has missed was about models."""
        if self._missed:
            self._missed.pop((provider.name, dialect.name), None)
