"""What a terminal sends, and what is made of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual import events
from textual.message import Message

from tests.support.clock import Clock
from tui.intake import ANSWER_STALLS_S, LONGEST_ANSWER, LONGEST_PASTE, PASTE_STALLS_S, Background, Intake


def keys(messages: list[Message]) -> list[str]:
    return [message.key for message in messages if isinstance(message, events.Key)]


def pastes(messages: list[Message]) -> list[str]:
    return [message.text for message in messages if isinstance(message, events.Paste)]


def test_keys_and_characters_of_several_bytes_torn_anywhere() -> None:
    typed = "qé模\x1b[A".encode()
    for cut in range(len(typed)):
        intake = Intake()
        found = intake.feed(typed[:cut]) + intake.feed(typed[cut:])
        assert [message.character or message.key for message in found if isinstance(message, events.Key)] == [
            "q",
            "é",
            "模",
            "up",
        ]


@pytest.mark.parametrize("byte", [b"\xff", b"\xe9", b"\xc3", b"\x80", b"\xf5", b"\xed\xa0\x80"])
def test_a_byte_that_is_no_utf_8_is_a_mark_and_what_follows_is_read(byte: bytes) -> None:
    found = Intake().feed(byte + b"q")
    assert keys(found)[-1] == "q"
    assert {message.character for message in found if isinstance(message, events.Key)} <= {"\ufffd", "q"}


@pytest.mark.parametrize(
    "sequence",
    [
        "\x1b[99999999999u",  # no such character
        "\x1b[97;1;1114112u",
        "\x1b[97;1;55296u",  # half of one
        "\x1b[48;99999;99999;1;1t",  # a size that would take all memory
        "\x1b[48;0;0;0;0t",
        "\x1b[<0;99999999999999;1M",
        "\x1b[?2048;1$y",
    ],
)
def test_sequences_that_mean_nothing_here_do_nothing_and_what_follows_is_read(sequence: str) -> None:
    found = Intake().feed(sequence.encode() + b"q")
    assert keys(found) == ["q"]
    assert not any(isinstance(message, events.Resize) for message in found)


def test_a_paste_is_one_message_wherever_it_is_torn() -> None:
    typed = b"a\x1b[200~model:gpt\nq\x1b[Aq\x1b[201~b"
    for cut in range(len(typed)):
        intake = Intake()
        found = intake.feed(typed[:cut]) + intake.feed(typed[cut:])
        assert (pastes(found), keys(found)) == (["model:gpt\nq\x1b[Aq"], ["a", "b"])


def test_a_huge_paste_is_cut_and_never_held() -> None:
    intake = Intake()
    intake.feed(b"\x1b[200~")
    for _ in range(2000):
        assert not intake.feed(b"x" * 4096)
        assert len(intake._pasted or "") <= LONGEST_PASTE
    found = intake.feed(b"\x1b[201~q")
    assert (pastes(found), keys(found)) == (["x" * LONGEST_PASTE], ["q"])


def test_a_paste_without_an_end_does_not_swallow_keys_for_ever() -> None:
    clock = Clock(0.0)
    intake = Intake(clock)
    intake.feed(b"\x1b[200~abc")
    assert not intake.tick()
    clock.now = PASTE_STALLS_S + 0.1
    assert pastes(intake.tick()) == ["abc"]
    assert keys(intake.feed(b"q")) == ["q"]


@given(st.lists(st.one_of(st.binary(max_size=40), st.sampled_from([b"\x1b[200~", b"\x1b[201~", b"\x1b[", b"\x1b"]))))
def test_no_bytes_break_it_and_a_key_after_them_is_read(readings: list[bytes]) -> None:
    clock = Clock(0.0)
    intake = Intake(clock)
    for data in readings:
        intake.feed(data)
        intake.tick()
    clock.now = PASTE_STALLS_S + 0.1
    intake.tick()
    intake.feed(b"\x1b[201~ \x1b[B")  # the end of whatever was begun
    assert keys(intake.feed(b"q"))[-1:] == ["q"]


@given(st.text("\x1b[]<>?;:0123456789~uMmtRA$yOPI", max_size=60))
def test_no_sequence_breaks_it_and_none_sets_a_size(typed: str) -> None:
    intake = Intake()
    found = intake.feed(typed.encode()) + intake.tick()
    assert not any(isinstance(message, events.Resize) for message in found)


def lights(messages: list[Message]) -> list[bool]:
    return [message.light for message in messages if isinstance(message, Background)]


@pytest.mark.parametrize(
    ("colour", "light"),
    [
        ("rgb:ffff/ffff/ffff", True),
        ("rgb:0000/0000/0000", False),
        ("rgb:fd/f6/e3", True),
        ("rgb:1/1/4", False),
        ("rgba:2828/2a2a/3636/ffff", False),
    ],
)
@pytest.mark.parametrize("end", ["\x07", "\x1b\\"])
def test_a_terminal_says_whether_its_background_is_light_wherever_that_is_torn(
    colour: str, light: bool, end: str
) -> None:
    said = f"a\x1b]11;{colour}{end}b".encode()
    for cut in range(len(said)):
        intake = Intake()
        found = intake.feed(said[:cut]) + intake.feed(said[cut:])
        assert (lights(found), keys(found)) == ([light], ["a", "b"])


@pytest.mark.parametrize(
    "said", ["\x1b]11;?\x07", "\x1b]11;#ffffff\x07", "\x1b]10;rgb:0/0/0\x07", "\x1b]52;c;cTE=\x1b\\"]
)
def test_other_answers_mean_nothing_and_nothing_of_them_is_typed(said: str) -> None:
    found = Intake().feed(said.encode() + b"q")
    assert (lights(found), keys(found)) == ([], ["q"])


def test_an_answer_without_its_end_swallows_keys_for_a_moment_only() -> None:
    clock = Clock()
    intake = Intake(clock)
    intake.feed(b"\x1b]11;rgb:ffff")
    clock.now += ANSWER_STALLS_S + 0.1
    assert intake.tick() == []
    assert keys(intake.feed(b"q")) == ["q"]


def test_an_answer_that_never_ends_is_not_held() -> None:
    intake = Intake()
    for _ in range(50):
        intake.feed(b"\x1b]11;" + b"x" * LONGEST_ANSWER)
    assert keys(intake.feed(b"q")) == ["q"]


def test_a_bracket_long_after_an_escape_begins_no_answer() -> None:
    clock = Clock()
    intake = Intake(clock)
    intake.feed(b"\x1b")
    clock.now += 1
    assert lights(intake.feed(b"]11;rgb:ffff/ffff/ffff\x07")) == []
