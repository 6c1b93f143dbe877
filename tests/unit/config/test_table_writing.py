"""Tables of the configuration file are added, changed and removed; every other byte stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from arbstr.config.table_writing import add_tables, remove_table, set_value, with_tables, with_value, without_table
from arbstr.errors import ConfigError

FILE = b"""\xef\xbb\xbf# my file
[server]
listen = ":8080"   # here

[[clients]]  # the first
name = "alice"
# her key
key_sha256 = "aaaa"

# bob's is last
[[clients]]
name = 'bob'
key_sha256 = "bbbb"
allowed_models = [
  "[[clients]]",
]

# how
[policies]
default_strategy = "cheapest"
"""


def test_a_table_is_added_at_the_end_also_behind_others_of_its_kind() -> None:
    changed = with_tables(FILE, "clients", [{"name": "carol", "key_sha256": "cccc"}])
    assert changed == FILE + b'\n[[clients]]\nname = "carol"\nkey_sha256 = "cccc"\n'


def test_line_ends_are_the_files() -> None:
    changed = with_tables(b"[server]\r\n", "clients", [{"name": "carol", "key_sha256": "cccc"}])
    assert changed == b'[server]\r\n\r\n[[clients]]\r\nname = "carol"\r\nkey_sha256 = "cccc"\r\n'


def test_no_table_is_added_to_a_list_within_brackets() -> None:
    assert with_tables(b'clients = [{ name = "alice" }]\n', "clients", [{"name": "carol"}]) is None


def test_a_value_is_changed_where_it_stands() -> None:
    assert with_value(FILE, "clients", 1, "key_sha256", "dddd") == FILE.replace(b"bbbb", b"dddd")


def test_the_right_one_of_equal_values_is_changed() -> None:
    twice = FILE.replace(b"bbbb", b"aaaa")
    assert with_value(twice, "clients", 1, "key_sha256", "dddd") == FILE.replace(b"bbbb", b"dddd")


def test_a_value_within_brackets_can_be_changed_too() -> None:
    line = b'clients = [{ name = "alice", key_sha256 = "aaaa" }]\n'
    assert with_value(line, "clients", 0, "key_sha256", "dddd") == line.replace(b"aaaa", b"dddd")


def test_a_table_is_removed_with_its_comments_and_those_of_others_stay() -> None:
    first = FILE.index(b"[[clients]]  #"), FILE.index(b"# bob's")
    assert without_table(FILE, "clients", 0) == FILE[: first[0]] + FILE[first[1] :]


def test_brackets_within_a_value_do_not_end_a_table() -> None:
    second = FILE.index(b"[[clients]]\nname"), FILE.index(b"# how")
    assert without_table(FILE, "clients", 1) == FILE[: second[0]] + FILE[second[1] :]


def test_the_only_table_is_removed_at_the_files_end() -> None:
    assert without_table(b'[server]\n\n[[clients]]\nname = "a"\n', "clients", 0) == b"[server]\n\n"


@pytest.mark.parametrize("text", ['clients = [{ name = "a" }]\n', '[[ "clients" ]]\nname = "a"\n'])
def test_a_table_without_the_usual_header_is_not_removed(text: str) -> None:
    assert without_table(text.encode(), "clients", 0) is None


def test_tables_are_found_by_name_as_the_file_is_by_then(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(FILE)
    remove_table(path, "clients", "Alice")
    set_value(path, "clients", "BOB", "key_sha256", "cccc")
    assert b'"cccc"' in path.read_bytes()
    assert b"alice" not in path.read_bytes()
    add_tables(path, "clients", [{"name": "$$1"}])
    remove_table(path, "clients", "$1")
    assert b"$$1" not in path.read_bytes()


def test_what_another_has_done_meanwhile_is_said_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(FILE)
    with pytest.raises(ConfigError, match='has "ALICE" in its clients by now'):
        add_tables(path, "clients", [{"name": "ALICE", "key_sha256": "cccc"}])
    gone = 'has no "carol" in its clients any more'
    with pytest.raises(ConfigError, match=gone):
        remove_table(path, "clients", "carol")
    with pytest.raises(ConfigError, match=gone):
        set_value(path, "clients", "carol", "key_sha256", "cccc")
    assert path.read_bytes() == FILE
