"""Figures as people read them."""

from __future__ import annotations

from datetime import UTC, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tui import format as fmt

AT = 1_741_960_931_042  # 2025-03-14 14:02:11.042 UTC


@pytest.mark.parametrize(
    ("msats", "shown"),
    [(0, "0.000"), (1, "0.001"), (1_284_350, "1,284.350"), (-1_500, "-1.500"), (-1, "-0.001"), (None, "–")],
)
def test_sats_are_exact_to_the_millisat(msats: int | None, shown: str) -> None:
    assert fmt.sats(msats) == shown


@pytest.mark.parametrize(
    ("msats", "shown"),
    [(0, "0"), (1, "0.001"), (1_120, "1.120"), (70_800, "70.800"), (812_400, "812.4"), (21_004_499, "21,004")],
)
def test_totals_have_the_decimals_their_size_needs(msats: int, shown: str) -> None:
    assert fmt.sats_round(msats) == shown


@pytest.mark.parametrize(
    ("rates", "shown"),
    [
        ([10, None, 0.15, 1200.0], ["10.00", "–", "0.15", "1,200.00"]),
        ([10, 0], ["10", "0"]),
        ([2.5, 0.0004], ["2.500", "<0.001"]),
        ([1e12], ["1e+12"]),
    ],
)
def test_rates_of_a_column_have_the_decimals_that_one_of_them_was_given(
    rates: list[float | None], shown: list[str]
) -> None:
    assert fmt.rates_alike(rates) == shown


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00 k"),
        (12_400, "12.4 k"),
        (999_499, "999 k"),
        (999_500, "1.00 M"),
        (3 * 10**15, "3000 T"),
    ],
)
def test_large_counts_are_short(number: int, shown: str) -> None:
    assert fmt.short_count(number) == shown


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (None, "–"),
        (0, "0.0 %"),
        (0.993, "99.3 %"),
        (1, "100 %"),
        (0.99999, "99.9 %"),
        (0.00001, "<0.1 %"),
        (1.08, "108.0 %"),
    ],
)
def test_a_hundred_percent_means_all_of_it(share: float | None, shown: str) -> None:
    assert fmt.percent(share) == shown


@pytest.mark.parametrize(
    ("ms", "shown"),
    [
        (None, "–"),
        (0, "0 ms"),
        (310, "310 ms"),
        (999.4, "999 ms"),
        (999.6, "1.0 s"),
        (1_900, "1.9 s"),
        (59_960, "1 m 00 s"),
        (123_000, "2 m 03 s"),
        (8_040_000, "2 h 14 m"),
        (3 * 86_400_000 + 4 * 3_600_000, "3 d 04 h"),
    ],
)
def test_durations_have_two_figures_at_most(ms: float | None, shown: str) -> None:
    assert fmt.duration(ms) == shown


def test_uptime_changes_once_a_minute() -> None:
    assert fmt.uptime(59_999) == "<1 m"
    assert fmt.uptime(60_000) == fmt.uptime(119_999) == "1 m"
    assert fmt.uptime(8_040_000) == "2 h 14 m"


@pytest.mark.parametrize(
    ("first", "second", "shown"),
    [
        (None, None, ("–", "–")),
        (0, 9, ("0", "9 ms")),
        (546, 739, ("546", "739 ms")),
        (999.4, 999.6, ("999ms", "1.0s")),
        (1_900, 9_949, ("1.9", "9.9 s")),
        (9_950, 99_499, ("10", "99 s")),
        (48_000, 99_500, ("48s", "2m")),
        (5_969_999, 5_970_000, ("99m", "2h")),
        (358_199_999, 358_200_000, ("99h", "4d")),
        (8_596_799_999, 8_596_800_000, ("99", ">99 d")),
    ],
)
def test_two_durations_side_by_side_say_the_unit_once_if_it_is_the_same(
    first: float | None, second: float | None, shown: tuple[str, str]
) -> None:
    assert fmt.short_durations(first, second) == shown


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_two_durations_side_by_side_take_nine_cells_at_most(first: int, second: int) -> None:
    assert len("".join(fmt.short_durations(first, second))) <= 9


