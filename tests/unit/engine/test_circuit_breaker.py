"""When a provider is left alone, for how long, and what brings it back."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule

from arbstr.config.schema import Breaker
from arbstr.engine.circuit_breaker import CircuitBreakers
from arbstr.engine.provider_breaker import JITTER, WINDOW, Permit
from arbstr.engine.routing.cooldown import BODIES_REMEMBERED, BODY_REMEMBERED_S, FailedBodies
from arbstr.errors import AttemptError
from arbstr.events import ProviderHealthChanged
from arbstr.types import InferenceRequest
from tests.support.clock import Clock
from tests.support.engine_builders import chat

SETTINGS = Breaker(failure_threshold=3, open_for=30, max_open_for=100)
WALL_MS = 1_700_000_000_000
DOWN = AttemptError("status", "503 Service Unavailable", status=503, retryable=True)


class BreakerHarness:
    """A provider `a` (and a `b`) with breakers, a clock, and the changes they reported."""

    def __init__(self, *, chance: float = 0.0, limit: int = 0, settings: Breaker = SETTINGS) -> None:
        self.clock = Clock()
        self.changes: list[ProviderHealthChanged] = []
        self.breakers = CircuitBreakers(
            ["a", "b"],
            settings,
            clock=self.clock,
            now_ms=self.now_ms,
            random=lambda: chance,
            on_change=self.changes.append,
            limits={"a": limit},
        )

    def now_ms(self) -> int:
        return WALL_MS + round((self.clock.now - 1000) * 1000)

    @property
    def state(self) -> str:
        return self.breakers.view("a").state

    @property
    def transitions(self) -> list[tuple[str, str]]:
        return [(event.old, event.new) for event in self.changes]

    def permit(self, request: InferenceRequest | None = None, *, early: bool = False) -> Permit:
        permit = self.breakers.acquire("a", request, early=early)
        assert permit is not None
        return permit

    def fail(self, times: int = 1, error: AttemptError = DOWN) -> None:
        for _ in range(times):
            self.permit().failed(error)

    def fail_with(self, *bodies: bytes, error: AttemptError = DOWN) -> None:
        """Requests with these bodies fail."""
        for body in bodies:
            self.permit(chat(body=body)).failed(error)

    def succeed(self, times: int = 1) -> None:
        for _ in range(times):
            self.permit().succeeded(100)

    def open(self) -> None:
        self.fail(3)
        assert self.state == "open"

    def pause_s(self) -> float:
        """Seconds until a probe is let through."""
        pause_s = self.breakers.reopens_in_s("a")
        assert pause_s is not None
        return pause_s

    def pass_pause(self) -> None:
        self.clock.now += self.pause_s()


@pytest.fixture
def breaker() -> BreakerHarness:
    return BreakerHarness()


def too_many(retry_after_s: float | None) -> AttemptError:
    return AttemptError("status", "429 Too Many Requests", status=429, retry_after_s=retry_after_s)


# --- opening


def test_failures_in_a_row_open_the_breaker(breaker: BreakerHarness) -> None:
    breaker.fail(2)
    assert "a" not in breaker.breakers.unavailable()
    breaker.fail()
    assert breaker.state == "open"
    assert "a" in breaker.breakers.unavailable()
    assert breaker.breakers.acquire("a") is None


def test_a_success_between_restarts_the_count_of_failures(breaker: BreakerHarness) -> None:
    breaker.fail(2)
    breaker.succeed()
    breaker.fail(2)
    assert breaker.state == "closed"


def test_half_of_the_last_attempts_failing_opens_although_successes_come_between(breaker: BreakerHarness) -> None:
    for _ in range(WINDOW // 2 - 1):
        breaker.succeed()
        breaker.fail()
    breaker.succeed()
    assert breaker.state == "closed"
    breaker.fail()
    assert breaker.state == "open"
    assert breaker.changes[-1].reason == f"{WINDOW // 2} of the last {WINDOW} attempts failed"


def test_a_few_failures_among_many_successes_do_not_open(breaker: BreakerHarness) -> None:
    for _ in range(WINDOW):
        breaker.succeed(2)
        breaker.fail()
    assert breaker.state == "closed"


def test_providers_do_not_share_a_breaker(breaker: BreakerHarness) -> None:
    breaker.open()
    assert "b" not in breaker.breakers.unavailable()


@pytest.mark.parametrize("kind", ["status", "connect", "timeout", "bad_response"])
def test_every_failure_of_the_service_counts(breaker: BreakerHarness, kind: Any) -> None:
    breaker.fail(3, AttemptError(kind, "no"))
    assert breaker.state == "open"


def test_a_stale_catalogue_is_no_failure(breaker: BreakerHarness) -> None:
    breaker.fail(10, AttemptError("stale_catalogue", "unknown model", status=404))
    view = breaker.breakers.view("a")
    assert (view.state, view.failure_count, view.success_rate, view.last_error) == ("closed", 0, None, None)


def test_clients_that_leave_and_refused_requests_are_no_failures(breaker: BreakerHarness) -> None:
    for _ in range(10):
        breaker.permit().release()
    view = breaker.breakers.view("a")
    assert (view.state, view.failure_count, view.in_flight, view.success_rate) == ("closed", 0, 0, None)


# --- 429


def test_a_429_that_says_when_opens_for_just_that_time_and_is_no_failure(breaker: BreakerHarness) -> None:
    breaker.fail(error=too_many(7))
    assert breaker.pause_s() == 7
    assert breaker.breakers.view("a").failure_count == 0
    assert breaker.breakers.view("a").success_rate is None
    breaker.clock.now += 7
    breaker.succeed()
    assert breaker.state == "closed"


def test_a_429_that_does_not_say_when_is_a_failure(breaker: BreakerHarness) -> None:
    breaker.fail(3, too_many(None))
    assert breaker.state == "open"
    assert breaker.breakers.view("a").failure_count == 3


def test_a_503_that_says_when_is_a_failure(breaker: BreakerHarness) -> None:
    breaker.fail(error=AttemptError("status", "503", status=503, retry_after_s=7))
    assert (breaker.state, breaker.breakers.view("a").failure_count) == ("closed", 1)


def test_a_later_429_never_shortens_a_pause(breaker: BreakerHarness) -> None:
    early, late = breaker.permit(), breaker.permit()
    early.failed(too_many(20))
    late.failed(too_many(5))
    assert breaker.pause_s() == 20


@pytest.mark.parametrize("asked_s", [101.0, 57_600.0, 1e9, math.inf])
def test_a_429_that_asks_for_more_than_max_open_for_gets_that(breaker: BreakerHarness, asked_s: float) -> None:
    breaker.fail(error=too_many(asked_s))
    assert breaker.pause_s() == SETTINGS.max_open_for


def test_an_answer_to_another_request_does_not_end_the_time_asked_for(breaker: BreakerHarness) -> None:
    other = breaker.permit()
    breaker.fail(error=too_many(20))
    other.succeeded(100)
    assert breaker.pause_s() == 20


# --- probing


def test_after_the_pause_one_request_probes_and_no_other_waits_for_it(breaker: BreakerHarness) -> None:
    breaker.open()
    breaker.pass_pause()
    assert breaker.state == "half_open"
    breaker.permit()
    assert "a" in breaker.breakers.unavailable()
    assert breaker.breakers.acquire("a") is None


def test_asking_whether_it_is_available_takes_no_place(breaker: BreakerHarness) -> None:
    breaker.open()
    breaker.pass_pause()
    assert all("a" not in breaker.breakers.unavailable() for _ in range(3))


def test_a_probe_that_succeeds_closes(breaker: BreakerHarness) -> None:
    breaker.open()
    breaker.pass_pause()
    breaker.succeed()
    assert breaker.transitions == [("closed", "open"), ("open", "half_open"), ("half_open", "closed")]
    breaker.fail(2)
    assert breaker.state == "closed", "old failures are forgotten"


def test_each_probe_that_fails_doubles_the_pause_up_to_the_most(breaker: BreakerHarness) -> None:
    breaker.open()
    pauses = [breaker.pause_s()]
    for _ in range(4):
        breaker.pass_pause()
        breaker.fail()
        pauses.append(breaker.pause_s())
    assert pauses == [30, 60, 100, 100, 100]


def test_once_closed_the_pause_begins_small_again(breaker: BreakerHarness) -> None:
    breaker.open()
    breaker.pass_pause()
    breaker.fail()
    breaker.pass_pause()
    breaker.succeed()
    breaker.open()
    assert breaker.pause_s() == 30


def test_pauses_are_lengthened_by_chance_so_that_not_all_come_back_at_once() -> None:
    breaker = BreakerHarness(chance=0.5)
    breaker.open()
    assert breaker.pause_s() == pytest.approx(33)  # a fifth at most


def test_a_probe_whose_client_leaves_gives_its_place_to_the_next(breaker: BreakerHarness) -> None:
    breaker.open()
    breaker.pass_pause()
    breaker.permit().release()
    breaker.succeed()
    assert breaker.state == "closed"


def test_a_probe_that_lasts_long_keeps_others_away_for_one_pause_only(breaker: BreakerHarness) -> None:
    breaker.open()
    breaker.pass_pause()
    slow = breaker.permit()
    breaker.clock.now += SETTINGS.open_for - 0.01
    assert "a" in breaker.breakers.unavailable()
    breaker.clock.now += 0.01
    second = breaker.permit()
    slow.succeeded(100)
    assert breaker.state == "closed"
    second.succeeded(100)
    assert breaker.breakers.view("a").in_flight == 0


def test_a_probe_that_is_tried_again_reopens_only_once(breaker: BreakerHarness) -> None:
    breaker.open()
    breaker.pass_pause()
    probe = breaker.permit()
    probe.failed(DOWN, again=True)
    breaker.clock.now += 1
    probe.failed(DOWN, again=True)
    breaker.clock.now += 2
    probe.failed(DOWN)
    assert breaker.pause_s() == 57, "two pauses of thirty seconds, three of which have passed"


def test_a_try_begun_after_the_breaker_opened_closes_it(breaker: BreakerHarness) -> None:
    """The retry of the request whose own failure opened it is news; nothing is gained by waiting."""
    breaker.fail(2)
    permit = breaker.permit()
    permit.failed(DOWN, again=True)
    assert breaker.state == "open"
    permit.succeeded(100)
    assert breaker.state == "closed"


def test_a_stream_from_before_does_not_close_the_breaker_that_opened_meanwhile(breaker: BreakerHarness) -> None:
    stream = breaker.permit()
    breaker.open()
    stream.succeeded(100)
    assert breaker.state == "open"
    assert breaker.breakers.view("a").success_rate is not None, "but it is learned from"


def test_a_timeout_from_before_does_not_reopen_what_awaits_its_probe(breaker: BreakerHarness) -> None:
    slow = breaker.permit()
    breaker.open()
    breaker.pass_pause()
    slow.failed(AttemptError("timeout", "no answer"))
    assert breaker.state == "half_open"
    assert "a" not in breaker.breakers.unavailable()


# --- one request, one count


def test_however_often_a_request_is_tried_again_it_counts_once(breaker: BreakerHarness) -> None:
    for _ in range(2):
        permit = breaker.permit()
        permit.failed(DOWN, again=True)
        permit.failed(DOWN, again=True)
        permit.failed(DOWN)
    view = breaker.breakers.view("a")
    assert (view.state, view.failure_count) == ("closed", 2)
    breaker.fail()
    assert breaker.state == "open"


def test_a_body_that_is_sent_again_counts_once(breaker: BreakerHarness) -> None:
    breaker.fail_with(*[b"poison"] * 10)
    assert (breaker.state, breaker.breakers.view("a").failure_count) == ("closed", 1)
    breaker.fail_with(b"one", b"two")
    assert breaker.state == "open"


def test_the_same_body_counts_at_every_provider(breaker: BreakerHarness) -> None:
    breaker.fail_with(b"poison")
    breaker.breakers.acquire("b", chat(body=b"poison")).failed(DOWN)  # type: ignore[union-attr]  # it is closed
    assert [breaker.breakers.view(name).failure_count for name in "ab"] == [1, 1]


def test_a_body_is_remembered_for_a_while_after_it_last_failed(breaker: BreakerHarness) -> None:
    breaker.fail_with(b"poison")
    for _ in range(3):
        breaker.clock.now += BODY_REMEMBERED_S - 1
        breaker.fail_with(b"poison")
    assert breaker.breakers.view("a").failure_count == 1
    breaker.clock.now += BODY_REMEMBERED_S
    breaker.fail_with(b"poison")
    assert breaker.breakers.view("a").failure_count == 2


def test_no_body_is_at_fault_where_none_arrived(breaker: BreakerHarness) -> None:
    """A refused connection says the same of every request."""
    breaker.fail_with(*[b"hi"] * 3, error=AttemptError("connect", "connection failed: refused", retryable=True))
    assert breaker.state == "open"


@pytest.mark.parametrize("kind", ["connect", "timeout", "bad_response"])
def test_a_body_may_be_at_fault_wherever_it_may_have_been_read(breaker: BreakerHarness, kind: Any) -> None:
    breaker.fail_with(*[b"hi"] * 3, error=AttemptError(kind, "closed without a response", sent=True))
    assert breaker.state == "closed"


def test_memory_of_bodies_is_bounded() -> None:
    bodies = FailedBodies()
    for number in range(BODIES_REMEMBERED + 1):
        assert not bodies.is_repeated(b"%d" % number, 0.0)
    assert not bodies.is_repeated(b"0", 0.0), "forgotten"
    assert bodies.is_repeated(b"%d" % BODIES_REMEMBERED, 0.0)


def test_a_repeated_body_that_fails_as_the_probe_leaves_the_next_request_its_turn(breaker: BreakerHarness) -> None:
    breaker.fail_with(b"poison", b"one", b"two")
    breaker.pass_pause()
    breaker.fail_with(b"poison")
    assert breaker.state == "half_open"
    breaker.succeed()
    assert breaker.state == "closed"


# --- what is no fault of the service


@pytest.mark.parametrize(
    "error",
    [
        AttemptError("content", "HTTP 403: your input was flagged", status=403),
        AttemptError("content", "HTTP 402: not for this", status=402),
        AttemptError("stale_catalogue", "HTTP 404: no such model", status=404),
        AttemptError("status", "HTTP 424: its upstream", status=424),
        AttemptError("status", "HTTP 402: insufficient balance", status=402),
    ],
    ids=str,
)
def test_what_says_nothing_of_the_service_never_counts(breaker: BreakerHarness, error: AttemptError) -> None:
    breaker.fail(20, error)
    view = breaker.breakers.view("a")
    assert (view.state, view.failure_count, view.success_rate) == ("closed", 0, None)


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_not_taken_counts(breaker: BreakerHarness, status: int) -> None:
    breaker.fail(3, AttemptError("status", "no", status=status))
    assert breaker.state == "open"


def test_a_balance_that_does_not_suffice_is_shown_all_the_same(breaker: BreakerHarness) -> None:
    breaker.fail(error=AttemptError("status", "HTTP 402: insufficient balance", status=402))
    assert breaker.breakers.view("a").last_error == "HTTP 402: insufficient balance"


# --- nobody is cut off


def due_next(breaker: BreakerHarness) -> str | None:
    return breaker.breakers.due_next(["a", "b"])


def open_b(breaker: BreakerHarness, seconds_later: float = 0.0) -> None:
    breaker.clock.now += seconds_later
    for _ in range(3):
        permit = breaker.breakers.acquire("b")
        assert permit is not None
        permit.failed(DOWN)


def test_when_all_are_open_the_one_that_is_due_next_is_probed_early(breaker: BreakerHarness) -> None:
    open_b(breaker)
    breaker.clock.now += 10
    breaker.open()
    assert due_next(breaker) == "b"
    assert breaker.breakers.acquire("b") is None, "only as a last resort"
    assert breaker.breakers.acquire("b", early=True) is not None


def test_one_early_probe_at_a_time(breaker: BreakerHarness) -> None:
    breaker.open()
    open_b(breaker, seconds_later=1)
    probe = breaker.permit(early=True)
    assert due_next(breaker) is None
    assert breaker.breakers.acquire("a", early=True) is None
    probe.release()
    assert due_next(breaker) == "a"


def test_a_repeated_attempt_that_succeeds_ends_no_pause_that_was_asked_for(breaker: BreakerHarness) -> None:
    """It began while the pause lasted: for a request that had its place before."""
    trying, limited = breaker.permit(), breaker.permit()
    limited.failed(too_many(12))
    trying.failed(DOWN, again=True)
    trying.succeeded(100)
    assert breaker.state == "open"
    assert breaker.breakers.acquire("a", early=True) is None


def test_an_early_probe_that_succeeds_closes(breaker: BreakerHarness) -> None:
    breaker.open()
    breaker.permit(early=True).succeeded(100)
    assert breaker.state == "closed"


def test_an_early_probe_that_fails_lets_the_next_one_have_its_turn_and_waits_no_longer_for_it(
    breaker: BreakerHarness,
) -> None:
    breaker.open()
    open_b(breaker, seconds_later=5)
    breaker.clock.now += 5
    breaker.permit(early=True).failed(DOWN)
    assert breaker.pause_s() == 30, "as long as before, from now on"
    assert due_next(breaker) == "b"
    for _ in range(10):
        breaker.permit(early=True).failed(DOWN)
    assert breaker.pause_s() == 30


def test_a_pause_that_was_asked_for_holds(breaker: BreakerHarness) -> None:
    breaker.fail(error=too_many(20))
    open_b(breaker)
    assert due_next(breaker) == "b"
    assert breaker.breakers.due_next(["a"]) is None
    assert breaker.breakers.acquire("a", early=True) is None
    breaker.clock.now += 20
    assert "a" not in breaker.breakers.unavailable()


def test_a_pause_that_was_asked_for_holds_whatever_the_status(breaker: BreakerHarness) -> None:
    breaker.fail(3, AttemptError("status", "HTTP 503", status=503, retry_after_s=20))
    assert breaker.breakers.due_next(["a"]) is None
    breaker.clock.now += 20
    assert breaker.breakers.due_next(["a"]) == "a"


def test_while_the_time_of_one_has_come_no_other_is_probed_early(breaker: BreakerHarness) -> None:
    breaker.open()
    open_b(breaker, seconds_later=5)
    breaker.clock.now += 25
    breaker.permit()
    assert due_next(breaker) is None


def test_who_is_out_of_rotation_is_not_probed_early(breaker: BreakerHarness) -> None:
    breaker.open()
    open_b(breaker, seconds_later=5)
    breaker.breakers.set_in_rotation("a", False)
    assert due_next(breaker) == "b"
    breaker.breakers.set_in_rotation("b", False)
    assert due_next(breaker) is None


def test_a_provider_that_is_only_at_its_limit_is_waited_for() -> None:
    breaker = BreakerHarness(limit=1)
    breaker.permit()
    open_b(breaker)
    assert due_next(breaker) is None


def test_an_early_probe_that_lasts_keeps_others_away_for_one_pause_only(breaker: BreakerHarness) -> None:
    breaker.open()
    breaker.permit(early=True)
    breaker.clock.now += SETTINGS.open_for
    assert "a" not in breaker.breakers.unavailable()


# --- places


def test_no_more_in_flight_than_the_limit() -> None:
    breaker = BreakerHarness(limit=2)
    first = breaker.permit()
    breaker.permit()
    assert breaker.breakers.acquire("a") is None
    first.succeeded(100)
    assert breaker.breakers.acquire("a") is not None


def test_without_a_limit_any_number_is_in_flight(breaker: BreakerHarness) -> None:
    for _ in range(1000):
        breaker.permit()
    assert breaker.breakers.view("a").in_flight == 1000


def test_a_request_that_tries_again_keeps_its_place(breaker: BreakerHarness) -> None:
    permit = breaker.permit()
    permit.failed(DOWN, again=True)
    assert breaker.breakers.view("a").in_flight == 1
    permit.failed(DOWN)
    assert breaker.breakers.view("a").in_flight == 0


@pytest.mark.parametrize("end", [lambda p: p.succeeded(1), lambda p: p.failed(DOWN), lambda p: p.release()])
def test_what_comes_after_the_end_does_nothing(breaker: BreakerHarness, end: Callable[[Permit], None]) -> None:
    permit = breaker.permit()
    end(permit)
    before = breaker.breakers.view("a")
    permit.succeeded(9)
    permit.failed(DOWN)
    permit.release()
    assert breaker.breakers.view("a") == before


# --- by hand


def test_a_provider_out_of_rotation_gets_nothing_until_it_is_back(breaker: BreakerHarness) -> None:
    breaker.breakers.set_in_rotation("a", False)
    assert breaker.breakers.acquire("a") is None
    assert breaker.breakers.reopens_in_s("a") is None
    breaker.breakers.set_in_rotation("a", True)
    assert breaker.breakers.acquire("a") is not None
    assert [(event.reason, event.in_rotation) for event in breaker.changes] == [
        ("taken out of rotation", False),
        ("put back into rotation", True),
    ]


def test_taking_a_provider_out_twice_is_published_once(breaker: BreakerHarness) -> None:
    breaker.breakers.set_in_rotation("a", False)
    breaker.breakers.set_in_rotation("a", False)
    assert len(breaker.changes) == 1


def test_a_breaker_closed_by_hand_takes_requests_at_once_and_forgets_failures(breaker: BreakerHarness) -> None:
    breaker.open()
    breaker.breakers.close("a")
    assert breaker.transitions[-1] == ("open", "closed")
    breaker.fail(2)
    assert breaker.state == "closed"


def test_closing_a_closed_breaker_is_not_published(breaker: BreakerHarness) -> None:
    breaker.breakers.close("a")
    assert breaker.changes == []


@pytest.mark.parametrize("act", [lambda h: h.close("x"), lambda h: h.set_in_rotation("x", False)])
def test_an_unknown_name_is_a_key_error(breaker: BreakerHarness, act: Callable[[CircuitBreakers], None]) -> None:
    with pytest.raises(KeyError):
        act(breaker.breakers)


# --- what is shown


def test_an_opening_says_why_and_until_when(breaker: BreakerHarness) -> None:
    breaker.open()
    assert breaker.changes == [
        ProviderHealthChanged("a", WALL_MS, "closed", "open", "3 failures in a row", WALL_MS + 30_000)
    ]
    view = breaker.breakers.view("a")
    assert (view.open_until_ms, view.failure_count, view.last_error) == (WALL_MS + 30_000, 3, str(DOWN))


def test_rates_and_latencies_lean_towards_what_was_last(breaker: BreakerHarness) -> None:
    breaker.permit().succeeded(100)
    breaker.permit().succeeded(200)
    breaker.fail()
    view = breaker.breakers.view("a")
    assert view.latency_ms is not None
    assert 100 < view.latency_ms < 150
    assert view.success_rate == pytest.approx(0.8)


def test_retry_after_is_when_the_first_may_serve_again(breaker: BreakerHarness) -> None:
    breaker.open()
    breaker.breakers.acquire("b").failed(too_many(12))  # type: ignore[union-attr]  # it is closed
    assert breaker.breakers.retry_after_s(["a", "b"]) == 12
    assert breaker.breakers.retry_after_s(["a"]) == 30
    breaker.clock.now += 60
    assert breaker.breakers.retry_after_s(["a", "b"]) == 1


# --- over restarts


def restarted(breaker: BreakerHarness, after_s: float) -> BreakerHarness:
    """A new start that remembers, after some time by the wall clock; the monotonic one starts again."""
    saved = json.loads(json.dumps(breaker.breakers.export()))
    new = BreakerHarness()
    earlier_ms = breaker.now_ms()

    def now_ms() -> int:
        return round(earlier_ms + after_s * 1000 + (new.clock.now - 1000) * 1000)

    new.breakers = CircuitBreakers(["a", "b"], SETTINGS, clock=new.clock, now_ms=now_ms, random=lambda: 0.0)
    new.breakers.restore(saved)
    return new


def test_an_open_breaker_stays_open_over_a_restart_for_what_is_left(breaker: BreakerHarness) -> None:
    breaker.open()
    assert restarted(breaker, after_s=10).pause_s() == pytest.approx(20)


@pytest.mark.parametrize(("error", "due"), [(too_many(30), None), (DOWN, "a")])
def test_a_pause_that_was_asked_for_holds_after_a_restart_too(
    breaker: BreakerHarness, error: AttemptError, due: str | None
) -> None:
    breaker.fail(3 if error is DOWN else 1, error)
    assert restarted(breaker, after_s=10).breakers.due_next(["a"]) == due


def test_the_pauses_go_on_doubling_after_a_restart(breaker: BreakerHarness) -> None:
    breaker.open()
    breaker.pass_pause()
    breaker.fail()
    new = restarted(breaker, after_s=10)
    new.pass_pause()
    new.fail()
    assert new.pause_s() == 100


def test_a_pause_that_is_over_leaves_the_breaker_closed(breaker: BreakerHarness) -> None:
    breaker.open()
    assert restarted(breaker, after_s=31).state == "closed"


def test_a_pause_beyond_reason_is_not_believed(breaker: BreakerHarness) -> None:
    """Clocks are set; a day's pause after a jump back would be a provider lost."""
    breaker.open()
    assert restarted(breaker, after_s=-86_400).state == "closed"


