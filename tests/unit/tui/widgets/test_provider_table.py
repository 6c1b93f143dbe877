"""The table of providers: balances, and how old prices are."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from arbstr.monitoring.source import ProviderStatus
from arbstr.types import Balance
from tests.support.dashboard_fakes import NOON, FakeSource
from tui.model.provider_view import ProviderView
from tui.model.view_model import ViewModel
from tui.render.layout import Line
from tui.widgets.provider_table import ProviderTable, identity_lines, rate_lines


def texts(lines: Iterable[Line]) -> list[str]:
    return ["".join(text for text, _ in line).rstrip() for line in lines]


def views_of(*statuses: ProviderStatus) -> tuple[ProviderView, ...]:
    source = FakeSource()
    source.providers = {each.name: each for each in statuses}
    return ViewModel(source.snapshot()).view(NOON).providers


def table(*statuses: ProviderStatus) -> str:
    panel = ProviderTable()
    panel._providers = views_of(*statuses)
    return "\n".join(texts(panel.draw(140, 8)))


def test_balances_and_ages_of_prices_have_columns_where_a_provider_has_them() -> None:
    plain = FakeSource().providers["alpha"]
    assert not {"balance", "prices"} & set(table(plain).split())
    known = Balance("known", free_msats=1_234_500, reserved_msats=0, hourly_msats=411_500)
    node = replace(plain, name="node", balance=known, list_age_s=75.0)
    lines = table(plain, node, replace(node, name="old", list_age_s=900.0, list_stale=True, balance=Balance("expired")))
    assert re.search(r"balance +lasts +prices", lines)
    assert re.search(r"alpha.* – +– +file", lines)
    assert re.search(r"node.* 1,23[45] +3 h 00 m +1 m", lines)
    assert re.search(r"old.* key expired +– +stale 15 m", lines)
    assert "lasts 3 h 00 m at this rate" in "".join(texts(identity_lines(views_of(node)[0])))


def test_a_balance_that_is_used_up_lasts_no_time_at_all() -> None:
    node = replace(FakeSource().providers["alpha"], balance=Balance("known", 0, 0, hourly_msats=5000), list_age_s=5.0)
    lines = "\n".join([table(node), *texts(identity_lines(views_of(node)[0]))])
    assert re.search(r"no balance .* 0 +– +5 s", lines)
    assert "lasts " not in lines.partition("Balance")[2]


def test_a_node_without_a_key_has_no_prices_yet_and_says_what_to_do() -> None:
    plain = FakeSource().providers["alpha"]
    free = replace(plain, models=(), model_rates={}, input_rate=0.0, output_rate=0.0, masked_key=None)
    (view,) = views_of(replace(free, inert=True))
    lines = "\n".join(texts([*identity_lines(view), *rate_lines(view, 100)]))
    assert "none: arbstr fund alpha gets one" in lines
    assert "those of its list, which has not been read" in lines
    assert "0 sats" not in lines
    assert "Charged" not in lines
    listed = table(replace(free, inert=True), replace(plain, name="beta", list_age_s=5.0))
    assert re.search(r"alpha +no key.* –", listed)
    assert "file" not in listed
    (view,) = views_of(replace(free, balance=Balance("known", free_msats=5000)))  # whose list does not come
    assert rate_lines(view, 100) == []
