"""What was chosen is so again at the next start."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from arbstr.dashboard_keys import with_changes
from tests.support.dashboard_fakes import lived_in
from tests.support.dashboard_pilot import dashboard_pilot, happen
from tui.intake import Background
from tui.model.habits import Habits
from tui.model.options import Options
from tui.render.themes import LIGHT


def chosen(path: Path) -> Options:
    return Options(habits=Habits(path))


async def test_range_zone_and_theme_are_so_again_the_next_time(tmp_path: Path) -> None:
    path = tmp_path / "dashboard.json"
    async with dashboard_pilot(lived_in(), options=chosen(path)) as each:
        await each.press("t", "u", "ctrl+p")
        await each.type("Theme: nord")
        await each.until(lambda: "Change the colours" in each.text)
        await each.press("enter")
        await each.until(lambda: path.exists() and set(json.loads(path.read_text())) == {"range", "utc", "theme"})
    async with dashboard_pilot(lived_in(), options=chosen(path)) as each:
        assert (each.app.theme, each.app.dashboard.range.name) == ("nord", "24 h")
        assert each.app.dashboard.zone is not None


async def test_a_theme_that_is_asked_for_goes_before_the_one_remembered(tmp_path: Path) -> None:
    path = tmp_path / "dashboard.json"
    path.write_text('{"theme": "nord"}')
    async with dashboard_pilot(lived_in(), options=replace(chosen(path), theme="light")) as each:
        assert each.app.theme == LIGHT.name


@pytest.mark.parametrize(("remembered", "theme"), [("{}", LIGHT.name), ('{"theme": "nord"}', "nord")])
async def test_a_light_terminal_gets_the_light_theme_unless_another_was_chosen(
    tmp_path: Path, remembered: str, theme: str
) -> None:
    path = tmp_path / "dashboard.json"
    path.write_text(remembered)
    async with dashboard_pilot(lived_in(), options=chosen(path)) as each:
        each.app.post_message(Background(light=True))
        await each.pilot.pause()
        assert each.app.theme == theme


async def test_other_keys_act_and_are_shown_in_place_of_the_own() -> None:
    keys = with_changes({"freeze": ("F",), "filter": (",", "f6")})
    async with dashboard_pilot(lived_in(), options=Options(keymap=keys)) as each:
        await each.shows("F freeze", ", filter")
        await each.press("f")
        await each.press("F")
        await each.shows("‖ frozen", "F unfreeze")
        await each.press("comma")
        await each.shows("Tab completes")
        await each.press("escape", "question_mark")
        await each.type("freeze")
        await each.shows("F                Freeze what is shown")


async def test_a_read_only_dashboard_says_so_and_changes_nothing() -> None:
    async with dashboard_pilot(lived_in(), options=Options(read_only=True)) as each:
        await each.press("3")
        await each.shows("read-only", "Health and history")
        assert "take out" not in each.text
        await each.press("space")
        await each.shows("This dashboard is read-only")
        await each.press("r")
        assert all(provider.in_rotation for provider in each.source.providers.values())


async def test_the_palette_leads_to_a_provider_and_to_a_time_range() -> None:
    async with dashboard_pilot(lived_in()) as each:
        for typed, shown in (("Provider: gamma", "connection refused"), ("Time range: 7 d", "7 d")):
            await each.press("ctrl+p")
            await each.type(typed)
            await each.until(lambda typed=typed: typed in each.text)  # type: ignore[misc]  # as it is now
            await each.press("enter")
            await each.shows(shown)
        assert each.app.dashboard.range.name == "7 d"


async def test_counters_count_from_a_reset_on_and_from_the_start_again() -> None:
    source = lived_in()
    async with dashboard_pilot(source, size=(160, 50)) as each:
        requests = f"{source.totals.requests:,}"
        await each.shows("Requests  since start", f"│ {requests} ")
        await each.press("z")
        await each.shows("since 14:0", "z since start")
        assert "since start ─" not in each.text
        happen(source, 3)
        await each.shows("│ 3 ")
        await each.press("z")
        await each.shows("Requests  since start", f"│ {source.totals.requests:,} ")
