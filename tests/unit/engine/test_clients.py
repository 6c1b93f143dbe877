"""Clients with keys of their own: who a key belongs to, which models it opens, how often it may ask."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from arbstr.config.clients import ClientSettings, digest_of
from arbstr.engine.clients import Clients, KnownClient
from arbstr.errors import ModelNotAllowed, RateLimited
from tests.support.clock import Clock

KEY = "sk-arbstr-0123456789"
ALIASES = {"fast": "gpt-4o-mini"}


def settings(**fields: Any) -> ClientSettings:
    return ClientSettings(**{"name": "alice", "key_sha256": digest_of(KEY), **fields})


def known(clock: Clock | None = None, **fields: Any) -> KnownClient:
    found = Clients([settings(**fields)], lambda model: ALIASES.get(model, model), clock or Clock()).find(KEY)
    assert found is not None
    return found


def taken(clients: Clients, key: str = KEY) -> None:
    """Count a request by the client whose key it is."""
    found = clients.find(key)
    assert found is not None
    found.take()


def test_a_key_is_found_by_its_digest_alone() -> None:
    clients = Clients([settings()])
    found = clients.find(KEY)
    assert found is not None
    assert found.name == "alice"
    assert [clients.find(key) for key in ("", KEY[:-1], digest_of(KEY), KEY.upper(), "\udc80")] == [None] * 5
    assert KEY not in repr(vars(clients)) + repr(found)


def test_without_any_there_are_no_clients() -> None:
    assert not Clients()
    assert Clients([settings()])


@pytest.mark.parametrize(
    ("allowed", "model", "allows"),
    [
        ((), "anything", True),
        (("gpt-4o",), "GPT-4o", True),
        (("gpt-4o",), "gpt-4o-mini", False),
        (("gpt-4o*",), "gpt-4o-mini", True),
        (("*mini",), "fast", True),  # by what it stands for
        (("fa*",), "fast", True),  # by its own name
        (("fast",), "gpt-4o-mini", True),
        (("gpt-4o-mini",), "fast", True),
        (("gpt.4o",), "gpt-4o", False),
        (("gpt-4o*",), "my-gpt-4o", False),
        (("gpt-4o",), "", False),
    ],
)
def test_models_are_allowed_by_name_alias_or_pattern(allowed: tuple[str, ...], model: str, allows: bool) -> None:
    client = known(allowed_models=allowed)
    for _ in range(2):  # it is remembered
        assert client.allows(model, ALIASES.get(model, model)) is allows
    if not allows:
        with pytest.raises(ModelNotAllowed, match=r"'alice' .*it may use: "):
            client.check_model(model, model)


def test_any_number_of_names_takes_little_memory() -> None:
    client = known(allowed_models=("gpt-4o",))
    for number in range(20_000):
        assert not client.allows(f"model-{number}", f"model-{number}")
    assert len(client._known) <= 4096


def test_requests_beyond_the_rate_learn_when_to_come_back() -> None:
    clock = Clock()
    client = known(clock, rate_limit_rps=2)
    client.take()
    client.take()
    with pytest.raises(RateLimited) as refused:
        client.take()
    assert refused.value.retry_after_s == 0.5
    clock.now += 0.5
    client.take()


def test_another_configuration_refills_no_rate_that_stays() -> None:
    clock = Clock()
    before = Clients([settings(rate_limit_rps=1)], clock=clock)
    taken(before)

    def after(**fields: Any) -> Clients:
        clients = Clients([settings(**fields)], clock=clock)
        clients.take_over(before)
        return clients

    for same in ({"rate_limit_rps": 1}, {"rate_limit_rps": 1, "name": "Alice"}):
        with pytest.raises(RateLimited):
            taken(after(**same))
    for other in ({"rate_limit_rps": 2}, {"rate_limit_rps": 1, "name": "bob"}, {}):
        taken(after(**other))


def test_a_rotated_key_refills_no_rate() -> None:
    clock = Clock()
    before = Clients([settings(rate_limit_rps=1)], clock=clock)
    taken(before)
    after = Clients([settings(rate_limit_rps=1, key_sha256=digest_of("another"))], clock=clock)
    after.take_over(before)
    with pytest.raises(RateLimited):
        taken(after, "another")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2027-01-31T00:00:00Z", datetime(2027, 1, 31, tzinfo=UTC)),
        ("2027-01-31T02:00:00+02:00", datetime(2027, 1, 31, tzinfo=UTC)),
        ("2027-01-31T12:30", datetime(2027, 1, 31, 12, 30, tzinfo=UTC)),
        ("2027-01-31", datetime(2027, 1, 31, tzinfo=UTC)),
        (datetime(2027, 1, 31, tzinfo=UTC), datetime(2027, 1, 31, tzinfo=UTC)),  # as TOML has it without quotes
        (datetime(2027, 1, 31, tzinfo=UTC).replace(tzinfo=None), datetime(2027, 1, 31, tzinfo=UTC)),
        (date(2027, 1, 31), datetime(2027, 1, 31, tzinfo=UTC)),
    ],
)
def test_an_expiry_is_an_instant_of_iso_8601(written: Any, meant: datetime) -> None:
    assert settings(expires=written).expires == meant
    assert known(expires=written).expires_ms == int(meant.timestamp() * 1000)


@pytest.mark.parametrize("written", ["", "tomorrow", "2027-02-30", 1_800_000_000, True])
def test_what_is_no_instant_is_refused(written: Any) -> None:
    with pytest.raises(ValidationError, match="ISO 8601"):
        settings(expires=written)


@pytest.mark.parametrize("digest", [KEY, digest_of(KEY).upper(), digest_of(KEY)[:-1], ""])
def test_what_is_no_digest_is_refused_and_never_repeated(digest: str) -> None:
    with pytest.raises(ValidationError, match="arbstr clients add") as refused:
        settings(key_sha256=digest)
    assert not digest or digest not in str(refused.value)
