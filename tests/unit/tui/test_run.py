"""How an end is explained."""

from __future__ import annotations

from tui.format import clock
from tui.run import explain


def test_an_error_is_described_with_its_place_in_the_dashboard() -> None:
    try:
        clock("noon", None)  # type: ignore[arg-type]  # wrong on purpose
    except TypeError as error:
        said = explain(error)
    assert said.startswith("TypeError: unsupported operand")
    assert "(format.py:" in said


def test_an_error_from_elsewhere_is_described_with_its_own_place() -> None:
    try:
        int("many")
    except ValueError as error:
        said = explain(error)
    assert said.startswith("ValueError: invalid literal")
    assert "(test_run.py:" in said


def test_an_error_without_message_or_place_is_described_by_its_name() -> None:
    assert explain(KeyError()) == "KeyError"
