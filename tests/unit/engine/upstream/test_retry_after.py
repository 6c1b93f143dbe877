"""A provider says when it wants to be asked again, well or badly."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.engine.upstream.retry_after import retry_after_s


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7), (" 7 ", 7), ("0", 0), ("0.5", 0.5), ("1.", 1), ("31622400", 31_622_400)]
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
        "1e400",
        "\x00",
        "1" * 500,
        "9" * 15,
        "31622401",
        "Wed, 21 Oct 99999 07:28:00 GMT",
        "21 Oct 99999999999 07:28:00 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Fri, 31 Dec 9999 23:59:59 -2359",
        "Wed, 21 Oct 2015 99:99:99 GMT",
        "Wed, 99 Xyz -1 :: GMT",
        "Wed",
    ],
)
def test_a_retry_after_that_is_neither_seconds_nor_date_is_ignored(header: str) -> None:
    assert retry_after_s(header, {}) is None


@pytest.mark.parametrize(
    ("value", "seconds"), [(20, 20), (1.5, 1.5), (-3, None), (10**400, None), (True, None), ("7", None), (None, None)]
)
def test_an_errors_details_may_say_when_to_retry(value: Any, seconds: float | None) -> None:
    assert retry_after_s(None, {"details": {"retry_after_seconds": value}}) == seconds
    assert retry_after_s("soon", {"details": {"retry_after_seconds": value}}) == seconds


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        ({"details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}]}, 34.5),
        ({"details": [{"@type": "x"}, "y", {"retryDelay": {"seconds": 34}}]}, 34),
        ({"details": [{"retryDelay": "soon"}], "retry_after": 3}, 3),
        ({"retry_after_ms": 1500}, 1.5),
        ({"retry_after_seconds": 2}, 2),
        ({"details": "no", "retry_after": [1]}, None),
    ],
)
def test_errors_say_in_several_ways_when_to_retry(error: dict[str, Any], seconds: float | None) -> None:
    assert retry_after_s(None, error) == seconds


@pytest.mark.parametrize(
    ("milliseconds", "header", "seconds"),
    [("600", None, 0.6), ("600", "7", 0.6), ("0", "7", 0), ("soon", "7", 7), ("-1", None, None), ("9" * 15, "7", 7)],
)
def test_milliseconds_come_first_where_they_make_sense(
    milliseconds: str, header: str | None, seconds: float | None
) -> None:
    assert retry_after_s(header, {}, milliseconds=milliseconds) == pytest.approx(seconds)


@given(
    st.none() | st.text(max_size=40) | st.datetimes().map(format_datetime),
    st.dictionaries(
        st.just("details"), st.none() | st.dictionaries(st.just("retry_after_seconds"), st.integers() | st.floats())
    ),
)
def test_whatever_it_says_is_a_wait_or_none(header: str | None, error: dict[str, Any]) -> None:
    wait_s = retry_after_s(header, error)
    assert wait_s is None or (wait_s >= 0 and math.isfinite(wait_s))
