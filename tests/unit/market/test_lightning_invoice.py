"""What an invoice asks for."""

from __future__ import annotations

import json

import pytest

from arbstr.market.lightning_invoice import amount_msats, is_invoice
from tests.support.recordings import recording

REST = "1p4sf0n79qypqqqdqqxqrrsssp56ynz6"


@pytest.mark.parametrize(
    ("prefix", "msats"),
    [
        ("lnbc1u", 100_000),
        ("lnbc770n", 77_000),
        ("LNBC20M", 2_000_000_000),
        ("lntb15n", 1500),
        ("lnbcrt10p", 1),
        ("lnbc2", 200_000_000_000),
        ("lnbc", None),
    ],
)
def test_the_amount_stands_in_its_beginning(prefix: str, msats: int | None) -> None:
    assert amount_msats(prefix + REST) == msats


@pytest.mark.parametrize("name", ["lightning_invoice_create", "lightning_topup_create"])
def test_recorded_invoices_ask_for_what_was_wanted(name: str) -> None:
    exchange = recording(name)
    bolt11 = json.loads(exchange.body)["bolt11"]
    assert is_invoice(bolt11)
    assert amount_msats(bolt11) == 1000 * exchange.request["body"]["amount_sats"]
