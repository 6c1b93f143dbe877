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
from arbstr.engine.circuit_breaker import JITTER, WINDOW, CircuitBreakers, Permit
from arbstr.engine.routing.cooldown import BODIES_REMEMBERED, BODY_REMEMBERED_S, FailedBodies
from arbstr.errors import AttemptError
from arbstr.events import ProviderHealthChanged
from arbstr.types import ChatRequest
from tests.support.engine_builders import Clock, chat

SETTINGS = Breaker(failure_threshold=3, open_for=30, max_open_for=100)
WALL_MS = 1_700_000_000_000
DOWN = AttemptError("status", "503 Service Unavailable", status=503, retryable=True)


class World:
    """A provider `a` (and a `b`) with breakers, a clock, and what was told."""

    def __init__(self, *, chance: float = 0.0, limit: int = 0, settings: Breaker = SETTINGS) -> None:
        self.clock = Clock()
        self.told: list[ProviderHealthChanged] = []
        self.health = CircuitBreakers(
            ["a", "b"],
            settings,
            clock=self.clock,
            now_ms=self.now_ms,
            random=lambda: chance,
            on_change=self.told.append,
            limits={"a": limit},
        )

    def now_ms(self) -> int:
        return WALL_MS + round((self.clock.now - 1000) * 1000)

    @property
    def state(self) -> str:
        return self.health.view("a").state

    @property
    def moves(self) -> list[tuple[str, str]]:
        return [(event.old, event.new) for event in self.told]

    def permit(self, request: ChatRequest | None = None, *, early: bool = False) -> Permit:
        permit = self.health.acquire("a", request, early=early)
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
        pause_s = self.health.reopens_in_s("a")
        assert pause_s is not None
        return pause_s

    def pass_pause(self) -> None:
        self.clock.now += self.pause_s()


@pytest.fixture
def world() -> World:
    return World()


def too_many(retry_after_s: float | None) -> AttemptError:
    return AttemptError("status", "429 Too Many Requests", status=429, retry_after_s=retry_after_s)


# --- opening


def test_failures_in_a_row_open_the_breaker(world: World) -> None:
    world.fail(2)
    assert world.health.available("a")
    world.fail()
    assert world.state == "open"
    assert not world.health.available("a")
    assert world.health.acquire("a") is None


def test_a_success_between_starts_the_row_anew(world: World) -> None:
    world.fail(2)
    world.succeed()
    world.fail(2)
    assert world.state == "closed"


