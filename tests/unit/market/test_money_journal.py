"""The journal: on the disk before anything is sent, private, locked, empty once the money has arrived."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from arbstr.market.money_journal import JournalBusy, JournalUnusable, has_moves, journal_path, opened
from arbstr.market.money_moves import InvoiceMove, Move, RefundMove, TokenMove, decode, encode, new_id
from tests.unit.test_private_files import recorded

TOKEN = "cashuBsecret0123456789"
INVOICE = "lnbc1secret0123456789"
KEY = "sk-secret0123456789"


def token_move() -> TokenMove:
    return TokenMove(id=new_id(), provider="a", url="http://a.example", key=None, token=TOKEN)


MOVES: list[Move] = [
    token_move(),
    InvoiceMove(
        id="2", provider="a", url="u", key=KEY, before_msats=5, bolt11=INVOICE, invoice_id="i", path="p", sats=7,
        expires_at_s=9,
    ),
    RefundMove(id="3", provider="ä", url="u", key=KEY, before_msats=5, to="/tmp/x", token=TOKEN),
]  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return journal_path(tmp_path / "config.toml")


def test_it_lies_beside_the_file_that_a_link_leads_to(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.toml").symlink_to(tmp_path / "real" / "config.toml")
    assert journal_path(tmp_path / "link.toml") == tmp_path / "real" / "config.toml.money"


def test_moves_are_there_for_the_next_one_in_their_order(path: Path) -> None:
    with opened(path) as journal:
        for move in MOVES:
            journal.put(move)
    with opened(path) as journal:
        assert journal.moves == MOVES
        journal.put(replace(MOVES[1], key="sk-other"))
    with opened(path) as journal:
        assert [move.key for move in journal.moves] == [None, "sk-other", KEY]


def test_a_move_that_has_come_to_its_end_leaves_no_trace(path: Path) -> None:
    with opened(path) as journal:
        move = token_move()
        journal.put(move)
        assert has_moves(path)
        journal.remove(move)
    assert not has_moves(path)
    assert path.read_bytes() == b""
    assert list(path.parent.iterdir()) == [path]


def test_what_a_crash_left_half_written_is_removed(path: Path) -> None:
    half = path.with_name(".config.toml.money.new")
    half.write_text(TOKEN)
    assert has_moves(path)
    with opened(path) as journal:
        assert journal.moves == []
    assert list(path.parent.iterdir()) == [path]
    assert not has_moves(path)


def test_it_is_private_from_its_first_byte(path: Path) -> None:
    before = os.umask(0)
    try:
        with opened(path) as journal:
            journal.put(token_move())
            assert path.stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)


def test_one_that_others_could_read_becomes_private(path: Path) -> None:
    path.write_text("")
    path.chmod(0o644)
    with opened(path):
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_move_is_on_the_disk_when_put_returns(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(path) as journal:
        calls = recorded(monkeypatch, "write", "fsync", "replace")
        journal.put(token_move())
    assert calls == ["write", "fsync", "replace", "fsync"]


def test_a_second_one_waits_and_then_says_why_it_can_not(path: Path) -> None:
    with opened(path) as journal:
        for _ in range(2):
            with pytest.raises(JournalBusy, match="another arbstr is moving money"), opened(path, patience_s=0.1):
                pass
            journal.put(token_move())  # whose file is another one, locked as well


def test_who_waited_sees_what_was_written_meanwhile(path: Path) -> None:
    seen: list[Move] = []

    def wait() -> None:
        with opened(path) as journal:
            seen.extend(journal.moves)

    with opened(path) as journal:
        waiting = threading.Thread(target=wait)
        waiting.start()
        journal.put(MOVES[0])
        journal.put(MOVES[1])
    waiting.join(10)
    assert seen == MOVES[:2]


def test_a_line_that_can_not_be_read_stops_everything_and_is_not_quoted(path: Path) -> None:
    path.write_text(f'{{"kind": "token", "id": "1", "token": "{TOKEN}"}}\n')
    with pytest.raises(JournalUnusable, match="line 1, can't be read: it lacks provider, url") as caught, opened(path):
        pass
    assert TOKEN not in str(caught.value)
    path.write_text(f"not JSON {TOKEN}\n")
    with pytest.raises(JournalUnusable, match="it is not JSON") as caught, opened(path):
        pass
    assert TOKEN not in str(caught.value)
    assert TOKEN in path.read_text()


def test_a_full_disk_is_said_before_anything_is_sent(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(path) as journal:
        journal.put(MOVES[0])

        def full(descriptor: int, data: bytes) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "write", full)
        with pytest.raises(JournalUnusable, match="No space left on device"):
            journal.put(MOVES[1])
        assert journal.moves == MOVES[:1]
    with opened(path) as journal:
        assert journal.moves == MOVES[:1]


def test_a_directory_that_can_not_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(JournalUnusable, match="can't be written"), opened(tmp_path / "absent" / "x.money"):
        pass


@pytest.mark.parametrize("move", MOVES)
def test_a_move_shows_none_of_its_secrets(move: Move) -> None:
    shown = f"{move} {move!r} {[move]}"
    assert not any(secret in shown for secret in (TOKEN, INVOICE, KEY))
    assert decode(encode(move)) == move


@pytest.mark.parametrize(
    "document",
    [None, [], {}, {"kind": "other"}, {**encode(MOVES[0]), "id": 1}, {**encode(MOVES[0]), "more": 1}, {"kind": []}],
)
def test_what_is_no_move_is_refused(document: object) -> None:
    with pytest.raises(ValueError, match="it "):
        decode(document)
