"""A client's settings file: changed in one step with a backup, or left as it is."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from arbstr.connect.merging import Unmergeable
from arbstr.connect.settings_file import change
from arbstr.errors import UnusableInput


def plus_ours(text: str) -> str:
    return text if text.endswith("ours\n") else f"{text}ours\n"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_an_absent_file_is_made_with_its_folders_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "settings"
    assert change(path, plus_ours) == (path, True, None)
    assert (path.read_text(), mode(path), mode(path.parent)) == ("ours\n", 0o600, 0o700)


@pytest.mark.parametrize("bits", [0o600, 0o644, 0o640])
def test_a_file_keeps_its_mode_and_its_old_text_in_a_backup(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "settings"
    path.write_text("mine\n")
    path.chmod(bits)
    backup = tmp_path / "settings.bak"
    assert change(path, plus_ours) == (path, True, backup)
    assert (path.read_text(), mode(path)) == ("mine\nours\n", bits)
    assert (backup.read_text(), mode(backup)) == ("mine\n", bits)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["settings", "settings.bak"]


def test_what_needs_no_change_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "settings"
    path.write_text("mine\nours\n")
    before = path.stat()
    assert change(path, plus_ours) == (path, False, None)
    assert path.stat() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_backup_takes_no_other_files_place(tmp_path: Path) -> None:
    path = tmp_path / "settings"
    for number in range(3):
        path.write_text(f"{number}\n")
        change(path, plus_ours)
    backups = {file.name: file.read_text() for file in tmp_path.iterdir() if file != path}
    assert backups == {"settings.bak": "0\n", "settings.bak1": "1\n", "settings.bak2": "2\n"}


def test_a_link_stays_one_and_the_file_it_leads_to_changes(tmp_path: Path) -> None:
    target, link = tmp_path / "dotfiles" / "settings", tmp_path / "settings"
    target.parent.mkdir()
    target.write_text("mine\n")
    link.symlink_to(target)
    change(link, plus_ours)
    assert link.is_symlink()
    assert target.read_text() == "mine\nours\n"
    assert (target.parent / "settings.bak").exists()


def test_line_ends_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "settings"
    path.write_bytes(b"mine\r\n")
    change(path, plus_ours)
    assert path.read_bytes() == b"mine\r\nours\r\n"


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(UnusableInput, match="is no settings file"):
            change(tmp_path / name, plus_ours)


def test_a_file_that_cannot_be_merged_is_left_and_why_is_said(tmp_path: Path) -> None:
    def refuses(text: str) -> str:
        raise Unmergeable("it is odd")

    path = tmp_path / "settings"
    path.write_bytes(b"mine")
    with pytest.raises(UnusableInput, match="was left as it is: it is odd; put the settings in by hand"):
        change(path, refuses)
    path.write_bytes(b"\xff")
    with pytest.raises(UnusableInput, match="not UTF-8"):
        change(path, plus_ours)
    assert path.read_bytes() == b"\xff"
    assert list(tmp_path.iterdir()) == [path]