def test_half_of_the_last_attempts_failing_opens_although_successes_come_between(world: World) -> None:
    for _ in range(WINDOW // 2 - 1):
        world.succeed()
        world.fail()
    world.succeed()
    assert world.state == "closed"
    world.fail()
    assert world.state == "open"
    assert world.told[-1].reason == f"{WINDOW // 2} of the last {WINDOW} attempts failed"


def test_a_few_failures_among_many_successes_do_not_open(world: World) -> None:
    for _ in range(WINDOW):
        world.succeed(2)
        world.fail()
    assert world.state == "closed"


def test_providers_do_not_share_a_breaker(world: World) -> None:
    world.open()
    assert world.health.available("b")


@pytest.mark.parametrize("kind", ["status", "connect", "timeout", "bad_response"])
def test_every_failure_of_the_service_counts(world: World, kind: Any) -> None:
    world.fail(3, AttemptError(kind, "no"))
    assert world.state == "open"


def test_a_stale_catalogue_is_no_failure(world: World) -> None:
    world.fail(10, AttemptError("stale_catalogue", "unknown model", status=404))
    view = world.health.view("a")
    assert (view.state, view.failure_count, view.success_rate, view.last_error) == ("closed", 0, None, None)


def test_clients_that_leave_and_refused_requests_are_no_failures(world: World) -> None:
    for _ in range(10):
        world.permit().release()
    view = world.health.view("a")
    assert (view.state, view.failure_count, view.in_flight, view.success_rate) == ("closed", 0, 0, None)


# --- 429


def test_a_429_that_says_when_opens_for_just_that_time_and_is_no_failure(world: World) -> None:
    world.fail(error=too_many(7))
    assert world.pause_s() == 7
    assert world.health.view("a").failure_count == 0
    assert world.health.view("a").success_rate is None
    world.clock.now += 7
    world.succeed()
    assert world.state == "closed"


def test_a_429_that_does_not_say_when_is_a_failure(world: World) -> None:
    world.fail(3, too_many(None))
    assert world.state == "open"
    assert world.health.view("a").failure_count == 3


def test_a_503_that_says_when_is_a_failure(world: World) -> None:
    world.fail(error=AttemptError("status", "503", status=503, retry_after_s=7))
    assert (world.state, world.health.view("a").failure_count) == ("closed", 1)


def test_a_later_429_never_shortens_a_pause(world: World) -> None:
    early, late = world.permit(), world.permit()
    early.failed(too_many(20))
    late.failed(too_many(5))
    assert world.pause_s() == 20


@pytest.mark.parametrize("asked_s", [101.0, 57_600.0, 1e9, math.inf])
def test_a_429_that_asks_for_more_than_max_open_for_gets_that(world: World, asked_s: float) -> None:
    world.fail(error=too_many(asked_s))
    assert world.pause_s() == SETTINGS.max_open_for


def test_an_answer_to_another_request_does_not_end_the_time_asked_for(world: World) -> None:
    other = world.permit()
    world.fail(error=too_many(20))
    other.succeeded(100)
    assert world.pause_s() == 20


# --- probing


def test_after_the_pause_one_request_probes_and_no_other_waits_for_it(world: World) -> None:
    world.open()
    world.pass_pause()
    assert world.state == "half_open"
    world.permit()
    assert not world.health.available("a")
    assert world.health.acquire("a") is None


def test_asking_whether_it_is_available_takes_no_place(world: World) -> None:
    world.open()
    world.pass_pause()
    assert all(world.health.available("a") for _ in range(3))


def test_a_probe_that_succeeds_closes(world: World) -> None:
    world.open()
    world.pass_pause()
    world.succeed()
    assert world.moves == [("closed", "open"), ("open", "half_open"), ("half_open", "closed")]
    world.fail(2)
    assert world.state == "closed", "old failures are forgotten"


def test_each_probe_that_fails_doubles_the_pause_up_to_the_most(world: World) -> None:
    world.open()
    pauses = [world.pause_s()]
    for _ in range(4):
        world.pass_pause()
        world.fail()
        pauses.append(world.pause_s())
    assert pauses == [30, 60, 100, 100, 100]


def test_once_closed_the_pause_begins_small_again(world: World) -> None:
    world.open()
    world.pass_pause()
    world.fail()
    world.pass_pause()
    world.succeed()
    world.open()
    assert world.pause_s() == 30


def test_pauses_are_lengthened_by_chance_so_that_not_all_come_back_at_once() -> None:
    world = World(chance=0.5)
    world.open()
    assert world.pause_s() == pytest.approx(33)  # a fifth at most


def test_a_probe_whose_client_leaves_gives_its_place_to_the_next(world: World) -> None:
    world.open()
    world.pass_pause()
    world.permit().release()
    world.succeed()
    assert world.state == "closed"


def test_a_probe_that_lasts_long_keeps_others_away_for_one_pause_only(world: World) -> None:
    world.open()
    world.pass_pause()
    slow = world.permit()
    world.clock.now += SETTINGS.open_for - 0.01
    assert not world.health.available("a")
    world.clock.now += 0.01
    second = world.permit()
    slow.succeeded(100)
    assert world.state == "closed"
    second.succeeded(100)
    assert world.health.view("a").in_flight == 0


def test_a_probe_that_is_tried_again_reopens_only_once(world: World) -> None:
    world.open()
    world.pass_pause()
    probe = world.permit()
    probe.failed(DOWN, again=True)
    world.clock.now += 1
    probe.failed(DOWN, again=True)
    world.clock.now += 2
    probe.failed(DOWN)
    assert world.pause_s() == 57, "two pauses of thirty seconds, three of which have passed"


def test_a_try_begun_after_the_breaker_opened_closes_it(world: World) -> None:
    """The retry of the request whose own failure opened it is news; nothing is gained by waiting."""
    world.fail(2)
    permit = world.permit()
    permit.failed(DOWN, again=True)
    assert world.state == "open"
    permit.succeeded(100)
    assert world.state == "closed"


def test_a_stream_from_before_does_not_close_the_breaker_that_opened_meanwhile(world: World) -> None:
    stream = world.permit()
    world.open()
    stream.succeeded(100)
    assert world.state == "open"
    assert world.health.view("a").success_rate is not None, "but it is learned from"


def test_a_timeout_from_before_does_not_reopen_what_awaits_its_probe(world: World) -> None:
    slow = world.permit()
    world.open()
    world.pass_pause()
    slow.failed(AttemptError("timeout", "no answer"))
    assert world.state == "half_open"
    assert world.health.available("a")


# --- one request, one count


def test_however_often_a_request_is_tried_again_it_counts_once(world: World) -> None:
    for _ in range(2):
        permit = world.permit()
        permit.failed(DOWN, again=True)
        permit.failed(DOWN, again=True)
        permit.failed(DOWN)
    view = world.health.view("a")
    assert (view.state, view.failure_count) == ("closed", 2)
    world.fail()
    assert world.state == "open"


def test_a_body_that_is_sent_again_counts_once(world: World) -> None:
    world.fail_with(*[b"poison"] * 10)
    assert (world.state, world.health.view("a").failure_count) == ("closed", 1)
    world.fail_with(b"one", b"two")
    assert world.state == "open"


def test_the_same_body_counts_at_every_provider(world: World) -> None:
    world.fail_with(b"poison")
    world.health.acquire("b", chat(body=b"poison")).failed(DOWN)  # type: ignore[union-attr]  # it is closed
    assert [world.health.view(name).failure_count for name in "ab"] == [1, 1]


def test_a_body_is_remembered_for_a_while_after_it_last_failed(world: World) -> None:
    world.fail_with(b"poison")
    for _ in range(3):
        world.clock.now += BODY_REMEMBERED_S - 1
        world.fail_with(b"poison")
    assert world.health.view("a").failure_count == 1
    world.clock.now += BODY_REMEMBERED_S
    world.fail_with(b"poison")
    assert world.health.view("a").failure_count == 2


def test_no_body_is_at_fault_where_none_arrived(world: World) -> None:
    """A refused connection says the same of every request."""
    world.fail_with(*[b"hi"] * 3, error=AttemptError("connect", "connection failed: refused", retryable=True))
    assert world.state == "open"


@pytest.mark.parametrize("kind", ["connect", "timeout", "bad_response"])
def test_a_body_may_be_at_fault_wherever_it_may_have_been_read(world: World, kind: Any) -> None:
    world.fail_with(*[b"hi"] * 3, error=AttemptError(kind, "closed without a response", sent=True))
    assert world.state == "closed"


def test_memory_of_bodies_is_bounded() -> None:
    bodies = FailedBodies()
    for number in range(BODIES_REMEMBERED + 1):
        assert not bodies.is_repeated(b"%d" % number, 0.0)
    assert not bodies.is_repeated(b"0", 0.0), "forgotten"
    assert bodies.is_repeated(b"%d" % BODIES_REMEMBERED, 0.0)


def test_a_repeated_body_that_fails_as_the_probe_leaves_the_next_request_its_turn(world: World) -> None:
    world.fail_with(b"poison", b"one", b"two")
    world.pass_pause()
    world.fail_with(b"poison")
    assert world.state == "half_open"
    world.succeed()
    assert world.state == "closed"


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
def test_what_says_nothing_of_the_service_never_counts(world: World, error: AttemptError) -> None:
    world.fail(20, error)
    view = world.health.view("a")
    assert (view.state, view.failure_count, view.success_rate) == ("closed", 0, None)


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_not_taken_counts(world: World, status: int) -> None:
    world.fail(3, AttemptError("status", "no", status=status))
    assert world.state == "open"


def test_a_balance_that_does_not_suffice_is_shown_all_the_same(world: World) -> None:
    world.fail(error=AttemptError("status", "HTTP 402: insufficient balance", status=402))
    assert world.health.view("a").last_error == "HTTP 402: insufficient balance"


# --- nobody is cut off


def due_next(world: World) -> str | None:
    return world.health.due_next(["a", "b"])


def open_b(world: World, seconds_later: float = 0.0) -> None:
    world.clock.now += seconds_later
    for _ in range(3):
        permit = world.health.acquire("b")
        assert permit is not None
        permit.failed(DOWN)


def test_when_all_are_open_the_one_that_is_due_next_is_probed_early(world: World) -> None:
    open_b(world)
    world.clock.now += 10
    world.open()
    assert due_next(world) == "b"
    assert world.health.acquire("b") is None, "only as a last resort"
    assert world.health.acquire("b", early=True) is not None


def test_one_early_probe_at_a_time(world: World) -> None:
    world.open()
    open_b(world, seconds_later=1)
    probe = world.permit(early=True)
    assert due_next(world) is None
    assert world.health.acquire("a", early=True) is None
    probe.release()
    assert due_next(world) == "a"


def test_a_repeated_attempt_that_succeeds_ends_no_pause_that_was_asked_for(world: World) -> None:
    """It began while the pause lasted: for a request that had its place before."""
    trying, told = world.permit(), world.permit()
    told.failed(too_many(12))
    trying.failed(DOWN, again=True)
    trying.succeeded(100)
    assert world.state == "open"
    assert world.health.acquire("a", early=True) is None


def test_an_early_probe_that_succeeds_closes(world: World) -> None:
    world.open()
    world.permit(early=True).succeeded(100)
    assert world.state == "closed"


def test_an_early_probe_that_fails_lets_the_next_one_have_its_turn_and_waits_no_longer_for_it(world: World) -> None:
    world.open()
    open_b(world, seconds_later=5)
    world.clock.now += 5
    world.permit(early=True).failed(DOWN)
    assert world.pause_s() == 30, "as long as before, from now on"
    assert due_next(world) == "b"
    for _ in range(10):
        world.permit(early=True).failed(DOWN)
    assert world.pause_s() == 30


def test_a_pause_that_was_asked_for_holds(world: World) -> None:
    world.fail(error=too_many(20))
    open_b(world)
    assert due_next(world) == "b"
    assert world.health.due_next(["a"]) is None
    assert world.health.acquire("a", early=True) is None
    world.clock.now += 20
    assert world.health.available("a")


def test_a_pause_that_was_asked_for_holds_whatever_the_status(world: World) -> None:
    world.fail(3, AttemptError("status", "HTTP 503", status=503, retry_after_s=20))
    assert world.health.due_next(["a"]) is None
    world.clock.now += 20
    assert world.health.due_next(["a"]) == "a"


def test_while_the_time_of_one_has_come_no_other_is_probed_early(world: World) -> None:
    world.open()
    open_b(world, seconds_later=5)
    world.clock.now += 25
    world.permit()
    assert due_next(world) is None


def test_who_is_out_of_rotation_is_not_probed_early(world: World) -> None:
    world.open()
    open_b(world, seconds_later=5)
    world.health.set_in_rotation("a", False)
    assert due_next(world) == "b"
    world.health.set_in_rotation("b", False)
    assert due_next(world) is None


def test_a_provider_that_is_only_at_its_limit_is_waited_for() -> None:
    world = World(limit=1)
    world.permit()
    open_b(world)
    assert due_next(world) is None


def test_an_early_probe_that_lasts_keeps_others_away_for_one_pause_only(world: World) -> None:
    world.open()
    world.permit(early=True)
    world.clock.now += SETTINGS.open_for
    assert world.health.available("a")


# --- places


def test_no_more_in_flight_than_the_limit() -> None:
    world = World(limit=2)
    first = world.permit()
    world.permit()
    assert world.health.acquire("a") is None
    first.succeeded(100)
    assert world.health.acquire("a") is not None


def test_without_a_limit_any_number_is_in_flight(world: World) -> None:
    for _ in range(1000):
        world.permit()
    assert world.health.view("a").in_flight == 1000


def test_a_request_that_tries_again_keeps_its_place(world: World) -> None:
    permit = world.permit()
    permit.failed(DOWN, again=True)
    assert world.health.view("a").in_flight == 1
    permit.failed(DOWN)
    assert world.health.view("a").in_flight == 0


@pytest.mark.parametrize("end", [lambda p: p.succeeded(1), lambda p: p.failed(DOWN), lambda p: p.release()])
def test_what_comes_after_the_end_does_nothing(world: World, end: Callable[[Permit], None]) -> None:
    permit = world.permit()
    end(permit)
    before = world.health.view("a")
    permit.succeeded(9)
    permit.failed(DOWN)
    permit.release()
    assert world.health.view("a") == before


# --- by hand


def test_a_provider_out_of_rotation_gets_nothing_until_it_is_back(world: World) -> None:
    world.health.set_in_rotation("a", False)
    assert world.health.acquire("a") is None
    assert world.health.reopens_in_s("a") is None
    world.health.set_in_rotation("a", True)
    assert world.health.acquire("a") is not None
    assert [(event.reason, event.in_rotation) for event in world.told] == [
        ("taken out of rotation", False),
        ("put back into rotation", True),
    ]


def test_taking_it_out_twice_is_told_once(world: World) -> None:
    world.health.set_in_rotation("a", False)
    world.health.set_in_rotation("a", False)
    assert len(world.told) == 1


def test_a_breaker_closed_by_hand_takes_requests_at_once_and_forgets_failures(world: World) -> None:
    world.open()
    world.health.close("a")
    assert world.moves[-1] == ("open", "closed")
    world.fail(2)
    assert world.state == "closed"


def test_closing_a_closed_breaker_is_not_told(world: World) -> None:
    world.health.close("a")
    assert world.told == []


@pytest.mark.parametrize("act", [lambda h: h.close("x"), lambda h: h.set_in_rotation("x", False)])
def test_an_unknown_name_is_a_key_error(world: World, act: Callable[[CircuitBreakers], None]) -> None:
    with pytest.raises(KeyError):
        act(world.health)


# --- what is shown


def test_an_opening_says_why_and_until_when(world: World) -> None:
    world.open()
    assert world.told == [
        ProviderHealthChanged("a", WALL_MS, "closed", "open", "3 failures in a row", WALL_MS + 30_000)
    ]
    view = world.health.view("a")
    assert (view.open_until_ms, view.failure_count, view.last_error) == (WALL_MS + 30_000, 3, str(DOWN))


def test_rates_and_latencies_lean_towards_what_was_last(world: World) -> None:
    world.permit().succeeded(100)
    world.permit().succeeded(200)
    world.fail()
    view = world.health.view("a")
    assert view.latency_ms is not None
    assert 100 < view.latency_ms < 150
    assert view.success_rate == pytest.approx(0.8)


def test_retry_after_is_when_the_first_may_serve_again(world: World) -> None:
    world.open()
    world.health.acquire("b").failed(too_many(12))  # type: ignore[union-attr]  # it is closed
    assert world.health.retry_after_s(["a", "b"]) == 12
    assert world.health.retry_after_s(["a"]) == 30
    world.clock.now += 60
    assert world.health.retry_after_s(["a", "b"]) == 1


# --- over restarts


def restarted(world: World, after_s: float) -> World:
    """A new start that remembers, after some time by the wall clock; the monotonic one begins anew."""
    saved = json.loads(json.dumps(world.health.export()))
    new = World()
    earlier_ms = world.now_ms()

    def now_ms() -> int:
        return round(earlier_ms + after_s * 1000 + (new.clock.now - 1000) * 1000)

    new.health = CircuitBreakers(["a", "b"], SETTINGS, clock=new.clock, now_ms=now_ms, random=lambda: 0.0)
    new.health.restore(saved)
    return new


def test_an_open_breaker_stays_open_over_a_restart_for_what_is_left(world: World) -> None:
    world.open()
    assert restarted(world, after_s=10).pause_s() == pytest.approx(20)


@pytest.mark.parametrize(("error", "due"), [(too_many(30), None), (DOWN, "a")])
def test_a_pause_that_was_asked_for_holds_after_a_restart_too(
    world: World, error: AttemptError, due: str | None
) -> None:
    world.fail(3 if error is DOWN else 1, error)
    assert restarted(world, after_s=10).health.due_next(["a"]) == due


def test_the_pauses_go_on_doubling_after_a_restart(world: World) -> None:
    world.open()
    world.pass_pause()
    world.fail()
    new = restarted(world, after_s=10)
    new.pass_pause()
    new.fail()
    assert new.pause_s() == 100


def test_a_pause_that_is_over_leaves_the_breaker_closed(world: World) -> None:
    world.open()
    assert restarted(world, after_s=31).state == "closed"


def test_a_pause_beyond_reason_is_not_believed(world: World) -> None:
    """Clocks are set; a day's pause after a jump back would be a provider lost."""
    world.open()
    assert restarted(world, after_s=-86_400).state == "closed"


def test_what_was_learned_survives_a_restart(world: World) -> None:
    world.succeed()
    view = restarted(world, after_s=86_400).health.view("a")
    assert (view.success_rate, view.latency_ms) == (1, 100)


def test_providers_that_are_gone_are_ignored(world: World) -> None:
    world.health.restore({"gone": {"open_until_ms": WALL_MS + 1000}})
    assert world.health.available("a")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = ["open_until_ms", "asked", "reopenings", "success_rate", "latency_ms"]


@given(
    st.dictionaries(
        st.sampled_from(["a", "b", "c"]), json_values | st.dictionaries(st.sampled_from(FIELDS), json_values)
    )
)
def test_whatever_was_saved_the_breaker_works(saved: dict[str, Any]) -> None:
    world = World()
    world.health.restore(saved)
    json.dumps(world.health.export(), allow_nan=False)
    if world.state == "open":
        assert world.pause_s() <= SETTINGS.max_open_for * (1 + JITTER)
        world.pass_pause()
    world.succeed()
    assert world.state == "closed"


# --- any order of things


class AnyOrder(RuleBasedStateMachine):
    """Requests come and end in any order, time passes, hands interfere; what must always hold is checked throughout."""

    permits = Bundle("permits")

    @initialize(limit=st.integers(0, 3), chance=st.floats(0, 1, exclude_max=True))
    def start(self, limit: int, chance: float) -> None:
        self.world = World(limit=limit, chance=chance)
        self.limit = limit
        self.held: set[Permit] = set()
        self.asked_until = 0.0  # what 429s asked for, by the clock

    @rule(target=permits)
    def ask(self) -> Permit | None:
        free = self.world.health.available("a")
        before = self.world.state
        permit = self.world.health.acquire("a")
        assert (permit is not None) == free
        if permit is not None:
            assert before != "open"
            self.held.add(permit)
        return permit

    @rule(target=permits)
    def ask_early(self) -> Permit | None:
        may = self.world.health.due_next(["a"])
        permit = self.world.health.acquire("a", early=True)
        if permit is not None:
            self.held.add(permit)
            assert self.world.clock.now >= self.asked_until
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
    def be_told_to_wait(self, permit: Permit | None, seconds: float) -> None:
        if permit is not None:
            permit.failed(too_many(seconds))
            self.held.discard(permit)
            seconds = min(seconds, SETTINGS.max_open_for)
            self.asked_until = max(self.asked_until, self.world.clock.now + seconds)

    @rule(permit=consumes(permits))
    def leave(self, permit: Permit | None) -> None:
        if permit is not None:
            permit.release()
            self.held.discard(permit)

    @rule(seconds=st.floats(0, 300))
    def wait(self, seconds: float) -> None:
        self.world.clock.now += seconds

    @rule(in_rotation=st.booleans())
    def turn(self, in_rotation: bool) -> None:
        self.world.health.set_in_rotation("a", in_rotation)

    @precondition(lambda self: self.asked_until <= self.world.clock.now)
    @rule()
    def close(self) -> None:
        self.world.health.close("a")

    @invariant()
    def holds(self) -> None:
        if not hasattr(self, "world"):
            return
        view = self.world.health.view("a")
        assert view.in_flight == len(self.held)
        assert not self.limit or view.in_flight <= self.limit
        assert view.success_rate is None or 0 <= view.success_rate <= 1
        if view.state == "open":
            assert not self.world.health.available("a")
            longest_s = max(SETTINGS.max_open_for * (1 + JITTER), self.asked_until - self.world.clock.now)
            assert self.world.health.reopens_in_s("a") is None or self.world.pause_s() <= longest_s + 1e-6

    def teardown(self) -> None:
        """Nobody is ever lost: once everything has ended and time has passed, one good answer closes the breaker."""
        if not hasattr(self, "world"):
            return
        for permit in self.held:
            permit.release()
        self.world.health.set_in_rotation("a", True)
        self.world.clock.now += 1000
        self.world.succeed()
        assert self.world.state == "closed"


TestAnyOrder = AnyOrder.TestCase
