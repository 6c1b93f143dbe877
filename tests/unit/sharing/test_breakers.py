"""What one instance finds of a provider the others believe, but not for long, and not from whom they have refuted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import count
from typing import Any

import pytest

from arbstr.bus import EventBus
from arbstr.config.schema import Breaker, Provider
from arbstr.engine.circuit_breaker import CircuitBreakers
from arbstr.engine.learning.codec import dumps
from arbstr.errors import AttemptError
from arbstr.events import ProviderHealthChanged
from arbstr.ledger.postgres.shared_states import Change, Found
from arbstr.sharing.breakers import DISTRUST_S, SharedBreakers, SharedCooldowns
from arbstr.sharing.parts import Digests
from tests.support.clock import Clock
from tests.support.engine_builders import chat

SETTINGS = Breaker(failure_threshold=3, open_for=30, max_open_for=600)
DOWN = AttemptError("status", "503 Service Unavailable", status=503, retryable=True)
NO_MODEL = AttemptError("stale_catalogue", "no such model", status=404)
BODIES = (str(number).encode() for number in count())
URLS = {"alpha": "http://a.example/v1", "beta": "http://b.example/v1"}


class Instance:
    """An instance with its own names for the providers, and a clock that shows another time than any other's."""

    def __init__(self, name: str, started_s: float, names: Sequence[str] = ("alpha", "beta")) -> None:
        self.name = name
        self.clock = Clock(started_s)
        self.bus = EventBus()
        self.providers = [
            Provider(name=mine, url=url, models=("gpt-4o",)) for mine, url in zip(names, URLS.values(), strict=True)
        ]
        self.health = CircuitBreakers(
            names,
            SETTINGS,
            clock=self.clock,
            now_ms=lambda: int(self.clock.now * 7919),
            random=lambda: 0.0,
            on_change=self.bus.publish,
        )
        digests = Digests()
        digests.key = b"the ledger's"
        self.breakers = SharedBreakers(lambda: self, digests, self.clock, lambda: None)
        self.cooldowns = SharedCooldowns(lambda: self, digests, self.clock, lambda: None)
        self.health.cooldowns.on_change = self.cooldowns.began
        self.bus.attach(self.breakers, [ProviderHealthChanged])

    def fail(self, provider: str = "alpha", times: int = 3, error: AttemptError = DOWN) -> None:
        for _ in range(times):
            self._permit(provider).failed(error)

    def succeed(self, provider: str = "alpha") -> None:
        self._permit(provider).succeeded(10.0)

    def _permit(self, provider: str) -> Any:
        body = next(BODIES)  # a breaker counts each once
        permit = self.health.acquire(provider, chat(body=body), early=True)
        assert permit is not None
        return permit

    def state(self, provider: str = "alpha") -> str:
        return self.health.view(provider).state

    def open_s(self, provider: str = "alpha") -> float | None:
        return self.health.reopens_in_s(provider)

    def hear(self, *changes: Change, by: str = "them", after_s: float = 0.0) -> None:
        found = [
            Found(one.kind, one.key, one.value, by, one.age_s + after_s, one.left_s - after_s, 1) for one in changes
        ]
        self.breakers.apply([one for one in found if one.kind == "breaker"])
        self.cooldowns.apply([one for one in found if one.kind == "cooldown"])


def tell(instances: Sequence[Instance]) -> list[Change]:
    """Have all hear of what each has to share; return it."""
    shared = []
    for one in instances:
        changes = one.breakers.take() + one.cooldowns.take()
        shared += changes
        for other in instances:
            if other is not one:
                other.hear(*changes, by=one.name)
    return shared


@pytest.fixture
def three() -> list[Instance]:
    return [Instance("one", 1000.0), Instance("two", 5.0, ("a", "b")), Instance("three", 77_000.0)]


def pass_on(instances: Sequence[Instance], seconds: float) -> None:
    for one in instances:
        one.clock.now += seconds


def test_others_open_theirs_until_the_same_instant_whatever_their_clocks_and_names(three: list[Instance]) -> None:
    one, two, other = three
    one.fail()
    tell(three)
    assert [one.open_s("alpha"), two.open_s("a"), other.open_s("alpha")] == [30.0, 30.0, 30.0]
    assert two.state("b") == "closed"
    assert tell(three) == []  # what was heard is not shared again


def test_what_takes_a_while_to_arrive_ends_no_later(three: list[Instance]) -> None:
    one, two, _ = three
    one.fail()
    two.hear(*one.breakers.take(), after_s=12.0)
    assert two.open_s("a") == 18.0
    two.hear(Change("breaker", one.breakers._digests.of(one.providers[0]), "{}", 9.0))
    assert two.open_s("a") == 18.0


