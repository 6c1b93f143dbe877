"""The line in which a filter is typed: what it shows, what Esc, Tab and the arrows do in it."""

from __future__ import annotations

import pytest
from textual.widgets import Input

from tests.screenshots.scenes import settled
from tests.support.dashboard_fakes import FakeSource, lived_in
from tests.support.dashboard_pilot import DashboardPilot, dashboard_pilot

SCREENS = {
    "1": "Spend by model",
    "2": "newest first",
    "3": "Health and history",
    "4": "sats  model",
    "5": "following",
}
EXAMPLES = ("model:gpt", "a part of", "text to find")


def line(each: DashboardPilot) -> str | None:
    """The filter line as it is on the screen, None while there is none."""
    return next((text[3:].strip() for text in each.text.splitlines() if text.startswith(" / ")), None)


async def filtered(each: DashboardPilot, typed: str) -> None:
    await each.press("slash")
    await each.type(typed)
    await each.press("enter")
    await each.until(lambda: line(each) == typed)


@pytest.mark.parametrize("key", SCREENS)
async def test_esc_while_typing_leaves_neither_filter_nor_anything_that_looks_like_one(key: str) -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press(key)
        await each.shows(SCREENS[key])
        await settled(each)
        before = each.text
        await each.press("slash", "a", "b", "c", "escape")
        await each.until(lambda: line(each) is None)
        await each.pilot.pause(0.1)
        assert line(each) is None
        assert not any(example in each.text for example in EXAMPLES)
        assert each.text.splitlines()[-3:] == before.splitlines()[-3:]
        await each.shows(SCREENS[key])  # and not the first screen


@pytest.mark.parametrize("key", SCREENS)
async def test_one_esc_leaves_a_kept_filter_and_the_next_goes_to_the_first_screen(key: str) -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press(key)
        await each.shows(SCREENS[key])
        await filtered(each, "gpt")
        await each.press("escape")
        await each.until(lambda: line(each) is None)
        await each.shows(SCREENS[key])
        await each.press("escape")
        await each.shows(SCREENS["1"])


@pytest.mark.parametrize("key", ["1", "2"])
async def test_one_esc_leaves_a_filter_whatever_is_selected(key: str) -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press(key)
        await filtered(each, "model:claude")
        await each.press("j", "j")
        await each.shows("filtered", "Esc clears")
        await each.press("enter")
        await each.shows("Request in full")
        await each.press("escape")
        await each.shows(SCREENS[key], "Esc clears")
        await each.press("escape")
        await each.until(lambda: line(each) is None and "Esc" not in each.text and "filtered" not in each.text)
        assert each.app.dashboard.model.feed.selected is None
        await each.shows(SCREENS[key], "gpt-4o")


async def test_a_cancelled_change_of_a_filter_restores_it() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("2")
        await filtered(each, "model:claude")
        total = sum(record.model.startswith("claude") for record in each.source.ledger.records)
        await each.shows(f"Requests  {total}")
        await each.press("slash")
        await each.type("xyz")
        await each.shows("Nothing in the ledger passes the filter")
        await each.press("escape")
        await each.shows(f"Requests  {total}")
        assert line(each) == "model:claude"


async def test_an_empty_line_that_is_kept_is_no_filter() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("slash", "space", "enter")
        await each.until(lambda: line(each) is None)
        assert "filtered" not in each.text


async def test_what_means_nothing_is_an_error_at_once_and_enter_does_not_pass_it() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("2")
        await each.shows("Requests  783")
        await each.press("slash")
        await each.type("foo:bar")
        await each.shows(
            "not in force: foo: is no field", "model: provider: policy: client: dialect: status: kind:", "Requests  783"
        )
        await each.press("enter", "q")
        await each.until(lambda: line(each) == "foo:barq")
        await each.shows("not filtered, Esc clears")
        await each.press("escape")
        await each.until(lambda: line(each) is None)


async def test_tab_completes_fields_and_names_and_never_leaves_the_line() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("2", "slash")
        await each.type("mo")
        await each.press("tab")
        await each.until(lambda: line(each) == "model:")
        await each.type("cl")
        await each.press("tab")
        await each.until(lambda: line(each) == "model:claude-3.5-sonnet")
        await each.press("tab", "shift+tab", "tab", "q")
        await each.until(lambda: line(each) == "model:claude-3.5-sonnetq")
        assert each.app.return_code is None


async def test_tab_goes_through_several_names_and_back() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("slash")
        await each.type("model:gpt")
        await each.press("tab")
        await each.until(lambda: line(each) == "model:gpt-4o")
        await each.shows("model:gpt-4o  model:gpt-4o-mini")
        await each.press("tab")
        await each.until(lambda: line(each) == "model:gpt-4o-mini")
        await each.press("shift+tab", "shift+tab")
        await each.until(lambda: line(each) == "model:gpt")


@pytest.mark.parametrize(("key", "typed", "name"), [("3", "al", "alpha"), ("4", "llama", "llama-3.3-70b")])
async def test_tab_completes_names_where_a_filter_is_only_names(key: str, typed: str, name: str) -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press(key)
        await each.shows(SCREENS[key], name)
        await each.press("slash")
        await each.type(typed)
        await each.press("tab")
        await each.until(lambda: line(each) == name)


@pytest.mark.parametrize("key", SCREENS)
async def test_tab_stays_in_the_line_where_there_is_nothing_to_complete(key: str) -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press(key)
        await each.shows(SCREENS[key])
        await each.press("slash")
        await each.type("zzz")
        await each.press("tab", "q")
        await each.until(lambda: line(each) == "zzzq")


async def test_the_arrows_bring_back_earlier_filters_also_those_of_the_feed() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await filtered(each, "model:claude")
        await each.press("escape")
        await each.press("2")
        await filtered(each, "provider:beta")
        await each.press("escape", "slash")
        await each.type("draft")
        await each.press("up")
        await each.until(lambda: line(each) == "provider:beta")
        await each.press("up", "up")
        await each.until(lambda: line(each) == "model:claude")
        await each.press("down", "down")
        await each.until(lambda: line(each) == "draft")
        await each.press("escape")
        await filtered(each, "provider:beta")
        await each.press("slash", "up")
        await each.until(lambda: line(each) == "model:claude")  # the one that is there already would be no other


async def test_keys_type_into_no_line_that_cannot_be_seen() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("3", "slash")
        await each.type("al")
        await each.pilot.resize_terminal(40, 10)
        await each.shows("arbstr needs 60x15", "this terminal is 40x10")
        await each.press("space", "slash", "f", "2", "question_mark")
        assert all(provider.in_rotation for provider in each.source.providers.values())
        assert not each.app.dashboard.model.frozen
        assert each.app.current_mode == "providers"
        assert each.app.focused is None
        await each.press("q")
        await each.until(lambda: each.app.return_code == 0)


async def test_a_filter_of_one_screen_is_not_shown_on_another() -> None:
    async with dashboard_pilot(FakeSource()) as each:
        await filtered(each, "abc")
        await each.press("2")
        await each.until(lambda: "Requests  " in each.text and line(each) is None)
        await each.press("1")
        await each.until(lambda: line(each) == "abc")
        assert each.app.screen.query_one("#typed", Input).value == "abc"
