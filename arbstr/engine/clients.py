"""The clients that have keys of their own: whose a key is, what it may ask for, and how often."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from arbstr.config.aliases import expression
from arbstr.config.clients import ClientSettings, digest_of
from arbstr.config.schema import is_pattern
from arbstr.engine.routing.names import shown, some
from arbstr.engine.token_bucket import TokenBucket
from arbstr.errors import ModelNotAllowed, RateLimited

_REMEMBERED = 4096  # models


class KnownClient:
    """A client of the configuration. `expires_ms` is when its key ceases to be good, None for never."""

    def __init__(self, settings: ClientSettings, resolve: Callable[[str], str], clock: Callable[[], float]) -> None:
        self.name = settings.name
        self.policy = settings.policy
        self.expires_ms = settings.expires_ms
        self._allowed_models = settings.allowed_models
        self._models = _allowed(settings.allowed_models, resolve)
        self._patterns = [expression(text) for text in settings.allowed_models if is_pattern(text)]
        self._known: dict[tuple[str, str], bool] = {}  # clients may ask for any name
        self._rate = TokenBucket(settings.rate_limit_rps, clock) if settings.rate_limit_rps else None

    def is_named(self, name: str | None) -> bool:
        """Return whether that is its name; case does not matter, as in the ledger."""
        return name is not None and name.casefold() == self.name.casefold()

    def take(self) -> None:
        """Count a request for inference. Raises `RateLimited`."""
        if self._rate is not None and (wait_s := self._rate.take()):
            rate = f"{self._rate.per_second:g} requests per second"
            message = f"More than {rate}, the limit of the client {shown(self.name)} (rate_limit_rps)."
            raise RateLimited(message, retry_after_s=wait_s)

    def take_over(self, before: KnownClient) -> None:
        """Go on with its rate under an earlier configuration, if that is the same."""
        if self._rate and before._rate and self._rate.per_second == before._rate.per_second:
            self._rate = before._rate

    def allows(self, asked: str, model: str) -> bool:
        """Return whether it may ask for a model by this name; `model` is what that stands for."""
        if not self._allowed_models:
            return True
        known = self._known.get((asked, model))
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            names = {asked.casefold(), model.casefold()}
            fits = any(pattern.fullmatch(name) for pattern in self._patterns for name in names)
            known = self._known[asked, model] = fits or not names.isdisjoint(self._models)
        return known

    def check_model(self, asked: str, model: str) -> None:
        """Raise `ModelNotAllowed` unless it may ask for a model by this name."""
        if not self.allows(asked, model):
            what = f"may not use the model {shown(asked)}" if asked else "has to name a model"
            message = f"The client {shown(self.name)} {what}; it may use: {some(self._allowed_models)}."
            raise ModelNotAllowed(message, param="model", policy=self.policy)

    def __repr__(self) -> str:
        return f"<KnownClient {self.name}>"


def _allowed(models: Iterable[str], resolve: Callable[[str], str]) -> frozenset[str]:
    """Return the names of models, and what they stand for, for comparing without regard to case."""
    named = (name for model in models if not is_pattern(model) for name in (model, resolve(model)))
    return frozenset(map(str.casefold, named))


class Clients:
    """All clients of a configuration, by the digests of their keys; the keys themselves are nowhere.

    `resolve` returns what a model's name stands for; `clock` is monotonic seconds.
    """

    def __init__(
        self,
        configured: Iterable[ClientSettings] = (),
        resolve: Callable[[str], str] = lambda model: model,
        clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._by_digest = {one.key_sha256: KnownClient(one, resolve, clock) for one in configured}

    def take_over(self, before: Clients) -> None:
        """Go on with the clients of an earlier configuration, by their names: a key may have been rotated."""
        earlier = {one.name.casefold(): one for one in before._by_digest.values()}
        for client in self._by_digest.values():
            if (known := earlier.get(client.name.casefold())) is not None:
                client.take_over(known)

    def __bool__(self) -> bool:
        return bool(self._by_digest)

    def find(self, key: str) -> KnownClient | None:
        """Return whose key it is; how long that takes tells nothing of any key, since only digests are compared."""
        return self._by_digest.get(digest_of(key))
