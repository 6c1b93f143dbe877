"""The ledger's rows for programs: as JSON, shaped as the endpoint's, and as CSV.

Names and error messages are untrusted: no control sequence in them reaches a terminal, and no spreadsheet takes them
for formulas.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import orjson

from arbstr.ledger.model import Entry
from arbstr.ledger.serialize import entry_json
from arbstr.money import to_sats
from arbstr.sanitize import MARK, sanitize

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


def dumps(document: Mapping[str, object]) -> str:
    """Return JSON on one line, without control characters."""
    return _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", orjson.dumps(document).decode())


def json_lines(chunks: Iterable[Sequence[Entry]]) -> Iterator[str]:
    """Yield an array, one entry per line, in the endpoint's shape."""
    line = "["
    for entry in each_entry(chunks):
        yield line
        line = dumps(entry_json(entry)) + ","
    yield line.removesuffix(",") if line != "[" else "[]"
    if line != "[":
        yield "]"


def csv_lines(chunks: Iterable[Sequence[Entry]]) -> Iterator[str]:
    """Yield a line of column names and one for each entry."""
    yield csv_line(CSV_COLUMNS)
    for entry in each_entry(chunks):
        yield csv_line(csv_row(entry))


def csv_line(fields: Sequence[object]) -> str:
    """Return one line of CSV, without its line end."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(fields)
    return line.getvalue()


def csv_row(entry: Entry) -> list[object]:
    """Return an entry's values in the order of `CSV_COLUMNS`."""
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
        to_sats(entry.cost_msats),
        to_sats(entry.provider_cost_msats),
        entry.latency_ms,
        entry.stream_duration_ms,
        entry.error_status,
        _word(entry.error_message),
    ]


def _word(text: str | None) -> str | None:
    """Return foreign text for a cell, quoted if a spreadsheet would take it for a formula."""
    if text is None:
        return None
    text = sanitize(text, _ENDLESS)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", MARK)) else text


def each_entry(chunks: Iterable[Sequence[Entry]]) -> Iterator[Entry]:
    """Yield the entries of all chunks."""
    for chunk in chunks:
        yield from chunk
