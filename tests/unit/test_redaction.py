"""Keys: shown masked, found and masked wherever they turn up."""

from __future__ import annotations

import base64
import copy
import json
import traceback
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.redaction import REDACTED, Redactor, Secret, mask, mask_lookalikes

KEY = "sk-5ecret0123456789"
printable = st.characters(min_codepoint=0x21, max_codepoint=0x7E)


@pytest.mark.parametrize(
    ("text", "masked"),
    [(KEY, "sk-5ec...***"), ("0123456789", "012345...***"), ("012345678", REDACTED), ("", REDACTED)],
)
def test_a_mask_shows_six_characters_of_a_long_key_and_none_of_a_short_one(text: str, masked: str) -> None:
    assert mask(text) == masked


def test_a_secret_shows_masked_however_it_is_shown() -> None:
    secret = Secret(KEY)
    shown = [
        str(secret),
        repr(secret),
        f"{secret}",
        repr([secret]),
        repr({"k": secret}),
    ]
    assert all(KEY not in text and "sk-5ec...***" in text for text in shown)
    assert secret.reveal() == KEY


def test_secrets_are_equal_by_their_text() -> None:
    assert Secret(KEY) == Secret(KEY) == copy.deepcopy(Secret(KEY))
    assert len({Secret(KEY), Secret(KEY), Secret("other")}) == 2
    assert Secret(KEY) != KEY


def test_a_traceback_does_not_show_a_secret() -> None:
    def fail(secret: Secret) -> None:
        raise ValueError(secret)

    with pytest.raises(ValueError, match="sk-5ec") as caught:
        fail(Secret(KEY))
    assert KEY not in "".join(traceback.format_exception(caught.value))


def test_a_redactor_masks_every_occurrence() -> None:
    redactor = Redactor([Secret(KEY), Secret("other-key-000")])
    assert redactor.text(f"{KEY}{KEY}, other-key-000") == "sk-5ec...***sk-5ec...***, other-...***"
    assert redactor.data(f"x{KEY}".encode() + b"\xff") == b"xsk-5ec...***\xff"


def test_text_without_a_secret_is_the_same_object() -> None:
    text, data = "nothing here", b"nor here"
    redactor = Redactor([Secret(KEY)])
    assert redactor.text(text) is text
    assert redactor.data(data) is data


def test_words_that_only_begin_like_keys_hide_none_and_are_none() -> None:
    redactor = Redactor([Secret("sk-alpha-000001"), Secret("sk-beta-0000002"), Secret("pk")])
    text = "a task-force of sk-alphas"
    assert redactor.text(text) is text
    assert redactor.text(f"{text}: sk-beta-0000002, pk") == f"{text}: sk-bet...***, [REDACTED]"
    assert redactor.data(f"{text}: sk-alpha-000001".encode()) == f"{text}: sk-alp...***".encode()


def test_a_key_that_begins_with_another_leaves_no_tail() -> None:
    assert Redactor([Secret("sk-0123456"), Secret("sk-0123456789")]).text("sk-0123456789") == "sk-012...***"


def test_a_redactor_of_nothing_changes_nothing() -> None:
    assert Redactor([]).text("abc") == "abc"
    assert Redactor([Secret("")]).data(b"abc") == b"abc"


def test_a_very_short_key_is_masked_where_it_stands_alone() -> None:
    """Local servers take any key; `x` must not turn every `example` into noise."""
    redactor = Redactor([Secret("x")])
    assert redactor.text("Bearer x: no example, x") == f"Bearer {REDACTED}: no example, {REDACTED}"


@pytest.mark.parametrize("key", ["ab/cd+ef==0123", 'quo"te\\0123', "a%b&c=d0123456"])
def test_a_keys_spellings_in_json_and_urls_are_masked(key: str) -> None:
    redactor = Redactor([Secret(key)])
    for spelling in (key, json.dumps(key)[1:-1], json.dumps(key)[1:-1].replace("/", "\\/"), quote(key, safe="")):
        assert redactor.text(f"<{spelling}>") == f"<{mask(key)}>"
        assert redactor.data(f"<{spelling}>".encode()) == f"<{mask(key)}>".encode()


@given(st.text(), st.text(printable, min_size=13), st.text())
def test_no_key_survives_in_any_text(before: str, key: str, after: str) -> None:
    masked = Redactor([Secret(key)]).text(before + key + after)
    assert key not in masked.replace(mask(key), "\0")


WAYS: list[Callable[[str], str]] = [
    lambda character: character,
    lambda character: f"\\u{ord(character):04x}",
    lambda character: f"\\u{ord(character):04X}",
    lambda character: f"\\\\u{ord(character):04x}",
    lambda character: f"%{ord(character):02x}",
    lambda character: f"%{ord(character):02X}",
]


# What begins an escape may make one of what follows it.
unambiguous = st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="\\%")


@given(st.text(unambiguous, min_size=10, max_size=30), st.data())
def test_no_key_survives_however_each_of_its_characters_is_written(key: str, data: st.DataObject) -> None:
    written = "".join(data.draw(st.sampled_from(WAYS))(character) for character in key)
    redactor = Redactor([Secret(key)])
    for text in (f"<{written}>", f'{{"a": "\\u0041 % {written} 100%"}}'):
        assert written not in redactor.text(text)
        assert mask(key) in redactor.text(text)
        assert redactor.data(text.encode()) == redactor.text(text).encode()


