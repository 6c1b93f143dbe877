"""Alerts over real sockets: posted, signed, tried again; and nothing else waits for a webhook."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest

from arbstr.config.clients import digest_of
from arbstr.events import AlertRaised
from arbstr.market import bookkeeping, reconciliation, webhook
from arbstr.redaction import Secret
from tests.integration.test_balances import holding, node
from tests.integration.test_node_prices import bare, prices
from tests.integration.test_reconciliation import node as account
from tests.integration.test_reconciliation import started
from tests.support.harness import Arbstr, ProxyHarness
from tests.support.provider import Asked, Move, Script, ScriptedProvider, completion, error_reply, json_reply, reply

SECRET = "webhook-secret-0123456789"
TAKEN = reply(b"", status=200)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "FIRST_PAUSE_S", 0.0)


async def hook(harness: ProxyHarness, *script: Script) -> tuple[ScriptedProvider, dict[str, Any]]:
    """Something that takes alerts, and the section that names it."""
    taker = await harness.add_provider("hook", *(script or (TAKEN,)))
    harness.providers.pop()
    return taker, {"webhook": Secret(f"{taker.url}/hooks?token=t0ken-in-the-query"), "secret": Secret(SECRET)}


def verified(asked: Asked) -> dict[str, Any]:
    """An alert, once its signature is known to be right."""
    assert asked.method == "POST"
    digest = hmac.new(SECRET.encode(), asked.body, hashlib.sha256).hexdigest()
    assert asked.headers["x-arbstr-signature"] == f"sha256={digest}"
    assert asked.headers["content-type"] == "application/json"
    alert: dict[str, Any] = asked.json
    return alert


async def spending(harness: ProxyHarness, alerts: dict[str, Any], cap: float) -> Arbstr:
    """An arbstr that pays a sat for each request, and may pay so much in a month."""
    charged = {**completion(), "cost": {"total_msats": 1000}}
    await harness.add_provider("alpha", json_reply(charged), input_rate=0, output_rate=0, base_fee=1)
    return await harness.start(alerts=alerts, budget={"max_sats_per_month": cap})


async def test_a_budget_is_announced_signed_and_once(harness: ProxyHarness) -> None:
    taker, alerts = await hook(harness)
    arbstr = await spending(harness, {**alerts, "budget_percent": (50, 75)}, cap=4)
    for _ in range(3):
        assert (await arbstr.chat()).status == 200
    half, most = verified(await taker.asked(1)), verified(await taker.asked(2))
    assert half.pop("at")
    assert half.pop("resets_at")
    assert half.pop("id") != most["id"]
    assert half == {
        "alert": "budget",
        "name": "global",
        "percent": 50,
        "spent_sats": 2.0,
        "limit_sats": 4.0,
        "period": "month",
    }
    assert (most["percent"], most["spent_sats"]) == (75, 3.0)
    assert len(taker.requests) == 2
    assert [one.alert.percent for one in arbstr.events if isinstance(one, AlertRaised)] == [50, 75]
    assert "t0ken-in-the-query" not in arbstr.log


async def test_the_first_refusal_is_announced_as_the_whole_budget(harness: ProxyHarness) -> None:
    taker, alerts = await hook(harness)
    arbstr = await spending(harness, {**alerts, "budget_percent": (100,)}, cap=0.5)
    for _ in range(2):
        assert (await arbstr.chat()).status == 402
    alert = verified(await taker.asked())
    assert (alert["alert"], alert["percent"], alert["spent_sats"], alert["limit_sats"]) == ("budget", 100, 0.0, 0.5)
    assert len(taker.requests) == 1


async def test_a_webhook_that_fails_is_asked_again_with_the_same_alert(harness: ProxyHarness) -> None:
    taker, alerts = await hook(harness, error_reply(500), error_reply(503), TAKEN)
    arbstr = await spending(harness, {**alerts, "budget_percent": (100,)}, cap=0.5)
    await arbstr.chat()
    tries = [await taker.asked(number) for number in (1, 2, 3)]
    assert len({one.body for one in tries}) == 1
    assert verified(tries[2])["percent"] == 100


async def test_nothing_waits_for_a_webhook_that_hangs(harness: ProxyHarness) -> None:
    taker, alerts = await hook(harness, [Move.NEVER])
    arbstr = await spending(harness, {**alerts, "budget_percent": (1, 2, 3)}, cap=100)
    await arbstr.chat()
    await taker.asked()
    for _ in range(5):
        assert (await arbstr.chat()).status == 200
    assert len(taker.requests) == 1


async def test_a_provider_that_is_down_is_announced(harness: ProxyHarness) -> None:
    taker, alerts = await hook(harness)
    await harness.add_provider("alpha", error_reply(500))
    arbstr = await harness.start(alerts=alerts, breaker={"failure_threshold": 1}, retry={"max_retries": 0})
    await arbstr.chat()
    alert = verified(await taker.asked())
    assert (alert["alert"], alert["name"]) == ("provider_down", "alpha")


async def test_a_balance_that_ends_soon_is_announced(harness: ProxyHarness) -> None:
    taker, alerts = await hook(harness)
    alpha = await node(harness, "alpha", holding(25_000))
    await harness.start(alerts=alerts)
    await alpha.polled(2)
    alpha.account = holding(20_000, spent=5000)
    alert = verified(await taker.asked())
    assert (alert["alert"], alert["name"], alert["balance_sats"]) == ("balance", "alpha", 20.0)
    assert alert["hours"] < 12


async def test_prices_that_jump_are_announced_once(harness: ProxyHarness) -> None:
    taker, alerts = await hook(harness)
    alpha = await harness.add_provider("alpha", listing=prices(0.002, 0.008))
    harness.providers[-1] = bare("alpha", alpha.url)
    await harness.start(alerts=alerts)
    await alpha.looked_up(2)
    alpha.listing = prices(0.05, 0.2)
    alert = verified(await taker.asked())
    assert (alert["alert"], alert["name"], alert["models"]) == ("price_jump", "alpha", ["gpt-4o"])
    await alpha.looked_up(len(alpha.lookups) + 3)
    assert len(taker.requests) == 1


async def test_a_charge_that_no_request_explains_is_announced(
    harness: ProxyHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciliation, "UNEXPLAINED_AFTER_S", 0.2)
    monkeypatch.setattr(bookkeeping, "AGAIN_S", 0.05)
    taker, alerts = await hook(harness)
    charged = {**completion(), "cost": {"total_msats": 1000}}
    alpha = await account(harness, json_reply(charged))
    arbstr = await started(harness, alpha, alerts={**alerts, "balance_hours": 0})
    assert (await arbstr.chat(model="gpt-4o-mini")).status == 200
    alpha.take(1700)
    alert = verified(await taker.asked())
    assert (alert["alert"], alert["name"], alert["sats"]) == ("unexplained_charge", "alpha", 0.7)


async def test_a_clients_budget_is_announced_by_its_name(harness: ProxyHarness) -> None:
    taker, alerts = await hook(harness)
    charged = {**completion(), "cost": {"total_msats": 1000}}
    await harness.add_provider("alpha", json_reply(charged), input_rate=0, output_rate=0, base_fee=1)
    client = {"name": "bob", "key_sha256": digest_of("bobs-key-0123456789"), "max_sats_per_day": 2}
    arbstr = await harness.start(alerts={**alerts, "budget_percent": (50,)}, clients=(client,))
    assert (await arbstr.chat(headers={"Authorization": "Bearer bobs-key-0123456789"})).status == 200
    alert = verified(await taker.asked())
    assert (alert["name"], alert["percent"], alert["limit_sats"]) == ("client:bob", 50, 2.0)
