"""The breaker of one provider, and the permits under which requests are tried there."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from arbstr.config.schema import Breaker as Settings
from arbstr.engine.routing.cooldown import Cooldowns, FailedBodies
from arbstr.errors import AttemptError
from arbstr.events import ProviderHealthChanged
from arbstr.types import BreakerState, InferenceRequest, JsonObject

WINDOW = 20  # attempts over which the failure rate is computed
RATE = 0.5  # of a full window: at this failure rate the breaker opens although there were successes
JITTER = 0.2  # up to this share longer
LEARNING = 0.2  # the weight of the newest attempt in learned figures
_PAYMENT_REQUIRED = 402
_TOO_MANY = 429


@dataclass(frozen=True, slots=True)
class HealthView:
    """A provider's state for display. Rates are 0 to 1, None before the first attempt; instants in epoch ms."""

    state: BreakerState
    in_rotation: bool
    failure_count: int
    in_flight: int
    success_rate: float | None
    latency_ms: float | None
    last_error: str | None
    open_until_ms: int | None


@dataclass(frozen=True, slots=True)
class FoundOpen:
    """What one instance tells others of a breaker that it has opened, for `left_s` more.

    `asked`: the provider has asked for the pause. `reopenings` is how often in a row it has opened again.
    """

    left_s: float
    reason: str
    reopenings: int = 0
    asked: bool = False


class Permit:
    """A request's slot at a provider: any number of failures while it retries, and one end.

    `succeeded` and `release` end it, and so does `failed` when no retry follows; later calls do nothing.
    """

    __slots__ = ("_breaker", "_cooldowns", "_held", "counted", "generation", "request")

    def __init__(self, breaker: ProviderBreaker, cooldowns: Cooldowns, request: InferenceRequest | None) -> None:
        self._breaker = breaker
        self._cooldowns = cooldowns
        self._held = True
        self.request = request
        self.counted = False  # against the provider
        self.generation = breaker.generation  # how often the breaker had opened when the attempt began

    def succeeded(self, latency_ms: float) -> None:
        """Record a success; `latency_ms` is the time to a stream's first byte, or to a whole response."""
        if self._held:
            if self.request is not None:
                self._cooldowns.succeeded(self._breaker.name, self.request.model)
            self._breaker.succeeded(latency_ms, self)
            self.release()

    def failed(self, error: AttemptError, *, again: bool = False) -> None:
        """Record a failure; `again`: the same request retries under this permit."""
        if self._held:
            if self.request is not None:
                self._cooldowns.failed(self._breaker.name, self.request.model, error)
            self._breaker.failed(error, self)
            self.generation = self._breaker.generation
            if not again:
                self.release()

    def release(self) -> None:
        """Release the slot, with no outcome if none was recorded: the client left, or its request was at fault."""
        if self._held:
            self._held = False
            self._breaker.release(self)


