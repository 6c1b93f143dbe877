"""What events say about the market: of several by one author for one thing the newest counts."""

from __future__ import annotations

from typing import Any

import pytest

from arbstr.discovery import announcements as said
from arbstr.discovery.announcements import AHEAD_S, Announcement, Reviews
from arbstr.discovery.nostr import Event, genuine
from tests.support.nostr import Author

NOW_S = 1_800_000_000
ALPHA, BETA, GAMMA, REVIEWER = map(Author, range(1, 5))


def read(*documents: dict[str, Any]) -> list[Event]:
    events = [genuine(document) for document in documents]
    assert None not in events
    return [event for event in events if event is not None]


def announced(*documents: dict[str, Any]) -> list[Announcement]:
    return said.announcements(read(*documents), NOW_S)


def test_an_announcement_says_where_a_node_is_and_what_it_takes() -> None:
    (node,) = announced(ALPHA.announces("https://a.example/v1/", "http://a.onion", name=" Alpha ", at_s=NOW_S - 60))
    assert (node.author, node.name, node.version, node.at_s) == (ALPHA.pubkey, "Alpha", "0.4.5", NOW_S - 60)
    assert node.urls == ("https://a.example", "http://a.onion")
    assert node.mints == ("https://mint.example",)


def test_the_newest_of_an_author_and_id_counts_in_any_order() -> None:
    old = ALPHA.announces("https://old.example", at_s=NOW_S - 100)
    new = ALPHA.announces("https://new.example", at_s=NOW_S - 50)
    other = ALPHA.announces("https://other.example", d="2", at_s=NOW_S - 200)
    stranger = BETA.announces("https://beta.example", at_s=NOW_S - 300)
    for events in ((old, new, other, stranger), (stranger, new, other, old)):
        urls = {node.urls for node in announced(*events)}
        assert urls == {("https://new.example",), ("https://other.example",), ("https://beta.example",)}


def test_of_two_at_the_same_time_the_one_with_the_lower_id_counts() -> None:
    events = [ALPHA.announces(f"https://{number}.example", at_s=NOW_S) for number in range(5)]
    lowest = min(events, key=lambda event: str(event["id"]))
    for order in (events, events[::-1]):
        assert announced(*order)[0].event == lowest["id"]


def test_an_event_ahead_of_the_clock_changes_nothing() -> None:
    now = ALPHA.announces("https://now.example", at_s=NOW_S)
    ahead = ALPHA.announces("https://ahead.example", at_s=NOW_S + AHEAD_S + 1)
    assert announced(now, ahead)[0].urls == ("https://now.example",)
    assert announced(ahead) == []
    slightly = ALPHA.announces("https://slightly.example", at_s=NOW_S + AHEAD_S)
    assert announced(now, slightly)[0].urls == ("https://slightly.example",)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "node.example",
        "ftp://node.example",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "https://user:pass@node.example",
        "https://node.example?q=1",
        "https://node.example/#x",
        "https://node.example:0",
        "https://[::1",
        "https://löwe.example",
        "https://node.example/\n",
        "https://" + "a" * 300,
    ],
)
def test_an_address_that_can_not_be_one_is_left_out(url: str) -> None:
    assert announced(ALPHA.announces(url, at_s=NOW_S)) == []
    assert announced(ALPHA.announces(url, "https://a.example", at_s=NOW_S))[0].urls == ("https://a.example",)


def test_of_several_ids_of_an_announcement_the_first_counts() -> None:
    """Else one event could be the newest for any number of them."""
    old = ALPHA.signs(38421, ("d", "1"), ("u", "https://old.example"), at_s=NOW_S - 9)
    both = ALPHA.signs(38421, ("d", "2"), ("d", "1"), ("u", "https://both.example"), at_s=NOW_S)
    assert {node.urls[0] for node in announced(old, both)} == {"https://old.example", "https://both.example"}


def test_an_announcement_without_an_address_is_another_protocols() -> None:
    assert announced(ALPHA.signs(38421, ("d", "1"), content="x", at_s=NOW_S)) == []


