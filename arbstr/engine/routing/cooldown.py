"""Pauses while a provider's circuit breaker is closed.

A *cool-down* applies to one model at one provider (it no longer has the model, or its own upstream has failed), to a
provider's money (the balance there is short at the moment), or to a key that the provider does not take, until it does.
None says anything about how well the provider serves other requests.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from arbstr.errors import AttemptError

MODEL_GONE_S = 600.0
UPSTREAM_DOWN_S = 30.0
MONEY_SHORT_S = 10.0  # requests in flight reserve money for moments, and a refusal by an empty account is free
REMEMBERED = 4096  # models: a provider may accept any model name

BODIES_REMEMBERED = 1024
BODY_REMEMBERED_S = 600.0

_PAYMENT_REQUIRED = 402
_FAILED_DEPENDENCY = 424


class Cooldowns:
    """The active cool-downs, by model (None: every model) and provider.

    `clock` is monotonic seconds. `is_balance_known` returns whether the balance at a provider is known: then that says
    when its money has rested enough, and no time does.
    """

    def __init__(
        self, clock: Callable[[], float], is_balance_known: Callable[[str], bool] = lambda provider: False
    ) -> None:
        self._clock = clock
        self._is_balance_known = is_balance_known
        self._active: dict[str | None, dict[str, tuple[float, str]]] = {}
        self._keys: dict[str, str] = {}
        self.on_change: Callable[[str, str | None], None] = lambda provider, model: None  # called when one begins here

    def take_over(self, before: Cooldowns, staying: Collection[str]) -> None:
        """Go on with an earlier configuration's cool-downs, those of the providers that stay."""
        self.on_change = before.on_change
        self._active, self._keys = before._active, before._keys
        for provider in [name for name in self._keys if name not in staying]:
            del self._keys[provider]
        for model, active in self._active.items():
            self._active[model] = {name: rest for name, rest in active.items() if name in staying}

    def failed(self, provider: str, model: str, error: AttemptError) -> None:
        """Start the cool-down that this failure calls for, if any."""
        if error.kind == "stale_catalogue":
            self._rest(model, provider, MODEL_GONE_S, "it reported that it does not have this model")
        elif error.status == _FAILED_DEPENDENCY:
            self._rest(model, provider, UPSTREAM_DOWN_S, "its own upstream for this model failed")
        elif error.status == _PAYMENT_REQUIRED and not self._is_balance_known(provider):
            self._rest(None, provider, MONEY_SHORT_S, "the balance there was insufficient")

    def succeeded(self, provider: str, model: str) -> None:
        """End the cool-downs that this success refutes."""
        if self._active:
            for named in (model, None):
                self._active.get(named, {}).pop(provider, None)

    def set_key_problem(self, provider: str, problem: str | None) -> None:
        """Set why a provider does not take the key there, None if it does."""
        if problem is None:
            self._keys.pop(provider, None)
        else:
            self._keys[provider] = problem

    def reasons(self, model: str) -> Mapping[str, str]:
        """Return the providers that are cooling down for this model, each with the reason."""
        if not self._active:
            return self._keys
        return self._keys | self._current(None) | self._current(model)

    def _current(self, model: str | None) -> dict[str, str]:
        active = self._active.get(model)
        if not active:
            return {}
        now_s = self._clock()
        current = {provider: rest for provider, rest in active.items() if rest[0] > now_s}
        if current:
            self._active[model] = current
        else:
            del self._active[model]
        return {provider: reason for provider, (_, reason) in current.items()}

    def left(self, provider: str, model: str | None) -> tuple[float, str]:
        """Return for how many seconds more a provider rests for a model, and why; 0 if it does not."""
        until_s, reason = self._active.get(model, {}).get(provider, (0.0, ""))
        return max(0.0, until_s - self._clock()), reason

    def hear(self, provider: str, model: str | None, seconds: float, reason: str) -> None:
        """Begin a cool-down that another instance has found to be due, of ten minutes at most."""
        seconds = min(seconds, MODEL_GONE_S if model is not None else MONEY_SHORT_S)
        if seconds > self.left(provider, model)[0] and not (model is None and self._is_balance_known(provider)):
            self._begin(model, provider, seconds, reason)

    def _rest(self, model: str | None, provider: str, seconds: float, reason: str) -> None:
        self._begin(model, provider, seconds, reason)
        self.on_change(provider, model)

    def _begin(self, model: str | None, provider: str, seconds: float, reason: str) -> None:
        active = self._active.pop(model, {})
        if len(self._active) >= REMEMBERED:
            del self._active[next(iter(self._active))]
        self._active[model] = active | {provider: (self._clock() + seconds, reason)}


class FailedBodies:
    """The request bodies that have failed at a provider, so that one that is sent again does not count again.

    Clients retry what failed, often at once: a body that no provider can serve would otherwise open every breaker.
    """

    def __init__(self) -> None:
        self._latest_s: dict[int, float] = {}

    def is_repeated(self, body: bytes, now_s: float) -> bool:
        """Record that the body has failed at `now_s`; return whether it had failed in the ten minutes before."""
        digest = hash(body)
        before_s = self._latest_s.pop(digest, None)
        self._latest_s[digest] = now_s  # the newest at the end
        if len(self._latest_s) > BODIES_REMEMBERED:
            del self._latest_s[next(iter(self._latest_s))]
        return before_s is not None and now_s - before_s < BODY_REMEMBERED_S
