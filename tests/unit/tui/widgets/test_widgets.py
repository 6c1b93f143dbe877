"""What the pieces draw, without a screen."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.clock import DAY_MS
from arbstr.events import OverchargeFound
from arbstr.ledger.model import Aggregate, Entry
from arbstr.logs.ring import LogRing
from tests.support.dashboard_fakes import NOON, FakeSource, Traffic, lived_in
from tui.model.feed import Feed
from tui.model.full_request import from_item
from tui.model.ledger_stats import RANGES, LedgerStats
from tui.model.log_view import LogView
from tui.model.provider_view import HealthChange
from tui.model.request_row import _IN_BOTH, InFlightRequest, RequestRow, State, by_rates, overcharge, row_of
from tui.model.time_series import Chart
from tui.model.view_model import ViewModel
from tui.render.layout import Line, Role, width_of
from tui.render.request_detail import request_lines
from tui.widgets.feed import feed_lines, state_of
from tui.widgets.ledger_table import entry_cells
from tui.widgets.log import LogPanel, log_lines
from tui.widgets.money_summary import Summary
from tui.widgets.provider_health import health
from tui.widgets.provider_table import charged, history_lines, identity_lines, rate_lines
from tui.widgets.scroll_panel import thumb
from tui.widgets.spend_chart import SpendChart, stacked


def texts(lines: Iterable[Line]) -> list[str]:
    return ["".join(text for text, _ in line).rstrip() for line in lines]


# ── chart ──


def curve(values: Sequence[int | None], width: int, height: int) -> list[str]:
    """Return the lines of a chart that has no parts."""
    return ["".join(text for text, _ in line) for line in stacked(values, [], width, height)]


def test_a_rising_curve_rises() -> None:
    top, bottom = curve([0, 4, 8, 8], 2, 2)
    assert (top, bottom) == (" ⣿", "⢸⣿")


def test_anything_above_nothing_shows() -> None:
    assert curve([1, 1_000_000], 1, 1) == ["⣸"]


@given(st.lists(st.none() | st.integers(0, 10**12), max_size=300), st.integers(1, 100), st.integers(1, 12))
def test_a_curve_is_as_large_as_asked(values: list[int | None], width: int, height: int) -> None:
    rows = curve(values, width, height)
    assert len(rows) == height
    assert {len(row) for row in rows} == {width}
    if any(values):
        assert any(character != " " for character in rows[0])  # the peak reaches the top


# ── feed ──


@pytest.mark.parametrize(
    ("state", "status", "shown"),
    [
        ("waiting", None, "▸ waiting"),
        ("streaming", None, "▸ stream"),
        ("ok", None, "✓ ok"),
        ("failed", 502, "✗ 502"),
        ("failed", None, "✗ failed"),
        ("left", 499, "↶ left"),
    ],
)
def test_a_state_is_symbol_and_word(state: State, status: int | None, shown: str) -> None:
    row = RequestRow("r", NOON, "m", False, state, (), None, 0, error_status=status)
    assert state_of(row)[0] == shown


def test_a_client_that_left_is_no_failure_of_a_provider() -> None:
    record = replace(Traffic().request(NOON)[1].record, success=False, error_status=499)
    assert row_of(record).state == "left"


@pytest.mark.parametrize(
    ("charged", "listed", "shown", "role"),
    [
        (None, 10_000, "–", "muted"),
        (10_000, 10_000, "0 %", "muted"),
        (10_001, 10_000, "0 %", "muted"),
        (10_900, 10_000, "+9.0 %", "muted"),
        (12_000, 10_000, "+20.0 %", "warn"),
        (1_500, 600, "+150.0 %", "muted"),  # less than a sat
        (9_000, 10_000, "-10.0 %", "muted"),
        (10_000, 0, "–", "muted"),
    ],
)
def test_only_a_real_overcharge_is_coloured(charged: int | None, listed: int, shown: str, role: Role) -> None:
    record = replace(
        Traffic().request(NOON)[1].record,
        cost_msats=listed if charged is None else charged,
        provider_cost_msats=charged,
        list_cost_msats=listed,
    )
    entry = Entry(id=1, timestamp="", at_ms=NOON, **{name: getattr(record, name) for name in _IN_BOTH})
    assert entry_cells(entry, UTC, datetime.now(UTC))["charged"] == (shown, role)


def test_in_rows_of_earlier_versions_the_cost_is_that_by_the_rates() -> None:
    record = replace(Traffic().request(NOON)[1].record, cost_msats=100, provider_cost_msats=135, list_cost_msats=None)
    assert by_rates(record) == 100
    assert overcharge(record) == pytest.approx(0.35)


# ── providers ──


def test_health_is_symbol_and_word_and_counts_down() -> None:
    alpha = ViewModel(FakeSource().snapshot()).view(NOON).providers[0]

    def said(**changes: Any) -> str:
        return health(replace(alpha, status=replace(alpha.status, **changes)), NOON)[1][0]

    assert said() == "ok"
    assert said(state="half_open", in_flight=1) == "probing"
    assert said(state="half_open") == "to probe"
    assert said(state="open", open_until_ms=NOON + 11_200) == "open 12 s"
    assert said(state="open", open_until_ms=NOON + 123_000) == "open 2 m 03 s"
    assert said(state="open") == "open"
    assert said(state="open", in_rotation=False) == "taken out"
    assert said(inert=True) == "no key"
    assert health(replace(alpha, unfunded=True), NOON)[1][0] == "no balance"


@pytest.mark.parametrize(
    ("ratio", "shown"), [(None, "–"), (1.0, "its price"), (1.08, "+8.0 %"), (0.95, "-5.0 %"), (1.0004, "its price")]
)
def test_charged_against_computed(ratio: float | None, shown: str) -> None:
    assert charged(ratio)[0] == shown


# ── providers ──


def test_a_provider_in_full() -> None:
    source = lived_in()
    model = ViewModel(source.snapshot())
    model.apply([OverchargeFound("gamma", "llama-3.3-70b", 1.2, 120, 100)])
    gamma = next(each for each in model.view(NOON).providers if each.key == "gamma")
    lines = "\n".join(texts([*identity_lines(gamma), *rate_lines(gamma, 100)]))
    for part in (
        "https://gamma.example.com/v1",
        "sk-abc...***",
        "+8.0 %",
        "1.20 times",
        "claude-3.5-sonnet",
        "18.740 sats",
    ):
        assert part in lines
    history = "\n".join(texts(history_lines(gamma, NOON, UTC, 100)))
    assert "open 12 s" in history
    assert "4 failures in a row" in history


def test_the_share_of_the_last_attempts_and_the_one_that_counts_the_newest_most_have_names() -> None:
    (alpha,) = [each for each in ViewModel(lived_in().snapshot()).view(NOON).providers if each.key == "alpha"]
    history = texts(history_lines(replace(alpha, outcomes=(True,) * 15 + (False,) * 5), NOON, UTC, 100))
    assert "Last 20    75.0 % answered" in history
    assert "Health     99.8 % answered, newest count most" in history


def test_changes_of_health_have_a_date_where_it_is_not_todays() -> None:
    (provider,) = [each for each in ViewModel(lived_in().snapshot()).view(NOON).providers if each.key == "alpha"]
    changes = tuple(HealthChange(NOON - ago_ms, "open", True, "it failed") for ago_ms in (60_000, DAY_MS))
    recent, old = texts(history_lines(replace(provider, health_changes=changes), NOON, UTC, 100))[-2:]
    assert recent.startswith("14:01:11             ✕ open")
    assert old.startswith("2025-03-13 14:02:11  ✕ open")


def test_a_provider_without_a_list_takes_every_model() -> None:
    source = FakeSource()
    source.providers["alpha"] = replace(source.providers["alpha"], models=(), masked_key=None)
    alpha = ViewModel(source.snapshot()).view(NOON).providers[0]
    lines = "\n".join(texts([*identity_lines(alpha), *rate_lines(alpha, 80)]))
    assert "every model" in lines
    assert "Key        none" in lines


# ── one request ──


def test_a_request_in_full_has_its_attempts_costs_and_routing() -> None:
    traffic = Traffic(1)
    records = [traffic.request(NOON)[1].record for _ in range(200)]
    record = next(each for each in records if len(each.attempts) > 1 and each.success and each.streaming)
    lines = "\n".join(texts(request_lines(from_item(record), 120, UTC)))
    for part in (record.request_id, "2025-03-14 14:02:11", "✗ 503", "✓ answered", "overloaded", "tokens/s"):
        assert part in lines
    for part in ("Cost by rates", "Median provider", "Why this provider", "number 1 by expected price", "epsilon"):
        assert part in lines


@pytest.mark.parametrize(
    ("expected", "actual", "line"),
    [
        (289, 228, "output   expected 289, was 228 tokens (\u221221 %)"),
        (256, 1_512, "output   expected 256, was 1,512 tokens (+491 %)"),
        (1_000, 999, "output   expected 1,000, was 999 tokens (±0 %)"),
        (1_000, 1_001, "output   expected 1,000, was 1,001 tokens (±0 %)"),
        (0, 5, "output   expected 0, was 5 tokens"),
        (5, 0, "output   expected 5, was 0 tokens (\u2212100 %)"),
        (256, None, "output   expected 256 tokens"),
    ],
)
def test_expected_tokens_stand_beside_what_they_were(expected: int, actual: int | None, line: str) -> None:
    record = Traffic().request(NOON)[1].record
    assert record.routing is not None
    routing = replace(record.routing, expected_output_tokens=expected)
    record = replace(record, routing=routing, output_tokens=actual)
    assert line in texts(request_lines(from_item(record), 120, UTC))


def test_why_the_policy_held() -> None:
    record = Traffic().request(NOON)[1].record
    assert record.routing is not None
    routing = replace(record.routing, policy="code", policy_reason="by the keyword 'review\x1b'")
    lines = texts(request_lines(from_item(replace(record, policy="code", routing=routing)), 120, UTC))
    assert any(re.match(r"Policy +code  by the keyword 'review.'$", line) for line in lines)


def test_a_running_request_shows_what_is_known_so_far() -> None:
    flight = InFlightRequest("id", NOON, "gpt-4o", streaming=True, path=["alpha", "beta"], first_byte_ms=310, events=7)
    lines = "\n".join(texts(request_lines(from_item(flight), 120, UTC)))
    assert "▸ running" in lines
    assert "310 ms" in lines
    assert "once it has ended" in lines


@given(
    st.dictionaries(
        st.sampled_from(["candidates", "excluded", "strategy", "expected_output_tokens", "policy_reason"]),
        st.one_of(st.text(), st.lists(st.text()), st.none(), st.integers()),
    )
)
def test_old_rows_may_hold_anything(routing: dict[str, object]) -> None:
    full = replace(from_item(Traffic().request(NOON)[1].record), routing=routing, attempts=[{"provider": 7}])
    assert request_lines(full, 80, UTC)


def test_a_long_error_is_wrapped_not_cut() -> None:
    record = replace(Traffic().request(NOON)[1].record, success=False, error_message="e" * 300 + "END")
    lines = texts(request_lines(from_item(record), 80, UTC))
    assert any(line.endswith("END") for line in lines)
    assert all(len(line) <= 80 for line in lines if "eee" in line)


@pytest.mark.parametrize("message", [" ", "\u200b \u200b", "漢" * 200])
def test_an_error_may_say_anything(message: str) -> None:
    record = replace(Traffic().request(NOON)[1].record, success=False, error_message=message)
    assert any(line.startswith("Error") for line in texts(request_lines(from_item(record), 60, UTC)))


# ── log, scrolling ──


def test_log_lines_wrap_or_are_cut() -> None:
    log = LogRing()
    log.add(NOON, 40, "arbstr.ledger", "x" * 100)
    view = LogView(log)
    view.catch_up()
    (line,) = view.lines
    assert len(log_lines(line, 80, UTC, wrap=False)) == 1
    wrapped = log_lines(line, 80, UTC, wrap=True)
    assert len(wrapped) == 2
    assert all(width_of(each) <= 80 for each in wrapped)
    assert texts(wrapped)[0].startswith("14:02:11  ✗ error  ledger     xxx")


def test_the_log_shows_the_digits_of_an_id_that_are_its_own() -> None:
    log = LogRing()
    for number in (1, 2):
        log.add(NOON, 20, "arbstr.requests", f"request id=fa2510fe-1b2c-4d3e-8f00-0000{number:08x} model=gpt-4o")
    view = LogView(log)
    view.catch_up()
    lines = [texts(log_lines(line, 120, UTC, wrap=False))[0] for line in view.lines]
    assert ["id=…00000001 model" in line for line in lines] == [True, False]
    assert "id=…00000002 model" in lines[1]


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_what_loggers_say_begins_in_one_column(width: int) -> None:
    log = LogRing()
    for name in ("arbstr.ledger", "arbstr.engine.circuit_breaker", "arbstr.market.a_name_longer_than_anything"):
        log.add(NOON, 20, name, "SAYS")
    view = LogView(log)
    view.catch_up()
    panel = LogPanel()
    panel.show(view, UTC)
    found = [line.index("SAYS") for line in texts(panel.draw(width, 10)) if "SAYS" in line]
    assert len(found) == 3
    assert len(set(found)) == 1


@pytest.mark.parametrize(
    ("width", "name"),
    [(80, "compose  "), (80, "circuit_…"), (120, "compose     "), (200, "engine.circuit_b"), (60, "SAYS")],
)
def test_of_a_long_loggers_name_the_last_part_is_shown(width: int, name: str) -> None:
    log = LogRing()
    for logger in ("arbstr.runtime.compose", "arbstr.engine.circuit_breaker"):
        log.add(NOON, 20, logger, "SAYS")
    view = LogView(log)
    view.catch_up()
    panel = LogPanel()
    panel.show(view, UTC)
    assert any(f"info   {name}" in line for line in texts(panel.draw(width, 10)))


@pytest.mark.parametrize(("month", "name"), [(1, "CET"), (7, "CEST")])
def test_the_log_names_the_zone_of_its_clocks_in_summer_and_in_winter(month: int, name: str) -> None:
    log = LogRing()
    log.add(int(datetime(2025, month, 1, tzinfo=UTC).timestamp() * 1000), 20, "arbstr", "said")
    view = LogView(log)
    view.catch_up()
    panel = LogPanel()
    panel.show(view, ZoneInfo("Europe/Berlin"))
    assert f"above, {name} " in texts(panel.draw(120, 10))[0]


@pytest.mark.parametrize(("minutes", "shown"), [(5, "╵13:57:15"), (60, "╵13:02 "), (60 * 24 * 7, "╵07 Mar 14:02")])
def test_the_times_below_a_curve_are_as_fine_as_its_span_needs(minutes: int, shown: str) -> None:
    count = 60
    panel = SpendChart()
    width_ms = minutes * 60_000 // count
    panel.show(Chart(NOON - minutes * 60_000, width_ms, (1,) * count), RANGES[0], UTC)
    times = texts(panel.draw(120, 8))[-1]
    labels = re.findall(r"╵([^╵]+?) *(?=╵|now)", times)
    assert shown.strip("╵ ")[:5] in times or shown in times
    assert len(set(labels)) == len(labels)


@given(st.integers(0, 10**7), st.integers(1, 60), st.integers(0, 10**7))
def test_a_thumb_stays_on_its_track(top: int, page: int, total: int) -> None:
    place = thumb(min(top, max(total - page, 0)), page, total)
    if total <= page:
        assert place is None
    else:
        assert place is not None
        assert 0 <= place[0] <= place[1] < page


@pytest.mark.parametrize(("width", "shown"), [(56, "340 · 3.2 s"), (78, "3.2 s       340"), (118, "…")])
def test_a_running_request_shows_time_and_tokens_at_any_width(width: int, shown: str) -> None:
    flight = InFlightRequest("id", NOON, "gpt-4o", streaming=True, path=["alpha"], first_byte_ms=90, events=340)
    (text,) = texts(feed_lines([row_of(flight)], width, NOON + 3200, UTC)[1])
    assert text.endswith(shown)
    assert "3.2 s" in text
    assert "340" in text


def test_the_one_who_answered_is_named_and_how_many_failed_before() -> None:
    path = ("mock-thrifty-and-of-a-long-name", "mock-magnificent")
    row = RequestRow("r", NOON, "gpt-4o", False, "ok", path, None, failed=2, elapsed_ms=900)
    for width in (78, 98, 118, 158):
        (text,) = texts(feed_lines([row], width, NOON, UTC)[1])
        assert "mock-magn" in text
        assert "⤷2" in text
        assert "thrifty" not in text


@pytest.mark.parametrize(
    ("width", "said"), [(118, "connection refused"), (98, "connection refused"), (78, "connection refus…"), (56, "–")]
)
def test_why_a_request_failed_is_said_wherever_there_is_room_for_it(width: int, said: str) -> None:
    row = RequestRow(
        "r", NOON, "gpt-4o", False, "failed", ("alpha",), None, 2, elapsed_ms=900, error="connection refused"
    )
    (text,) = texts(feed_lines([row], width, NOON, UTC)[1])
    assert text.endswith(said)


def test_a_finished_request_shows_when_it_ended_and_a_running_one_when_it_came() -> None:
    row = RequestRow("r", NOON, "gpt-4o", False, "ok", ("alpha",), None, 0, elapsed_ms=61_000)
    ended, running = texts(feed_lines([row, replace(row, elapsed_ms=None)], 120, NOON, UTC)[1])
    assert ended.startswith("14:03:12")
    assert running.startswith("14:02:11")


def test_a_feed_of_hostile_texts_draws_every_row_in_its_columns() -> None:
    feed = Feed()
    for number, text in enumerate(["[/x]", "\x1b[2J", "模型" * 60, "👩‍👩‍👧" * 9, "a\u202eb", "z\u0300" * 40]):
        feed.running[str(number)] = InFlightRequest(
            str(number), NOON, text, streaming=True, path=[text, text + "2"], policy=text
        )
    for width in (58, 78, 100, 118, 158, 198):
        widths = {width_of(line) for line in feed_lines(feed.rows(), width, NOON, UTC)[1]}
        assert len(widths) == 1
        assert max(widths) <= width


def test_what_is_not_known_yet_of_a_cost_and_what_was_paid_for_nothing_is_said() -> None:
    record = replace(Traffic().request(NOON)[1].record, output_tokens=0, cost_msats=455, doubtful_msats=900)
    lines = texts(request_lines(from_item(record), 120, UTC))
    assert "Tokens out        0  charged without any output" in lines
    assert any(line.startswith("Cost ") and line.endswith("0.900 more may have been charged") for line in lines)


# ── money ──


def test_what_no_request_explains_is_said_beside_what_was_spent() -> None:
    summary = Summary()
    window = Aggregate(total=3, cost_msats=2_200, unexplained_msats=700)
    summary.show(LedgerStats(window=window), "1 h", UTC)
    line = texts(summary.draw(120, 2))[0]
    assert "2.200 sats, 0.700 of them for no request that is known" in line
    assert "3 requests" in line


@pytest.mark.parametrize(
    ("width", "said"),
    [
        (80, " Caches  91.2 % of the tokens in, saved 1,204 sats, switching cost 12 sats"),
        (60, " Caches  91.2 % of the tokens in, saved 1,204 sats"),
        (40, " Caches  91.2 % of the tokens in"),
    ],
)
def test_the_cached_share_what_it_saved_and_what_switching_cost_are_summed_up(width: int, said: str) -> None:
    summary = Summary()
    caches = {"cache_hit_tokens": 912, "saved_by_cache_msats": 1_204_000, "lost_by_switching_msats": 12_300}
    summary.show(LedgerStats(window=Aggregate(total=3, input_tokens=1000, **caches)), "1 h", UTC)
    assert texts(summary.draw(width, 3))[2] == said