class ProviderBreaker:
    """The breaker of one provider."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        clock: Callable[[], float],
        now_ms: Callable[[], int],
        random: Callable[[], float],
        on_change: Callable[[ProviderHealthChanged], None],
        max_in_flight: int,
    ) -> None:
        self.name = name
        self._settings = settings
        self._clock = clock
        self._now_ms = now_ms
        self._random = random
        self._on_change = on_change
        self.max_in_flight = max_in_flight
        self.in_flight = 0
        self.in_rotation = True
        self.open_until: float | None = None  # by the clock; None when closed
        self._asked_until = 0.0  # by the clock: a pause requested by the provider
        self.generation = 0  # how often it has opened
        self._probe: Permit | None = None  # in flight while half open
        self._probe_until = 0.0  # by the clock: no other probe until then
        self._reopenings = 0
        self.is_hearsay = False  # open because another instance says so
        self._failures = 0  # in a row
        self._bodies = FailedBodies()
        self._window: deque[bool] = deque(maxlen=WINDOW)
        self._attempts = self._answers = 0  # that the next two were learned from
        self._success_rate: float | None = None
        self._latency_ms: float | None = None
        self._last_error: str | None = None
        self._reason = ""  # why it opened last

    def __repr__(self) -> str:
        rotation = "" if self.in_rotation else ", out of rotation"
        return f"<{self.name} {self.state}, {self._failures} failures, {self.in_flight} in flight{rotation}>"

    def renew(self, new: ProviderBreaker) -> None:
        """Take over the settings of another breaker."""
        self._settings, self.max_in_flight = new._settings, new.max_in_flight

    @property
    def state(self) -> BreakerState:
        """Whether it is closed, open or half open now."""
        if self.open_until is None:
            return "closed"
        return "open" if self._clock() < self.open_until else "half_open"

    @property
    def may_hold_back(self) -> bool:
        """Whether it can be unavailable before the next change of its state, which is published."""
        return self.open_until is not None or self.max_in_flight > 0 or not self.in_rotation

    def available(self) -> bool:
        """Return whether the provider may be asked now."""
        if not self.in_rotation or (self.max_in_flight and self.in_flight >= self.max_in_flight):
            return False
        return self.open_until is None or (self._clock() >= self.open_until and not self.is_probed())

    def is_probed(self) -> bool:
        """Return whether a probe is in flight that still blocks others."""
        return self._probe is not None and self._clock() < self._probe_until

    def takes_early_probe(self) -> bool:
        """Return whether a request may probe it before its time."""
        has_room = not self.max_in_flight or self.in_flight < self.max_in_flight
        return self.in_rotation and has_room and self.state == "open" and not (self.is_probed() or self._must_wait())

    def _must_wait(self) -> bool:
        """Return whether a pause requested by the provider is still running."""
        return self.state == "open" and self._clock() < self._asked_until

    def admit(self, permit: Permit) -> Permit:
        """Count a request as under way; while the breaker is not closed it is the probe."""
        if self.open_until is not None:
            self._probe = permit
            self._probe_until = self._clock() + self._settings.open_for
            if self.state == "half_open":
                self._publish("open", "half_open", "probing with one request")
        self.in_flight += 1
        return permit

    def succeeded(self, latency_ms: float, permit: Permit) -> None:
        """Record a success of that permit's request."""
        self._learn(success=True)
        self._answers += 1
        self._latency_ms = _learned(self._latency_ms, latency_ms)
        if self.open_until is None:
            self._failures = 0
        elif permit.generation == self.generation and not self._must_wait():
            self.close("an attempt succeeded")

    def failed(self, error: AttemptError, permit: Permit) -> None:
        """Record a failure of that permit's request."""
        if error.counts_for_breaker or error.status == _PAYMENT_REQUIRED:
            self._last_error = str(error)
        if not error.counts_for_breaker:
            return
        asked_s = min(error.retry_after_s or 0.0, self._settings.max_open_for)
        self._asked_until = max(self._asked_until, self._clock() + asked_s)
        if error.status == _TOO_MANY and asked_s:
            self._open(asked_s, "it asked for a pause")
        elif not permit.counted and not self._failed_before(error, permit):
            permit.counted = True
            self._count(permit)

    def _failed_before(self, error: AttemptError, permit: Permit) -> bool:
        """Return whether the request's body has failed here already; it can't be at fault if it never arrived."""
        request = permit.request
        return request is not None and error.reached and self._bodies.is_repeated(request.body, self._clock())

    def _count(self, permit: Permit) -> None:
        """Count a failure, and open the breaker if a threshold is reached."""
        self._learn(success=False)
        self._failures += 1
        if self.open_until is None:
            self._open_if_failing()
        elif permit.generation == self.generation:
            if self.state == "half_open":
                self._reopenings += 1
                self._open(self._pause_s(), "the probe failed")
            elif permit is self._probe:  # does not lengthen the next pause
                self._open(self._pause_s(), "the early probe failed")

    def _open_if_failing(self) -> None:
        failed = self._window.count(False)
        if self._failures >= self._settings.failure_threshold:
            self._open(self._pause_s(), f"{self._failures} failures in a row")
        elif len(self._window) == WINDOW and failed >= RATE * WINDOW:
            self._open(self._pause_s(), f"{failed} of the last {WINDOW} attempts failed")

    def release(self, permit: Permit) -> None:
        """Count a request as ended."""
        self.in_flight -= 1
        if permit is self._probe:
            self._probe = None

    def close(self, reason: str) -> None:
        """Close it, and forget its failures."""
        old = self.state
        self.open_until = None
        self.is_hearsay = False
        self._asked_until = 0.0
        self._probe = None
        self._reopenings = 0
        self._failures = 0
        self._window.clear()
        if old != "closed":
            self._publish(old, "closed", reason)

    def hear_open(self, found: FoundOpen) -> None:
        """Open it because another instance has; what was found here itself is not forgotten.

        A pause that the provider asked for counts in full. Any other is no longer than a first one: each instance may
        soon try for itself, and goes on where the other is if it fails too.
        """
        longest_s = self._settings.max_open_for if found.asked else self._settings.open_for * (1 + JITTER)
        left_s = min(found.left_s, longest_s)
        if left_s <= 0 or self.is_probed():
            return
        if found.asked:
            self._asked_until = max(self._asked_until, self._clock() + left_s)
        self._reopenings = max(self._reopenings, found.reopenings)
        if self.open_until is not None and self.open_until >= self._clock() + left_s:
            return
        was_own = self.open_until is not None and not self.is_hearsay
        self._open(left_s, self._reason if was_own else f"another arbstr found: {found.reason}")
        self.is_hearsay = not was_own

    def hear_close(self) -> None:
        """Close it because another instance has; a pause that the provider asked for goes on."""
        if self.open_until is not None and not self._must_wait():
            self.close("it works for another arbstr")

    @property
    def found_open(self) -> FoundOpen | None:
        """What others may hear of this breaker: why and for how long it is open by what was found here, if it is."""
        if self.open_until is None or self.is_hearsay:
            return None
        now_s = self._clock()
        return FoundOpen(self.open_until - now_s, self._reason, self._reopenings, asked=now_s < self._asked_until)

    def set_in_rotation(self, in_rotation: bool) -> None:
        """Take the provider out of rotation, or put it back."""
        if in_rotation != self.in_rotation:
            self.in_rotation = in_rotation
            self._publish(self.state, self.state, "put back into rotation" if in_rotation else "taken out of rotation")

    def view(self) -> HealthView:
        """Return the state for display."""
        open_for = None if self.open_until is None else self.open_until - self._clock()
        return HealthView(
            state=self.state,
            in_rotation=self.in_rotation,
            failure_count=self._failures,
            in_flight=self.in_flight,
            success_rate=self._success_rate,
            latency_ms=self._latency_ms,
            last_error=self._last_error,
            open_until_ms=None if open_for is None else self._now_ms() + int(open_for * 1000),
        )

    def export(self) -> JsonObject:
        """Return what is kept over a restart."""
        view = self.view()
        return {
            "open_until_ms": view.open_until_ms,
            "asked": self._clock() < self._asked_until,
            "reopenings": self._reopenings,
            **self.figures(),
        }

    def figures(self) -> JsonObject:
        """Return what was learned of the provider, with the numbers of observations."""
        return {
            "attempts": self._attempts,
            "success_rate": self._success_rate,
            "answers": self._answers,
            "latency_ms": self._latency_ms,
        }

    def restore(self, saved: JsonObject) -> None:
        """Restore what `export` or `figures` returned, as far as it is valid."""
        self._success_rate = _number(saved.get("success_rate"), 1.0)
        self._latency_ms = _number(saved.get("latency_ms"), 3_600_000.0)
        self._attempts = _count(saved.get("attempts"), self._success_rate)
        self._answers = _count(saved.get("answers"), self._latency_ms)
        until_ms = _number(saved.get("open_until_ms"), 1e15)
        pause_s = 0.0 if until_ms is None else (until_ms - self._now_ms()) / 1000
        if 0 < pause_s <= self._settings.max_open_for:
            self._reopenings = int(_number(saved.get("reopenings"), 30.0) or 0)
            self.open_until = self._clock() + pause_s
            self._asked_until = self.open_until if saved.get("asked") is True else 0.0

    def _open(self, pause_s: float, reason: str) -> None:
        old = self.state
        self.generation += 1
        self.is_hearsay = False
        self._reason = reason
        until = self._clock() + pause_s
        self.open_until = until if self.open_until is None else max(until, self.open_until)
        self._publish(old, "open", reason)

    def _pause_s(self) -> float:
        """Return how long to stay open this time, in seconds."""
        pause_s = self._settings.open_for * 2.0 ** min(self._reopenings, 30)
        return min(pause_s * (1 + JITTER * self._random()), self._settings.max_open_for)

    def _learn(self, *, success: bool) -> None:
        self._window.append(success)
        self._attempts += 1
        self._success_rate = _learned(self._success_rate, float(success))

    def _publish(self, old: BreakerState, new: BreakerState, reason: str) -> None:
        view = self.view()
        self._on_change(
            ProviderHealthChanged(
                self.name, self._now_ms(), old, new, reason, view.open_until_ms, in_rotation=self.in_rotation
            )
        )


def _learned(so_far: float | None, newest: float) -> float:
    """Return the exponentially weighted mean."""
    return newest if so_far is None else so_far + LEARNING * (newest - so_far)


def _number(value: object, most: float) -> float | None:
    """Return a number from 0 to `most`, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        return None
    return float(value)


def _count(value: object, learned: float | None) -> int:
    """Return how many observations something was learned from: one at least, where that is not known."""
    return 0 if learned is None else int(_number(value, 2.0**53) or 1)
