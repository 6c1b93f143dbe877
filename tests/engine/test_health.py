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

from arbstr.config import Breaker
from arbstr.engine.health import JITTER, LONGEST_PAUSE_S, WINDOW, Health, Permit
from arbstr.errors import AttemptError
from arbstr.events import ProviderHealthChanged
from tests.engine.builders import Clock

SETTINGS = Breaker(failure_threshold=3, open_for=30, max_open_for=100)
WALL_MS = 1_700_000_000_000
DOWN = AttemptError("status", "503 Service Unavailable", status=503, retryable=True)


class World:
    """A provider `a` (and a `b`) with breakers, a clock, and what was told."""

    def __init__(self, *, chance: float = 0.0, limit: int = 0, settings: Breaker = SETTINGS) -> None:
        self.clock = Clock()
        self.told: list[ProviderHealthChanged] = []
        self.health = Health(
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

    def permit(self) -> Permit:
        permit = self.health.acquire("a")
        assert permit is not None
        return permit

    def fail(self, times: int = 1, error: AttemptError = DOWN) -> None:
        for _ in range(times):
            self.permit().failed(error)

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
        world.permit().released()
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


@pytest.mark.parametrize("asked_s", [1e9, math.inf])
def test_an_absurd_retry_after_is_cut_to_a_day(world: World, asked_s: float) -> None:
    world.fail(error=too_many(asked_s))
    assert world.pause_s() == LONGEST_PAUSE_S


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
    world.permit().released()
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


@pytest.mark.parametrize("end", [lambda p: p.succeeded(1), lambda p: p.failed(DOWN), lambda p: p.released()])
def test_what_comes_after_the_end_does_nothing(world: World, end: Callable[[Permit], None]) -> None:
    permit = world.permit()
    end(permit)
    before = world.health.view("a")
    permit.succeeded(9)
    permit.failed(DOWN)
    permit.released()
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
        ("taken back into rotation", True),
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
def test_an_unknown_name_is_a_key_error(world: World, act: Callable[[Health], None]) -> None:
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

    new.health = Health(["a", "b"], SETTINGS, clock=new.clock, now_ms=now_ms, random=lambda: 0.0)
    new.health.restore(saved)
    return new


def test_an_open_breaker_stays_open_over_a_restart_for_what_is_left(world: World) -> None:
    world.open()
    assert restarted(world, after_s=10).pause_s() == pytest.approx(20)


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
FIELDS = ["open_until_ms", "reopenings", "success_rate", "latency_ms"]


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
            self.asked_until = max(self.asked_until, self.world.clock.now + seconds)

    @rule(permit=consumes(permits))
    def leave(self, permit: Permit | None) -> None:
        if permit is not None:
            permit.released()
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
            permit.released()
        self.world.health.set_in_rotation("a", True)
        self.world.clock.now += 1000
        self.world.succeed()
        assert self.world.state == "closed"


TestAnyOrder = AnyOrder.TestCase
