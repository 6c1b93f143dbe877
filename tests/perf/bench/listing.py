"""How long the Requests screen takes for a filter: its first rows, the end and the middle, its count and sums.

`python -m tests.perf.bench.listing LEDGER [--only FILTER] [--orders N] [--limit-s 0.3]`, over a ledger that
`tests.perf.bench.ledger` keeps. Times are of this process's CPU, in milliseconds, without what the disk takes; it fails
if the first rows are later than the limit. The count follows them, and sums come piece by piece. Where a text may be in
a request id two threads search: their times are added here.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from arbstr.ledger.model import Order, Sort
from arbstr.ledger.reader import LedgerReader
from tests.perf.bench.ledger import NOW
from tui.model.filter_language import parse
from tui.model.ledger_list import LedgerList
from tui.timings import NORMAL

PAGE = 45  # rows of a tall terminal
ORDERS: tuple[tuple[Sort, Order], ...] = (
    ("timestamp", "desc"),
    ("timestamp", "asc"),
    ("cost_sats", "desc"),
    ("cost_sats", "asc"),
    ("latency_ms", "desc"),
    ("latency_ms", "asc"),
)
NO_ID = "00000000-1111-4222-8333-444444444444"
_FILTERS = f"""
 | refused | nowhere | a | 1 | e | z | ab | model-1 | alpha | é | % | _ | ' | "n r" | refused alpha
abcd | abcdef | 0123456789 | 4-8 | {NO_ID} | {NO_ID[-8:]} | abcd alpha | abcd refused | abcd provider:alpha
-refused | -a | -abcd | -nowhere | -refused -alpha | -refused -alpha -code | -é -% -z | -refused provider:alpha
-alpha -beta -gamma -delta | >45sats | >25sats | >0sats | <1sats | <25sats | >49.99sats | >1000sats | >0sats -alpha
>10sats <40sats | >2s | >300ms | <300ms | <100ms | >1h | <1h | >1s <2s | >1.3s | >1200ms | <1201ms | >25sats >2s
>49sats >2s | >25sats >1h | >1000sats <1h | >25sats model:model-1 | >2s provider:alpha | >25sats model:rare
>25sats >1h provider:alpha | >49sats >2s -refused | >2s model:rare | >25sats refused | >2s refused | >25sats abcd
-session:0 | >2s alpha | >25sats status:502 | session:00 | session:a | session:00000000 | session:- | -session:-
session:0 session:1 | session:a >2s | session:a >25sats | session:a refused | session:a alpha | session:- >2s
session:0 provider:alpha | session:a >1h | status:502 | status:5 | status:ok | status:error | status:left | -status:502
-status:ok | status:502 alpha | kind:stream | policy:- | client:- | -provider:alpha | model:rare | model:nobody
model:model-1 provider:alpha | since:2025-12-03 | since:2025-12-03 refused | since:2025-12-31 >25sats
session:0 | until:2025-12-10 refused | until:2025-12-04 abcd | until:2025-12-04 >2s | since:2025-12-31 session:0
model:rare refused | model:rare abcd | model:rare provider:alpha >2s session:0 | refused status:502 provider:alpha
policy:code -refused >2s
"""
FILTERS = [typed.strip() for line in _FILTERS.strip("\n").splitlines() for typed in line.split(" | ")]


@dataclass
class Taken:
    """Milliseconds until something is there, by what it is; and the longest single query."""

    times: dict[str, float] = field(default_factory=dict)
    rows: int = 0

    @contextmanager
    def timed(self, what: str) -> Iterator[Callable[[str], None]]:
        began = time.process_time()

        def note(what: str) -> None:
            self.times.setdefault(what, (time.process_time() - began) * 1000)

        yield note
        note(what)


class Watched:
    """A ledger's reader that notes its longest question."""

    def __init__(self, reader: LedgerReader) -> None:
        self._reader = reader
        self.longest_ms = 0.0
        self.longest = ""

    def __getattr__(self, name: str) -> object:
        question = getattr(self._reader, name)

        async def asked(*arguments: object, **named: object) -> object:
            began = time.process_time()
            try:
                return await question(*arguments, **named)
            finally:
                took = (time.process_time() - began) * 1000
                if took > self.longest_ms:
                    self.longest_ms, self.longest = took, name

        return asked


async def browse(reader: LedgerReader, typed: str, sort: Sort, order: Order) -> tuple[Taken, Watched]:
    """Do what the screen does for a filter."""
    watched, taken = Watched(reader), Taken()
    rows = LedgerList(watched, lambda: NOW)  # type: ignore[arg-type]  # every question is passed on
    rows.sort, rows.order = sort, order
    query = parse(typed)
    assert query.complete, (typed, query.problems, query.hint)
    with taken.timed("count") as note:
        await rows.narrow(query, lambda: note("rows"))
    taken.rows = rows.total or 0
    with taken.timed("all sums") as note:
        async with asyncio.timeout(60):
            await rows.sum_up(NORMAL.whole_sums_s, lambda: note("sums"))
    for what, index in (("end", taken.rows), ("middle", taken.rows // 2)):
        rows.select(index, PAGE)
        with taken.timed(what):
            while rows.row(rows.selected or 0) is None and (chunk := rows.missing(PAGE)) is not None:
                await rows.load(chunk)
    return taken, watched


LIMITED = ("rows",)
COLUMNS = ("rows", "count", "sums", "all sums", "end", "middle")


async def run(path: Path, only: str | None, limit_s: float, orders: int) -> int:
    reader = LedgerReader(path)
    over = 0
    print(f"{'filter':40}{'order':>17}{'found':>11}" + "".join(f"{name:>10}" for name in COLUMNS) + "   longest query")
    for typed in FILTERS if only is None else (only,):
        for sort, order in ORDERS[:orders]:
            taken, watched = await browse(reader, typed, sort, order)
            late = [name for name in LIMITED if taken.times.get(name, 0) > limit_s * 1000]
            over += bool(late)
            figures = "".join(f"{taken.times.get(name, 0):9.1f}{'!' if name in late else ' '}" for name in COLUMNS)
            longest = f"{watched.longest_ms:8.1f} {watched.longest}"
            print(f"{typed:40}{sort[:10] + ' ' + order:>17}{taken.rows:11,}{figures} {longest}", flush=True)
    await reader.close()
    return over


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ledger", type=Path)
    parser.add_argument("--only")
    parser.add_argument("--orders", type=int, default=len(ORDERS))
    parser.add_argument("--limit-s", type=float, default=0.3)
    options = parser.parse_args()
    return int(bool(asyncio.run(run(options.ledger, options.only, options.limit_s, options.orders))))


if __name__ == "__main__":
    sys.exit(main())
