"""Which requests are at which account: providers with one key share it."""

from __future__ import annotations

from arbstr.engine.accounts import Accounts
from arbstr.redaction import Secret
from tests.support.engine_builders import provider

KEY, OTHER = Secret("sk-0123456789abcdef"), Secret("sk-fedcba9876543210")
NODES = [
    provider("one", kind="routstr", api_key=KEY),
    provider("two", kind="routstr", api_key=KEY),
    provider("three", kind="routstr", api_key=OTHER),
    provider("no-key", kind="routstr"),
    provider("plain", api_key=KEY),
]


def test_providers_with_the_same_key_at_the_same_place_are_one_account() -> None:
    accounts = Accounts(NODES)
    assert sorted(accounts.providers.values()) == [("one", "two"), ("three",)]
    assert accounts.of("one") == accounts.of("two") != accounts.of("three")
    assert accounts.of("no-key") is accounts.of("plain") is None
    assert not any("0123456789" in name for name in accounts.providers)


def test_another_key_is_another_account() -> None:
    before, after = (Accounts([provider("one", kind="routstr", api_key=key)]) for key in (KEY, OTHER))
    assert before.of("one") != after.of("one")


def test_requests_are_counted_where_they_are_until_they_end() -> None:
    accounts = Accounts(NODES)
    accounts.begin("one", "r-1")
    accounts.begin("two", "r-2")
    accounts.begin("three", "r-1")
    accounts.begin("plain", "r-3")
    assert [accounts.traffic(name) for name in ("one", "two", "three", "plain")] == [(2, 2), (2, 2), (1, 1), (0, 0)]
    accounts.leave("three", "r-1")
    accounts.end("r-2")
    assert [accounts.traffic(name) for name in ("one", "three")] == [(1, 2), (0, 1)]
    accounts.end("r-1")
    accounts.end("r-1")
    assert accounts.traffic("one") == (0, 2)


def test_a_balance_tells_once_it_has_been_read() -> None:
    accounts = Accounts(NODES)
    assert not accounts.begin("one", "r-1")
    accounts.followed.add(str(accounts.of("one")))
    assert accounts.begin("two", "r-2")
    assert not accounts.begin("three", "r-3")
