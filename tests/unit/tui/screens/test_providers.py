"""The screen of providers, by keys and clicks."""

from __future__ import annotations

from tests.support.dashboard_fakes import lived_in
from tests.support.dashboard_pilot import dashboard_pilot


async def test_space_takes_a_provider_out_and_back() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("3", "j")
        await each.press("space")
        assert not each.source.providers["beta"].in_rotation
        await each.shows("○  beta", "beta is out of rotation", "put back")
        await each.press("space")
        assert each.source.providers["beta"].in_rotation


async def test_the_last_provider_in_rotation_is_taken_out_only_after_a_question() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("3")
        for name in ("beta", "gamma", "delta"):
            each.source.change(name, in_rotation=False)
        await each.shows("1 of 4 providers serving")
        await each.press("space")
        await each.shows("alpha is the last provider in rotation", "every request will be refused")
        await each.press("space", "enter", "escape")
        assert each.source.providers["alpha"].in_rotation
        await each.press("space", "y")
        await each.until(lambda: not each.source.providers["alpha"].in_rotation)
        await each.press("space")  # back in, of which nobody needs to be asked
        await each.until(lambda: each.source.providers["alpha"].in_rotation)


async def test_r_does_not_promise_that_a_provider_out_of_rotation_is_asked() -> None:
    async with dashboard_pilot(lived_in()) as each:
        each.source.change("gamma", state="open", in_rotation=False)
        await each.press("3", "G", "k", "r")
        await each.shows("gamma's breaker is closed, but it is out of rotation")


async def test_r_closes_a_breaker() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("3", "G", "k")
        await each.shows("connection refused", "sk-abc...***", "+8.0 %")
        await each.press("r")
        assert each.source.providers["gamma"].state == "closed"
        await each.shows("closed by hand")


async def test_a_provider_that_is_gone_is_said() -> None:
    async with dashboard_pilot(lived_in()) as each:
        await each.press("3")
        del each.source.providers["alpha"]
        await each.press("space")
        await each.shows("alpha is not configured any more")