def test_what_was_learned_survives_a_restart(breaker: BreakerHarness) -> None:
    breaker.succeed()
    view = restarted(breaker, after_s=86_400).breakers.view("a")
    assert (view.success_rate, view.latency_ms) == (1, 100)


def test_providers_that_are_gone_are_ignored(breaker: BreakerHarness) -> None:
    breaker.breakers.restore({"gone": {"open_until_ms": WALL_MS + 1000}})
    assert "a" not in breaker.breakers.unavailable()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = ["open_until_ms", "asked", "reopenings", "attempts", "success_rate", "answers", "latency_ms"]


@given(
    st.dictionaries(
        st.sampled_from(["a", "b", "c"]), json_values | st.dictionaries(st.sampled_from(FIELDS), json_values)
    )
)
def test_whatever_was_saved_the_breaker_works(saved: dict[str, Any]) -> None:
    breaker = BreakerHarness()
    breaker.breakers.restore(saved)
    json.dumps(breaker.breakers.export(), allow_nan=False)
    if breaker.state == "open":
        assert breaker.pause_s() <= SETTINGS.max_open_for * (1 + JITTER)
        breaker.pass_pause()
    breaker.succeed()
    assert breaker.state == "closed"


# --- any order of things


class AnyOrder(RuleBasedStateMachine):
    """Requests come and end in any order, time passes, hands interfere; what must always hold is checked throughout."""

    permits = Bundle("permits")

    @initialize(limit=st.integers(0, 3), chance=st.floats(0, 1, exclude_max=True))
    def start(self, limit: int, chance: float) -> None:
        self.breaker = BreakerHarness(limit=limit, chance=chance)
        self.limit = limit
        self.held: set[Permit] = set()
        self.asked_until = 0.0  # what 429s asked for, by the clock

    @rule(target=permits)
    def ask(self) -> Permit | None:
        free = "a" not in self.breaker.breakers.unavailable()
        before = self.breaker.state
        permit = self.breaker.breakers.acquire("a")
        assert (permit is not None) == free
        if permit is not None:
            assert before != "open"
            self.held.add(permit)
        return permit

    @rule(target=permits)
    def ask_early(self) -> Permit | None:
        may = self.breaker.breakers.due_next(["a"])
        permit = self.breaker.breakers.acquire("a", early=True)
        if permit is not None:
            self.held.add(permit)
            assert self.breaker.clock.now >= self.asked_until
        assert may is None or permit is not None
        return permit

    @rule(permit=consumes(permits), ms=st.floats(0, 1e6))
    def succeed(self, permit: Permit | None, ms: float) -> None:
        if permit is not None:
            permit.succeeded(ms)
            self.held.discard(permit)

    @rule(permit=consumes(permits), kind=st.sampled_from(["status", "connect", "timeout", "stale_catalogue"]))
    def fail(self, permit: Permit | None, kind: Any) -> None:
        if permit is not None:
            permit.failed(AttemptError(kind, "no"))
            self.held.discard(permit)

    @rule(permit=permits)
    def fail_and_try_again(self, permit: Permit | None) -> None:
        if permit is not None:
            permit.failed(DOWN, again=True)

    @rule(permit=consumes(permits), seconds=st.floats(0, 200))
    def be_asked_to_wait(self, permit: Permit | None, seconds: float) -> None:
        if permit is not None:
            permit.failed(too_many(seconds))
            self.held.discard(permit)
            seconds = min(seconds, SETTINGS.max_open_for)
            self.asked_until = max(self.asked_until, self.breaker.clock.now + seconds)

    @rule(permit=consumes(permits))
    def leave(self, permit: Permit | None) -> None:
        if permit is not None:
            permit.release()
            self.held.discard(permit)

    @rule(seconds=st.floats(0, 300))
    def wait(self, seconds: float) -> None:
        self.breaker.clock.now += seconds

    @rule(in_rotation=st.booleans())
    def turn(self, in_rotation: bool) -> None:
        self.breaker.breakers.set_in_rotation("a", in_rotation)

    @precondition(lambda self: self.asked_until <= self.breaker.clock.now)
    @rule()
    def close(self) -> None:
        self.breaker.breakers.close("a")

    @invariant()
    def holds(self) -> None:
        if not hasattr(self, "breaker"):
            return
        view = self.breaker.breakers.view("a")
        assert view.in_flight == len(self.held)
        assert not self.limit or view.in_flight <= self.limit
        assert view.success_rate is None or 0 <= view.success_rate <= 1
        if view.state == "open":
            assert "a" in self.breaker.breakers.unavailable()
            longest_s = max(SETTINGS.max_open_for * (1 + JITTER), self.asked_until - self.breaker.clock.now)
            assert self.breaker.breakers.reopens_in_s("a") is None or self.breaker.pause_s() <= longest_s + 1e-6

    def teardown(self) -> None:
        """Nobody is ever lost: once everything has ended and time has passed, one good answer closes the breaker."""
        if not hasattr(self, "breaker"):
            return
        for permit in self.held:
            permit.release()
        self.breaker.breakers.set_in_rotation("a", True)
        self.breaker.clock.now += 1000
        self.breaker.succeed()
        assert self.breaker.state == "closed"


