"""Who shares the ledger, as the dashboard shows it."""

from __future__ import annotations

from collections.abc import Iterable

from arbstr.monitoring.source import InstanceStatus
from tui.render.layout import Line
from tui.widgets.instance_table import instance_lines

NOW_MS = 10_000_000
HERE = InstanceStatus("eu-1:8080", "0.2.0", NOW_MS - 3_600_000, 2, 1204, 5_300_000, here=True)
THERE = InstanceStatus("us-1:8080", "0.1.0", NOW_MS - 60_000, 1, 6, 700_000, heard_at_ms=NOW_MS - 4_000)
DEAD = InstanceStatus("us-2:8080", "0.1.0", NOW_MS - 60_000, 4, 6, 0, heard_at_ms=NOW_MS - 90_000, stale=True)


def texts(lines: Iterable[Line]) -> list[str]:
    return ["".join(text for text, _ in line).rstrip() for line in lines]


def test_each_instance_has_a_line_and_all_have_one_together() -> None:
    assert texts(instance_lines([HERE, THERE, DEAD], NOW_MS, 90)) == [
        "   instance                         running    sats  requests  heard     up        version",
        "●  eu-1:8080                              2   5,300     1,204  this one  1 h 00 m  0.2.0",
        "●  us-1:8080                              1     700         6  4 s ago   1 m       0.1.0",
        "○  us-2:8080                              4       0         6  1 m ago   1 m       0.1.0",
        "   all                                    3   6,000     1,216",
    ]


def test_one_alone_is_not_summed_up() -> None:
    assert len(instance_lines([HERE], NOW_MS, 90)) == 2


def test_one_that_is_heard_no_more_is_marked() -> None:
    stale = instance_lines([HERE, DEAD], NOW_MS, 90)[2]
    assert stale[0][0].strip() == "○"
    assert {role for text, role in stale if text.strip()} == {"warn", "muted"}


def test_where_it_is_narrow_names_and_sums_stay() -> None:
    assert texts(instance_lines([HERE, THERE], NOW_MS, 30)) == [
        "   instance    running    sats",
        "●  eu-1:8080         2   5,300",
        "●  us-1:8080         1     700",
        "   all               3   6,000",
    ]
