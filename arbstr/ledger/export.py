"""The ledger's rows for programs: as JSON, shaped as the endpoint's, and as CSV.

Names and error messages are other people's words: nothing in them reaches a terminal as a control sequence, and none of
them is taken for a formula by a spreadsheet.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence

import orjson

from arbstr.ledger.model import Entry
from arbstr.ledger.serialize import entry_json, sats
from arbstr.sanitize import MARK, sanitize
from arbstr.types import JsonObject

CSV_COLUMNS = (
    "id",
    "request_id",
    "timestamp",
    "model",
    "provider",
    "policy",
    "streaming",
    "success",
    "input_tokens",
    "output_tokens",
    "cost_sats",
    "provider_cost_sats",
    "latency_ms",
    "stream_duration_ms",
    "error_status",
    "error_message",
)
_ENDLESS = 10**9
_HIDDEN = re.compile("[\x7f-\x9f\u200b-\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]")


def dumps(document: JsonObject) -> str:
    """JSON on one line, in which nothing can take effect on a terminal."""
    return _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", orjson.dumps(document).decode())


def json_lines(chunks: Iterable[Sequence[Entry]]) -> Iterator[str]:
    """An array, one entry to a line, shaped as the endpoint's."""
    line = "["
    for entry in each_entry(chunks):
        yield line
        line = dumps(entry_json(entry)) + ","
    yield line.removesuffix(",") if line != "[" else "[]"
    if line != "[":
        yield "]"


def csv_lines(chunks: Iterable[Sequence[Entry]]) -> Iterator[str]:
    """A line of column names and one for each entry."""
    yield csv_line(CSV_COLUMNS)
    for entry in each_entry(chunks):
        yield csv_line(csv_row(entry))


def csv_line(fields: Sequence[object]) -> str:
    """One line of CSV, without its end."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(fields)
    return line.getvalue()


def csv_row(entry: Entry) -> list[object]:
    """An entry in the order of `CSV_COLUMNS`."""
    return [
        entry.id,
        _word(entry.request_id),
        entry.timestamp,
        _word(entry.model),
        _word(entry.provider),
        _word(entry.policy),
        str(entry.streaming).lower(),
        str(entry.success).lower(),
        entry.input_tokens,
        entry.output_tokens,
        sats(entry.cost_msats),
        sats(entry.provider_cost_msats),
        entry.latency_ms,
        entry.stream_duration_ms,
        entry.error_status,
        _word(entry.error_message),
    ]


def _word(text: str | None) -> str | None:
    """Foreign text in a cell: a spreadsheet takes what begins like a formula for one, unless it is quoted so."""
    if text is None:
        return None
    text = sanitize(text, _ENDLESS)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", MARK)) else text


def each_entry(chunks: Iterable[Sequence[Entry]]) -> Iterator[Entry]:
    """Yield the entries of all chunks."""
    for chunk in chunks:
        yield from chunk