@given(st.integers(0, 10**11))
def test_durations_and_counts_never_outgrow_their_columns(number: int) -> None:
    assert len(fmt.duration(number)) <= 12
    assert len(fmt.short_count(number)) <= 6


def test_times_are_of_the_zone_asked_for() -> None:
    cet = timezone(timedelta(hours=1))
    assert fmt.clock(AT, UTC) == "14:02:11"
    assert fmt.stamp(AT, cet) == "2025-03-14 15:02:11"
    assert fmt.exact_stamp(AT, cet) == "2025-03-14 15:02:11.042 +01:00"


@pytest.mark.parametrize(
    ("amounts", "shown"),
    [
        ([42_665, 3_000, 0], ["42.665", "3.000", "0.000"]),
        ([42_665, None, 103_000], ["42.7", "–", "103.0"]),
        ([70, 999_900, -78_163, -3], ["<0.1", "999.9", "-78.2", ">-0.1"]),
        ([49, 210_000_000], ["<1", "210,000"]),
        ([0, 0], ["0", "0"]),
        ([None], ["–"]),
        ([], []),
    ],
)
def test_a_column_has_one_precision_and_shows_nothing_as_nothing(amounts: list[int | None], shown: list[str]) -> None:
    assert fmt.sats_alike(amounts) == shown


@given(st.lists(st.integers(-(10**12), 10**12).map(lambda tenths: tenths / 10) | st.none(), max_size=8))
def test_whatever_stands_in_a_column_it_has_one_precision_and_nothing_else_reads_as_nothing(
    amounts: list[float | None],
) -> None:
    shown = fmt.sats_alike(amounts)
    known = [(text, msats) for text, msats in zip(shown, amounts, strict=True) if msats is not None]
    assert len({len(text.partition(".")[2]) for text, _ in known}) <= 1
    assert all((float(text.strip("<>").replace(",", "")) == 0) == (msats == 0) for text, msats in known)
    assert shown == [fmt.NOTHING if msats is None else text for text, msats in zip(shown, amounts, strict=True)]


@pytest.mark.parametrize(("ms", "shown"), [(1, "1 s"), (11_200, "12 s"), (60_000, "1 m 00 s"), (3_600_001, "1 h 00 m")])
def test_a_countdown_never_says_too_little(ms: int, shown: str) -> None:
    assert fmt.countdown(ms) == shown


HOSTILE = [
    "\x1b[31mred",
    "\x1b]52;c;aGk=\x07",
    "\x1b]0;title\x07",
    "a\nb\tc",
    "right\u202eto left",
    "zero\u200bwidth\u2060joiner",
    "tag\U000e0041s",
    "hangul\u3164filler",
    "soft\u00adhyphen",
    "z" + "\u0300" * 50,
    "\U0001f1e9\U0001f1ea flag",
    "\U0001f44d\U0001f3fd thumb",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_that_acts_or_hides_survives(text: str) -> None:
    shown = fmt.shown(text)
    assert shown.isprintable()
    assert "�" in shown
    assert not set("\x1b\x07\u202e\u200b\u2060\u3164\u00ad") & set(shown)


@pytest.mark.parametrize("text", ["gpt-4o", "[bold]model[/x]", "模型", "é", "modèle 🚀", "a b"])
def test_honest_text_is_left_alone(text: str) -> None:
    assert fmt.shown(text) == text


@given(st.text(max_size=400))
def test_whatever_comes_is_one_line_of_a_known_length(text: str) -> None:
    shown = fmt.shown(text, 50)
    assert len(shown) <= 50
    assert "\n" not in shown
    assert cell_len(shown) <= 100


@pytest.mark.parametrize(
    ("days", "said"),
    [(0, "14:02"), (1, "15 Mar 14:02"), (-1, "13 Mar 14:02"), (-28, "14 Feb 14:02"), (31, "14 Apr 14:02")],
)
def test_an_instant_of_another_day_has_its_date(days: int, said: str) -> None:
    assert fmt.day_or_time(AT + days * 86_400_000, AT, UTC) == said
