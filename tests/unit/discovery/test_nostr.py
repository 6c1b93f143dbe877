"""Events are believed only with the id and the signature that their author gave them."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from arbstr.discovery.nostr import genuine
from tests.support.nostr import Author
from tests.support.paths import DATA

RECORDED = json.loads((DATA / "routstr" / "nostr_events.json").read_text())["announcement_38421"]
AT_S = 1_790_000_000
WILD = 'Löwe "quoted"\n\t\u2028 \x7f \\ / 🦁'
SIGNED = Author(7).signs(38421, ("d", "x"), ("u", "https://node.example"), content=WILD, at_s=AT_S)


@pytest.mark.parametrize("document", [RECORDED, SIGNED], ids=["of a real node", "signed here"])
def test_a_genuine_event_is_read(document: dict[str, Any]) -> None:
    event = genuine(document)
    assert event is not None
    assert (event.id, event.author, event.kind) == (document["id"], document["pubkey"], document["kind"])
    assert event.content == document["content"]
    assert [list(tag) for tag in event.tags] == document["tags"]


def test_values_of_tags_are_found_by_name() -> None:
    event = genuine(RECORDED)
    assert event is not None
    assert event.values("mint") == ["http://127.0.0.1:9303", "http://127.0.0.1:9305"]
    assert (event.value("version"), event.value("absent")) == ("0.4.5+g8bd7d7e", "")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("content", "{}"),
        ("created_at", SIGNED["created_at"] + 1),
        ("kind", 38422),
        ("tags", [["d", "x"], ["u", "https://evil.example"]]),
        ("pubkey", Author(8).pubkey),
        ("id", "0" * 64),
        ("sig", "0" * 128),
        ("sig", Author(8).signs(38421, ("d", "x"), at_s=AT_S)["sig"]),
    ],
)
def test_an_event_that_was_changed_is_none(key: str, value: Any) -> None:
    assert genuine({**SIGNED, key: value}) is None


@pytest.mark.parametrize("key", ["id", "pubkey", "sig"])
def test_one_bit_makes_it_another_ones(key: str) -> None:
    digits = len(SIGNED[key])
    for bit in (0, 1, 4 * digits // 2, 4 * digits - 1):
        flipped = f"{int(SIGNED[key], 16) ^ (1 << bit):0{digits}x}"
        assert genuine({**SIGNED, key: flipped}) is None


def test_an_event_whose_author_is_no_point_of_the_curve_is_none() -> None:
    forged = Author(7).signs(1)
    forged["pubkey"] = "f" * 64
    assert genuine(forged) is None


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        "text",
        7,
        {},
        *({**SIGNED, key: None} for key in SIGNED),
        *({name: value for name, value in SIGNED.items() if name != key} for key in SIGNED),
        {**SIGNED, "created_at": True},
        {**SIGNED, "created_at": -1},
        {**SIGNED, "created_at": 2**80},
        {**SIGNED, "created_at": 1.5},
        {**SIGNED, "kind": 70_000},
        {**SIGNED, "tags": [["d"], "x"]},
        {**SIGNED, "tags": [["d", 7]]},
        {**SIGNED, "tags": [[]] * 3000},
        {**SIGNED, "content": "\ud800"},
        {**SIGNED, "id": SIGNED["id"].upper()},
        {**SIGNED, "sig": SIGNED["sig"] + "00"},
    ],
)
def test_what_is_no_event_is_none(document: Any) -> None:
    assert genuine(copy.deepcopy(document)) is None
