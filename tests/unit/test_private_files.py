"""A file is replaced whole or not at all, and is its owner's alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arbstr import private_files
from arbstr.private_files import change, lock, replace, temporary_path


def recorded(monkeypatch: pytest.MonkeyPatch, *names: str) -> list[str]:
    """The calls of these functions of `os`, as they come."""
    calls: list[str] = []

    def noted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **named: Any) -> Any:
            calls.append(name)
            return call(*arguments, **named)

        return called

    for name in names:
        monkeypatch.setattr(os, name, noted(name, getattr(os, name)))
    return calls


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_it_is_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        replace(tmp_path / "file", b"text")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_the_new_text_is_on_the_disk_before_it_takes_the_old_ones_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = recorded(monkeypatch, "fsync", "replace")
    replace(tmp_path / "file", b"text")
    assert calls == ["fsync", "replace", "fsync"], "the text, its place, the name"


def test_what_a_crash_left_behind_is_cleared_by_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    temporary_path(path).write_text("half of a te")
    replace(path, b"text")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_failure_leaves_the_old_text_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        replace(path, b"new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_who_changes_a_file_has_it_locked(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("a")

    def changed(data: bytes) -> bytes:
        with path.open() as other:
            assert not lock(other.fileno())
        return data + b"b"

    change(path, changed)
    assert path.read_text() == "ab"
    with path.open() as other:
        assert lock(other.fileno())


def test_what_was_changed_while_the_lock_was_waited_for_is_not_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text("a")
    others = [b"ab", b"abc"]

    def taken_after_another_change(descriptor: int, *, waits: bool) -> bool:
        assert waits
        if others:
            replace(path, others.pop(0))
        return True

    monkeypatch.setattr(private_files, "lock", taken_after_another_change)
    change(path, lambda data: data + b"d")
    assert path.read_text() == "abcd"


def test_a_file_system_without_locks_is_written_to_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(descriptor: int, *, waits: bool) -> bool:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(private_files, "lock", none)
    (tmp_path / "file").write_text("a")
    change(tmp_path / "file", bytes.upper)
    assert (tmp_path / "file").read_text() == "A"
