from __future__ import annotations

from textual.color import Color

from tui.stylesheet import KeptStylesheet


def colour(stylesheet: KeptStylesheet) -> Color | None:
    return stylesheet.rules[0].styles.color


def test_rules_are_parsed_again_for_other_colours_alone() -> None:
    stylesheet = KeptStylesheet(variables={"hue": "red"})
    stylesheet.add_source("Label { color: $hue; }")
    rules = stylesheet.rules

    stylesheet.set_variables({"hue": "red"})
    stylesheet.reparse()
    assert stylesheet.rules is rules

    stylesheet.set_variables({"hue": "blue"})
    stylesheet.reparse()
    assert colour(stylesheet) == Color.parse("blue")


def test_a_source_that_is_new_counts_at_once() -> None:
    stylesheet = KeptStylesheet(variables={"hue": "red"})
    stylesheet.add_source("Label { color: $hue; }", read_from=("first", ""))
    assert len(stylesheet.rules) == 1

    stylesheet.add_source("Input { color: $hue; }", read_from=("second", ""))
    stylesheet.reparse()
    assert len(stylesheet.rules) == 2
