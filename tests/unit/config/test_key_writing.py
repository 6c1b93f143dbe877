"""A key is put into a provider's table; nothing else in the file changes."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from arbstr.config.key_writing import is_fit, with_key, write_key
from arbstr.errors import ConfigError

KEY = "sk-0123456789abcdef"
FILE = """# My nodes.

[server]
listen = "127.0.0.1:8080"   # here

[[providers]]
name = "a"     # the first
url = "http://same.example/v1"
kind = "routstr"
# api_key = "${OLD}"

# The second one.
  [[providers]]
  name = "b"
  url = "http://same.example/v1"  # twice

[aliases]
b = "http://same.example/v1"
"""


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "marked"])
def test_one_line_is_added_to_the_right_table(index: int, line_end: str, mark: bytes) -> None:
    data = mark + FILE.replace("\n", line_end).encode()
    after = with_key(data, index, KEY)
    assert after is not None
    added = f'api_key = "{KEY}"'.encode()
    (line,) = [line for line in after.splitlines(keepends=True) if line.strip() == added]
    assert after.replace(line, b"") == data
    assert line.endswith(line_end.encode())
    providers = tomllib.loads(after.decode("utf-8-sig"))["providers"]
    assert [provider.get("api_key") for provider in providers] == [KEY if index == i else None for i in range(2)]


def test_it_stands_below_the_url_with_its_indent() -> None:
    after = with_key(FILE.encode(), 1, KEY)
    assert after is not None
    assert f'  url = "http://same.example/v1"  # twice\n  api_key = "{KEY}"\n'.encode() in after


@pytest.mark.parametrize(
    "text",
    [
        '[[providers]]\nname = "a"\nurl = "http://a.example"',  # no line end
        'providers = [{ name = "a", url = "http://a.example" }]\n',
        'providers = [\n  { url = "http://a.example", name = "a" },\n]\n',
        "[[providers]]\n\"name\" = 'a'\n\"url\" = 'http://a.example'\n",
        'x = """\n[[providers]]\nurl = "http://a.example"\n"""\n[[providers]]\nname = "a"\nurl = "http://a.example"\n',
        '[[providers]]\nname = "a"\nurl = "http://a.example"\ntimeouts = { connect = 5 }\n',
        '[[providers]]\ntimeouts.connect = 5\nname = "${NAME}"\nurl = "http://${HOST}/v1"\n',
    ],
)
def test_any_layout_in_which_it_can_stand(text: str) -> None:
    after = with_key(text.encode(), 0, KEY)
    assert after is not None
    wanted = tomllib.loads(text)
    wanted["providers"][0]["api_key"] = KEY
    assert tomllib.loads(after.decode()) == wanted


def test_a_layout_in_which_no_line_can_be_put_is_left_alone(tmp_path: Path) -> None:
    text = '[[providers]]\nname = "\\u007a\\u007a"\nurl = "http:\\u002f/yy.example"\n'
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"providers\[0\]; write that table as"):
        write_key(path, 0, KEY)
    assert path.read_text() == text


def test_the_file_is_private_afterwards_and_a_link_to_it_stays_one(tmp_path: Path) -> None:
    real, link = tmp_path / "real.toml", tmp_path / "config.toml"
    real.write_text(FILE)
    real.chmod(0o644)
    link.symlink_to(real)
    write_key(link, 0, KEY)
    assert link.is_symlink()
    assert KEY in real.read_text()
    assert real.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("key", "fit"), [(KEY, True), ('sk-"\nx = "', False), ("sk-$${HOME}x", False), ("sk", False)])
def test_a_key_that_would_say_more_than_a_key_is_none(key: str, fit: bool) -> None:
    assert is_fit(key) is fit