TestAnyOrder = AnyOrder.TestCase


def test_its_repr_says_how_each_provider_is(breaker: BreakerHarness) -> None:
    breaker.fail(2)
    breaker.permit()
    first, second = "<a closed, 2 failures, 1 in flight>", "<b closed, 0 failures, 0 in flight>"
    assert repr(breaker.breakers) == f"<CircuitBreakers {first}, {second}>"


@given(st.lists(st.sampled_from(["fail", "restore", "close", "out", "in", "wait", "probe"]), max_size=12))
def test_who_is_unavailable_is_known_after_whatever_has_changed(steps: list[str]) -> None:
    breaker = BreakerHarness()
    down = BreakerHarness()
    for _ in range(SETTINGS.failure_threshold):
        down.permit().failed(DOWN)
    saved = down.breakers.export()
    for step in steps:
        if step == "fail" and (permit := breaker.breakers.acquire("a")) is not None:
            permit.failed(DOWN)
        elif step == "restore":
            breaker.breakers.restore(saved)
        elif step == "close":
            breaker.breakers.close("a")
        elif step in ("out", "in"):
            breaker.breakers.set_in_rotation("a", step == "in")
        elif step == "wait":
            breaker.clock.now += SETTINGS.open_for
        elif step == "probe" and (permit := breaker.breakers.acquire("a")) is not None:
            permit.succeeded(0.1)
        unavailable = breaker.breakers.unavailable()
        permit = breaker.breakers.acquire("a")
        assert unavailable == ([] if permit else ["a"])
        if permit is not None:
            permit.release()


def test_breakers_that_another_configuration_takes_over_are_known_there_too() -> None:
    before, after = BreakerHarness(), BreakerHarness(limit=1)
    assert before.breakers.unavailable() == after.breakers.unavailable() == []
    after.breakers.take_over(before.breakers, ["a"])
    before.breakers.set_in_rotation("a", False)
    assert before.breakers.unavailable() == after.breakers.unavailable() == ["a"]
    after.breakers.set_in_rotation("a", True)
    assert before.breakers.unavailable() == after.breakers.unavailable() == []
    permit = before.permit()
    assert after.breakers.unavailable() == ["a"]  # the limit is the later configuration's
    permit.release()
    after.breakers.set_in_rotation("b", False)
    assert (before.breakers.unavailable(), after.breakers.unavailable()) == ([], ["b"])
