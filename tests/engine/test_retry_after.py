"""A provider says when it wants to be asked again, well or badly."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.engine.retry_after import retry_after_s


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7), (" 7 ", 7), ("0", 0), ("0.5", 0.5), ("1.", 1), ("9" * 15, 1e15)]
)
def test_a_number_is_seconds(header: str, seconds: float) -> None:
    assert retry_after_s(header, {}) == pytest.approx(seconds)


@pytest.mark.parametrize("zone", ["+0000", "-0000", "GMT"])
def test_a_date_is_the_time_until_then(zone: str) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(hours=1)).replace("+0000", zone)
    assert retry_after_s(date, {}) == pytest.approx(3600, abs=10)


def test_a_date_that_has_passed_is_no_wait() -> None:
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT", {}) == 0


@pytest.mark.parametrize(
    "header",
    [
        "",
        "soon",
        "-5",
        "nan",
        "inf",
        "1e3",
        "1_000",
        "0x10",
        "\u0663",
        "1" * 500,
        "Wed, 21 Oct 99999 07:28:00 GMT",
        "Wed",
    ],
)
def test_what_is_neither_is_not_said(header: str) -> None:
    assert retry_after_s(header, {}) is None


@pytest.mark.parametrize(
    ("value", "seconds"), [(20, 20), (1.5, 1.5), (-3, 0), (10**400, 1e15), (True, None), ("7", None), (None, None)]
)
def test_the_error_may_say_it(value: Any, seconds: float | None) -> None:
    assert retry_after_s(None, {"details": {"retry_after_seconds": value}}) == seconds
    assert retry_after_s("soon", {"details": {"retry_after_seconds": value}}) == seconds


@given(
    st.none() | st.text(max_size=40) | st.datetimes().map(format_datetime),
    st.dictionaries(
        st.just("details"), st.none() | st.dictionaries(st.just("retry_after_seconds"), st.integers() | st.floats())
    ),
)
def test_whatever_it_says_is_a_wait_or_none(header: str | None, error: dict[str, Any]) -> None:
    wait_s = retry_after_s(header, error)
    assert wait_s is None or (wait_s >= 0 and math.isfinite(wait_s))
