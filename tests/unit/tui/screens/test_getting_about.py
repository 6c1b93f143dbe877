"""The dashboard by keys and clicks: its screens, help and palette."""

from __future__ import annotations

import pytest

from tests.support.dashboard_fakes import lived_in
from tests.support.dashboard_pilot import dashboard_pilot
from tui.render.themes import LIGHT, TERMINAL


async def test_every_screen_by_number_and_by_tab() -> None:
    marks = ["Spend by model", "newest first", "Health and history", "Learned lengths", "following"]
    async with dashboard_pilot(lived_in()) as each:
        for number, mark in enumerate(marks, 1):
            await each.press(str(number))
            await each.shows(mark)
        await each.press("tab")
        await each.shows(marks[0])
        await each.press("shift+tab")
        await each.shows(marks[4])
        await each.press("escape")
        await each.shows(marks[0])


async def test_tab_leaves_a_request_in_full_for_the_next_screen() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("j", "enter")
        await each.shows("Request in full")
        await each.press("tab")
        await each.shows("newest first")


@pytest.mark.parametrize(
    ("key", "typed", "stays", "goes"), [("3", "BETA", "beta", "delta"), ("4", "mini", "gpt-4o-mini", "llama")]
)
async def test_providers_and_sums_are_filtered_by_name(key: str, typed: str, stays: str, goes: str) -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press(key)
        await each.shows(stays, goes)
        await each.press("slash")
        await each.type(typed)
        await each.hides(goes)
        assert stays in each.text
        await each.press("escape")
        await each.shows(goes)


async def test_a_filter_that_no_provider_passes_leaves_nothing_to_act_on() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("3", "slash")
        await each.type("nobody")
        await each.press("enter")
        await each.shows("no provider passes the filter")
        await each.press("space", "r", "j")
        assert all(provider.in_rotation for provider in each.source.providers.values())


async def test_a_click_on_the_bottom_line_is_as_good_as_the_key() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.pilot.click(offset=(each.text.splitlines()[-1].index("Money"), 35))
        await each.shows("Learned lengths")
        await each.pilot.click(offset=(each.text.splitlines()[-1].index("freeze"), 35))
        await each.shows("‖ frozen")


async def test_help_is_found_by_typing_and_left_by_escape() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("question_mark")
        await each.shows("Everywhere", "Filters on Live and Requests", "Open the selected request in full")
        assert each.text.count("Everywhere") == 1
        await each.type("rotation")
        await each.hides("Everywhere")
        await each.shows("Take the provider out of rotation")
        await each.press("escape")
        await each.hides("Take the provider out")


async def test_help_begins_with_the_screen_in_sight_and_finds_a_key_by_its_name() -> None:
    async with dashboard_pilot(lived_in(), size=(80, 24)) as each:
        await each.press("5", "question_mark")
        await each.shows("Wrap long lines", "status:error")
        await each.type("f")
        await each.shows("Freeze what is shown")
        await each.hides("status:error")


async def test_where_a_line_of_the_help_has_no_room_its_rest_stands_below_its_words() -> None:
    async with dashboard_pilot(lived_in(), size=(60, 15)) as each:
        await each.press("question_mark")
        await each.shows("Copy its id, then also its row")
        lines = each.text.splitlines()
        place = next(y for y, text in enumerate(lines) if "Copy its id" in text)
        rest = lines[place + 1].removeprefix("│").removesuffix("│")
        assert len(rest) - len(rest.lstrip()) == lines[place].index("Copy") - 1
        assert "command" in rest


async def test_enter_in_the_help_does_what_the_line_says_where_it_can_be_done() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("question_mark")
        await each.type("freeze")
        await each.press("enter")
        await each.shows("‖ frozen")
        await each.press("question_mark")
        await each.type("breaker")
        await each.press("enter")
        await each.shows("Health and history")


async def test_tab_in_the_help_shows_the_next_part() -> None:
    async with dashboard_pilot(lived_in(), size=(80, 24)) as each:
        await each.press("question_mark", "tab", "tab")
        await each.shows("Palette: every command by name")
        await each.press("shift+tab")
        await each.shows("models whose name contains it")


async def test_the_palette_offers_every_action_of_the_screen_and_the_themes() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("2")
        await each.shows("newest first")
        commands = {command.title: command.help for command in each.app.get_system_commands(each.app.screen)}
        assert commands["Choose the columns"] == "Here, key c"
        names = list(commands)
        assert {"Sort by the next of time, cost and first byte", "Theme: light", "Mouse: off", "Help"} <= set(names)
        assert "Close the provider's breaker" not in names
        await each.press("ctrl+p")
        await each.type("Theme: light")
        await each.until(lambda: "Change the colours" in each.text)
        await each.press("enter")
        await each.until(lambda: each.app.theme == LIGHT.name)


@pytest.mark.parametrize("theme", [LIGHT.name, TERMINAL.name, "nord"])
async def test_a_theme_repaints_everything(theme: str) -> None:
    async with dashboard_pilot(lived_in()) as each:
        before = each.app.export_screenshot()
        each.app.theme = theme
        await each.pilot.pause(0.1)
        assert each.app.export_screenshot() != before
        await each.shows("Spend by model")