def test_the_first_that_succeeds_closes_it_for_all(three: list[Instance]) -> None:
    one, two, other = three
    one.fail()
    tell(three)
    pass_on(three, 31.0)
    assert [one.state(), two.state("a"), other.state()] == ["half_open"] * 3  # each may probe
    two.succeed("a")
    tell(three)
    assert [one.state(), two.state("a"), other.state()] == ["closed"] * 3
    assert tell(three) == []


def test_a_probe_that_fails_is_shared_too_and_the_pauses_grow_from_there(three: list[Instance]) -> None:
    one, two, _ = three
    one.fail()
    tell(three)
    pass_on(three, 31.0)
    one.fail(times=1)
    tell(three)
    assert one.open_s() == 60.0
    assert two.open_s("a") == pytest.approx(36.0)  # it tries for itself sooner
    pass_on(three, 37.0)
    two.fail("a", times=1)
    assert two.open_s("a") == 120.0


def test_two_that_find_the_same_say_so_in_their_own_words(three: list[Instance]) -> None:
    one, two, _ = three
    one.fail()
    two.clock.now += 3.0
    two.fail("a")
    for _ in range(3):
        tell(three)
        for each in three:
            each.breakers.refresh(connected=True)
    found = [one.health.found_open("alpha"), two.health.found_open("a")]
    assert [each and each.reason for each in found] == ["3 failures in a row"] * 2


def test_a_probe_under_way_is_not_disturbed(three: list[Instance]) -> None:
    one, two, _ = three
    one.fail()
    tell(three)
    pass_on(three, 31.0)
    probe = two.health.acquire("a", chat())
    assert probe is not None
    one.fail(times=1)
    tell(three)
    probe.succeeded(5.0)
    assert two.state("a") == "closed"


def test_what_had_begun_before_says_nothing_of_what_was_heard(three: list[Instance]) -> None:
    one, two, _ = three
    stream = two.health.acquire("a", chat())
    assert stream is not None
    one.fail()
    tell(three)
    stream.succeeded(90_000.0)
    assert two.state("a") == "open"


def test_a_pause_that_the_provider_asks_for_is_kept_by_all(three: list[Instance]) -> None:
    one, two, _ = three
    one.fail(times=1, error=AttemptError("status", "429", status=429, retry_after_s=300.0))
    tell(three)
    assert two.open_s("a") == 300.0
    assert two.health.due_next(["a"]) is None  # nobody probes early
    two.hear(Change("breaker", two.breakers._digests.of(two.providers[0]), dumps({"open": False}), 60.0))
    assert two.state("a") == "open"


def test_an_instance_without_a_network_does_not_close_off_a_provider_to_others(three: list[Instance]) -> None:
    """It finds that every provider fails, again and again; what another serves shows that they don't."""
    broken, two, _ = three
    shut_s = 0
    for _ in range(1800):
        if "alpha" not in broken.health.unavailable():
            broken.fail(times=1)
        tell(three)
        if "a" not in two.health.unavailable():
            two.succeed("a")
        else:
            shut_s += 1
        tell(three)
        pass_on(three, 1.0)
    assert shut_s <= 36 * 5  # of half an hour: it is believed less and less often
    assert broken.state() != "closed"


def test_a_provider_that_is_open_everywhere_by_hearsay_is_probed_early(three: list[Instance]) -> None:
    one, two, _ = three
    one.fail("alpha")
    one.fail("beta")
    tell(three)
    assert two.health.unavailable() == ["a", "b"]
    assert two.health.due_next(["a", "b"]) is not None
    two.succeed("a")
    assert two.state("a") == "closed"


def test_whom_a_success_has_refuted_is_believed_again_after_a_while(three: list[Instance]) -> None:
    one, two, other = three
    one.fail()
    tell(three)
    two.succeed("a")
    tell(three)
    one.fail()
    tell(three)
    assert [two.state("a"), other.state()] == ["closed", "closed"]
    other.fail()  # another finds it too
    tell(three)
    assert two.state("a") == "open"
    pass_on(three, DISTRUST_S)
    two.succeed("a")
    tell(three)
    one.fail()
    tell(three)
    assert two.state("a") == "open"


def test_a_breaker_closed_by_hand_closes_everywhere(three: list[Instance]) -> None:
    one, two, _ = three
    one.fail()
    tell(three)
    two.health.close("a")
    tell(three)
    assert one.state() == "closed"


