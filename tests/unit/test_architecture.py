"""The map of the house is true: every package is on it, every module that it names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.paths import TOP

MAP = (TOP / ".github" / "ARCHITECTURE.md").read_text()
PACKAGES = sorted(
    str(init.parent.relative_to(TOP)).replace("/", ".")
    for top in ("arbstr", "tui")
    for init in (TOP / top).rglob("__init__.py")
)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_has_its_line(package: str) -> None:
    assert f"| `{package}` |" in MAP


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_says_what_it_is(package: str) -> None:
    text = (TOP / package.replace(".", "/") / "__init__.py").read_text()
    assert re.match(r'"""\S.{20,}', text)


def test_every_file_that_it_names_exists() -> None:
    named = re.findall(r"`((?:[a-z_]+/)+[a-z_0-9]+\.py|[a-z_]+\.py)`", MAP)
    assert named
    missing = [name for name in named if not _exists(name)]
    assert missing == []


def _exists(name: str) -> bool:
    return (TOP / name).exists() or (TOP / "arbstr" / name).exists() or Path(TOP, "arbstr/engine", name).exists()