@pytest.mark.parametrize(
    "escaped", [r"sk-al\/pha0123", r"sk-al\\/pha0123", r"sk\u002dal\/pha0123", "sk%2Dal%2fpha0123"]
)
def test_single_characters_of_a_key_may_be_escaped(escaped: str) -> None:
    assert Redactor([Secret("sk-al/pha0123")]).text(f"x{escaped}x") == "xsk-al/...***x"


@pytest.mark.parametrize("before", ["", ":", "user:", "bearer ", "ab"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_key_in_base64_is_masked_wherever_it_stands_there(before: str, encode: Callable[[bytes], bytes]) -> None:
    packed = encode(f"{before}{KEY}".encode()).decode()
    head, tail = Redactor([Secret(KEY)]).text(f"Basic {packed}").removeprefix("Basic ").split(mask(KEY))
    assert len(head) <= len(before) * 8 / 6 + 1
    assert len(tail) <= 4


def test_escapes_of_other_things_stay() -> None:
    text = r'{"a": "\u003cb\u003e \u00e9 100%25 \/ \\ \" \n"}'
    assert Redactor([Secret(KEY)]).text(text) is text


@pytest.mark.parametrize("before", [0, 1, 998, 999, 1000, 4999])
def test_a_key_is_found_among_thousands_of_characters_written_by_number(before: int) -> None:
    key = "sk-alpha-0123456789"
    spelled = "".join(f"\\u{ord(character):04x}" for character in "A" * before + key + "B" * 1500)
    data = spelled.encode()
    assert Redactor([Secret(key)]).data(data) == data[: 6 * before] + mask(key).encode() + b"\\u0042" * 1500


# --- secrets that are not known

TOKEN = "cashuBo2F0gaJhaUgB8vxFdYeLxGFwhqNhYRkBAGFzeEBlNjI2ODdl-_OWQ2ZTY2MmM2NzliNDg2ZTFm"
INVOICE = "lnbc770n1p4sch5j9qypqqqdqqxqrrsssp58rmwt3gag87ve2g8tqnzeh2x20tn3dwyassyvafjl6a3cgvlkxgqpp5kyqaaa8cv757z9gj"
NSEC = "nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5"
CHILD_KEY = "sk-defec08f90149353a970282efbf97f17286d4151414db32262973467f482f1e3"
BY_LOOK = {
    "a token": TOKEN,
    "an older token": TOKEN.replace("cashuB", "cashuA"),
    "an invoice": INVOICE,
    "an invoice as QR codes have it": INVOICE.upper(),
    "an invoice of a test network": INVOICE.replace("lnbc", "lnbcrt"),
    "a private key of Nostr": NSEC,
    "a key of a node": CHILD_KEY,
}


@pytest.mark.parametrize("secret", BY_LOOK.values(), ids=BY_LOOK)
@pytest.mark.parametrize(
    "around", ["{}", "it said {}.", '{{"token": "{}"}}', "cashu:{}", "lightning:{}\n", "?t={}&x=1"]
)
def test_money_and_keys_are_masked_by_their_look(secret: str, around: str) -> None:
    masked = Redactor([]).text(around.format(secret))
    assert masked == around.format(mask(secret))
    assert Redactor([Secret(KEY)]).text(around.format(secret)) == masked


@pytest.mark.parametrize(
    "scheme", ["Authorization: Bearer", "authorization: bearer", "BEARER", "Basic", "Proxy: basic"]
)
def test_what_follows_an_authorization_scheme_is_masked(scheme: str) -> None:
    assert Redactor([]).text(f"{scheme} dXNlcjpwYXNzd29yZA==, then") == f"{scheme} dXNlcj...***, then"


@pytest.mark.parametrize(
    "text",
    [
        "cashuAware wallets",
        "a task-force-of-very-many-people-who-sk-i",
        "sk-alp...***",
        "Bearer sk-alp...***",
        "lnbc is a prefix, nsec1 too",
        "a basic misunderstanding of bearer tokens",
    ],
)
def test_words_that_only_begin_like_money_stay(text: str) -> None:
    assert Redactor([]).text(text) is text or Redactor([]).text(text) == text


def test_what_clients_get_is_masked_only_where_it_is_known() -> None:
    """Their own tokens may be in it, and the model's words are."""
    data = f"{TOKEN} {INVOICE}".encode()
    assert Redactor([Secret(KEY)]).data(data) is data


@pytest.mark.parametrize(
    "secret", ["sk-0123456789", "cashuBo2F0gaJhaUgB", "lnbc1u1p4sf0n79q", "LNBC770N1P4SCH5J", "lntb10u1p4sf0n"]
)
def test_what_looks_like_a_secret_is_masked_without_being_known(secret: str) -> None:
    masked = mask_lookalikes(f"got unexpected extra argument ({secret})")
    assert masked == f"got unexpected extra argument ({secret[:6]}...***)"


def test_what_only_begins_like_a_secret_is_left() -> None:
    text = "the risk-free lnbc and cashuB of task-list"
    assert mask_lookalikes(text) == text