def test_what_is_open_is_shared_again_over_a_new_connection(three: list[Instance]) -> None:
    one, two, _ = three
    one.fail()
    one.breakers.take()  # lost with the server
    one.breakers.refresh(connected=False)
    assert one.breakers.take() == []
    one.breakers.refresh(connected=True)
    two.hear(*one.breakers.take())
    assert two.open_s("a") == 30.0


def test_what_could_not_be_shared_is_shared_as_it_is_then(three: list[Instance]) -> None:
    one = three[0]
    one.fail()
    one.breakers.put_back(one.breakers.take())
    pass_on(three, 10.0)
    [change] = one.breakers.take()
    assert (change.left_s, change.age_s) == (20.0, 10.0)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "null",
        "[]",
        '{"open": "yes"}',
        '{"open": true}',
        '{"open": true, "reason": 5, "reopenings": 1}',
        '{"open": true, "reason": "", "reopenings": -1}',
        '{"open": true, "reason": "", "reopenings": NaN}',
        '{"open": true, "reason": "", "reopenings": 1e99}',
        '{"open": true, "reason": "", "reopenings": true}',
        '{"provider": 3, "reason": "x"}',
        '{"provider": "x", "model": [], "reason": "x"}',
    ],
)
def test_what_this_version_does_not_understand_changes_nothing(three: list[Instance], value: str) -> None:
    one = three[0]
    digest = one.breakers._digests.of(one.providers[0])
    for kind in ("breaker", "cooldown"):
        one.hear(Change(kind, digest, value, 60.0), Change(kind, "of another", value, 60.0))
    assert one.state() == "closed"
    assert one.health.cooldowns.reasons("gpt-4o") == {}


@pytest.mark.parametrize("left_s", [-5.0, 0.0, 1e12, math.inf, math.nan])
def test_no_time_left_is_believed_that_makes_no_sense(three: list[Instance], left_s: float) -> None:
    one = three[0]
    said = dumps({"open": True, "reason": "it says so", "reopenings": 0, "asked": True})
    one.hear(Change("breaker", one.breakers._digests.of(one.providers[0]), said, left_s))
    assert one.open_s() is None or one.open_s() == 600.0


def test_texts_of_others_are_made_harmless(three: list[Instance]) -> None:
    one = three[0]
    reasons: list[str] = []
    one.bus.attach(type("Listener", (), {"put": lambda self, event: reasons.append(event.reason)})())
    said = dumps({"open": True, "reason": "\x1b[2J" + "x" * 5000, "reopenings": 0})
    one.hear(Change("breaker", one.breakers._digests.of(one.providers[0]), said, 9.0))
    assert "\x1b" not in reasons[0]
    assert len(reasons[0]) < 400


def test_nothing_shared_tells_a_key_or_an_address(three: list[Instance]) -> None:
    one = Instance("one", 5.0)
    one.providers[0] = one.providers[0].model_copy(update={"api_key": None})
    one.fail()
    one.fail(times=1, provider="beta", error=NO_MODEL)
    shared = repr(tell([one]))
    assert "example" not in shared
    assert "alpha" not in shared


def test_a_model_that_a_provider_no_longer_has_rests_in_all(three: list[Instance]) -> None:
    one, two, _ = three
    one.fail(times=1, error=NO_MODEL)
    pass_on(three, 100.0)
    [change] = tell(three)
    assert change.left_s == 500.0
    assert two.health.cooldowns.left("a", "gpt-4o") == (500.0, "it reported that it does not have this model")
    assert two.health.cooldowns.left("b", "gpt-4o")[0] == 0.0
    assert tell(three) == []


def test_no_cooldown_of_others_lasts_longer_than_ones_own_would(three: list[Instance]) -> None:
    one = three[0]
    digest = one.breakers._digests.of(one.providers[0])
    for model in ("gpt-4o", None):
        said = dumps({"provider": digest, "model": model, "reason": "it says so"})
        one.hear(Change("cooldown", "any", said, 1e9))
    assert one.health.cooldowns.left("alpha", "gpt-4o")[0] == 600.0
    assert one.health.cooldowns.left("alpha", None)[0] == 10.0


def test_a_cooldown_that_could_not_be_shared_is_shared_later(three: list[Instance]) -> None:
    one = three[0]
    one.fail(times=1, error=NO_MODEL)
    one.cooldowns.put_back(one.cooldowns.take())
    assert [change.left_s for change in one.cooldowns.take()] == [600.0]
