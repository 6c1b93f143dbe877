"""What a token says that it is worth; whatever it is, reading it is no fault."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.market.token_worth import stated_msats
from tests.support.recordings import recording


def packed(data: bytes, version: str = "B") -> str:
    return f"cashu{version}{base64.urlsafe_b64encode(data).decode().rstrip('=')}"


def older(*amounts: object, unit: str = "sat") -> str:
    proofs = [{"id": "009a1f29", "amount": amount, "secret": "s", "C": "02"} for amount in amounts]
    return packed(json.dumps({"token": [{"mint": "https://m.example", "proofs": proofs}], "unit": unit}).encode(), "A")


def newer(amount: bytes, unit: str = "sat") -> str:
    """A token of one proof, whose amount is CBOR: {"u": unit, "t": [{"i": h'00', "p": [{"a": amount}]}], "d": null}."""
    unit_text = bytes([0x60 + len(unit)]) + unit.encode()
    proofs = b"\x61t\x81\xa2\x61i\x41\x00\x61p\x81\xa1\x61a" + amount
    return packed(b"\xa3\x61u" + unit_text + proofs + b"\x61d\xf6")


@pytest.mark.parametrize(("name", "held_sats"), [("refund_sk", 500), ("refund_expired_key", 50)])
def test_a_recorded_refund_is_worth_what_its_key_held(name: str, held_sats: int) -> None:
    assert stated_msats(json.loads(recording(name).body)["token"]) == 1000 * held_sats


def test_tokens_of_both_versions_and_units() -> None:
    assert stated_msats(older(8, 2, 1)) == 11_000
    assert stated_msats(older(1500, unit="msat")) == 1500
    assert stated_msats(newer(b"\x08")) == 8000
    assert stated_msats(newer(b"\x18\x20")) == 32_000
    assert stated_msats(newer(b"\x1a\x00\x01\x00\x00", unit="msat")) == 65_536


@pytest.mark.parametrize(
    "token",
    [
        older(8, unit="usd"),
        older(-8),
        older(True),
        older("8"),
        newer(b"\x20"),  # -1
        newer(b"\xf5"),
        newer(b"\x9f\xff"),
        newer(b"\x08", unit="usd"),
        packed(b"\xa1" * 100),
        packed(b"\x9b" + b"\xff" * 8),  # a list that no memory holds
        packed(b"\xa1\x80\x00"),
        packed(b"no JSON", "A"),
        packed(b"[" * 100_000, "A"),
        "cashuB",
        "cashuBä",
        "",
    ],
)
def test_what_says_nothing_of_bitcoin_is_worth_nothing_known(token: str) -> None:
    assert stated_msats(token) is None


@given(st.binary(max_size=200), st.sampled_from("AB"))
def test_whatever_a_node_sends_is_read_or_not(data: bytes, version: str) -> None:
    assert stated_msats(packed(data, version)) is None or data