def test_texts_of_strangers_are_made_harmless_and_short() -> None:
    wild = "\x1b[31mred\u202e" + "x" * 500
    (node,) = announced(ALPHA.announces("https://a.example", name=wild, version=wild, at_s=NOW_S))
    for text in (node.name, node.version):
        assert text.isprintable() or "�" in text
        assert "\x1b" not in text
        assert len(text) <= 60


@pytest.mark.parametrize("content", ["", "no JSON", "[]", '{"name": 7}', '{"name": null}', "[" * 5000])
def test_a_node_without_a_name_is_one_all_the_same(content: str) -> None:
    event = ALPHA.signs(38421, ("d", "1"), ("u", "https://a.example"), content=content, at_s=NOW_S)
    assert announced(event)[0].name == ""


def test_a_node_has_only_so_many_addresses_and_mints() -> None:
    tags = [("d", "1"), *(("u", f"https://{n}.example") for n in range(99)), *(("mint", str(n)) for n in range(99))]
    (node,) = announced(ALPHA.signs(38421, *tags, at_s=NOW_S))
    assert (len(node.urls), len(node.mints)) == (8, 16)


# --- reviews


def test_reviews_are_counted_by_node_an_author_once() -> None:
    events = read(
        BETA.reviews(ALPHA, "avoid", at_s=NOW_S - 20),
        BETA.reviews(ALPHA, "LGTM", at_s=NOW_S - 10),
        GAMMA.reviews(ALPHA, "avoid", at_s=NOW_S - 10),
        GAMMA.reviews(BETA, "lgtm", at_s=NOW_S),
        GAMMA.reviews(ALPHA, "lgtm", at_s=NOW_S + 10_000),
        BETA.reviews(GAMMA, "interesting", at_s=NOW_S),
    )
    assert said.reviews(events, NOW_S, [REVIEWER.pubkey]) == {
        ALPHA.pubkey: Reviews(good=1, bad=1),
        BETA.pubkey: Reviews(good=1),
        GAMMA.pubkey: Reviews(),
    }


def test_the_last_word_of_a_trusted_author_stands_out() -> None:
    events = read(REVIEWER.reviews(ALPHA, "lgtm", at_s=NOW_S - 5), REVIEWER.reviews(ALPHA, "avoid", at_s=NOW_S))
    assert said.reviews(events, NOW_S, [REVIEWER.pubkey])[ALPHA.pubkey] == Reviews(bad=1, trusted="avoid")


def test_nobody_reviews_themselves() -> None:
    events = read(ALPHA.reviews(ALPHA, "lgtm", at_s=NOW_S))
    assert said.reviews(events, NOW_S, [ALPHA.pubkey]).get(ALPHA.pubkey, Reviews()) == Reviews()


# --- names of models


def test_names_of_models_are_taken_from_the_newest_table_of_a_trusted_author() -> None:
    events = read(
        REVIEWER.maps({"a": "old"}, at_s=NOW_S - 10),
        REVIEWER.maps({"a": "new"}, at_s=NOW_S),
        REVIEWER.maps({"a": "ahead"}, at_s=NOW_S + 10_000),
        ALPHA.maps({"a": "evil"}, at_s=NOW_S),
    )
    assert said.model_ids(events, NOW_S, [REVIEWER.pubkey]) == {"a": "new"}
    assert said.model_ids(events, NOW_S, []) == {}


@pytest.mark.parametrize("mappings", [None, [], "x", 7])
def test_a_table_that_is_none_maps_nothing(mappings: Any) -> None:
    events = read(REVIEWER.maps(mappings, at_s=NOW_S))
    assert said.model_ids(events, NOW_S, [REVIEWER.pubkey]) == {}


def test_names_that_can_not_be_a_models_are_left_out() -> None:
    events = read(REVIEWER.maps({"a": "b", "": "x", "c": 7, "d": "", "e\x1b": "f", "g": "h" * 999}, at_s=NOW_S))
    assert said.model_ids(events, NOW_S, [REVIEWER.pubkey]) == {"a": "b"}
