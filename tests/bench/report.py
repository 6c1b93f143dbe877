"""Samples into Markdown: medians over the rounds, beside the provider asked directly and the bare pass-through."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from tests.bench import wire
from tests.bench.load import Job
from tests.bench.targets import Target

_TITLES: dict[wire.Kind, str] = {
    "json": f"Whole answers: {len(wire.request_body('json')):,} B up, {len(wire.answer_body())} B down",
    "stream": f"Instant streams: {wire.EVENTS} events at once",
    "paced": f"Paced streams: {wire.EVENTS} events, one every {wire.PACE_S * 1000:g} ms",
}
_HEADINGS = [
    *("connections", "", "a second", "of direct", "of bare"),
    *("p50 ms", "p99 ms", "added p50", "added p99", "first byte ms", "added"),
    *("CPU ms each", "of bare", "errors"),
]


@dataclass(frozen=True)
class Sample:
    """One run of the load against one target. Times in ms; `first_byte_ms` of the body; CPU per request."""

    target: str
    kind: wire.Kind
    connections: int
    per_second: float
    p50_ms: float
    p99_ms: float
    first_byte_ms: float
    cpu_ms: float | None
    errors: int
    first_error: str = ""


def sample(target: str, job: Job, tally: dict[str, Any]) -> Sample:
    """The sample that a load's tally amounts to."""
    latencies = sorted(tally["latencies"])
    done = len(latencies)
    errors = tally["errors"]
    return Sample(
        target=target,
        kind=job.kind,
        connections=job.connections,
        per_second=done / tally["elapsed"],
        p50_ms=_percentile(latencies, 50),
        p99_ms=_percentile(latencies, 99),
        first_byte_ms=_percentile(sorted(tally["first_bytes"]), 50),
        cpu_ms=tally["cpu_s"] * 1000 / done if tally["cpu_s"] is not None and done else None,
        errors=len(errors),
        first_error=errors[0] if errors else "",
    )


def markdown(machine: str, samples: list[Sample], running: list[Target], memory: dict[str, float | None]) -> str:
    """The whole report."""
    kinds = dict.fromkeys(each.kind for each in samples)
    parts = [machine, *(_table(kind, [each for each in samples if each.kind == kind]) for kind in kinds)]
    parts.append(_processes(running, memory))
    parts += sorted({f"{each.target}: {each.first_error}" for each in samples if each.errors})
    return "\n\n".join(parts)


def _table(kind: wire.Kind, samples: list[Sample]) -> str:
    lines = [f"### {_TITLES[kind]}", "", *_head(_HEADINGS)]
    for connections in dict.fromkeys(each.connections for each in samples):
        lines += _rows([each for each in samples if each.connections == connections])
    return "\n".join(lines)


def _rows(samples: list[Sample]) -> Iterator[str]:
    """One scenario's lines, a target each."""
    medians = {name: _median([each for each in samples if each.target == name]) for name in _names(samples)}
    direct, bare = medians["direct"], medians.get("bare")
    for name, it in medians.items():
        beside = name != "direct"
        yield _line(
            str(it.connections),
            name,
            f"{it.per_second:,.0f}",
            f"{it.per_second / direct.per_second:.2f}" if beside and direct.per_second else "",
            f"{it.per_second / bare.per_second:.2f}" if beside and bare and bare.per_second else "",
            f"{it.p50_ms:.2f}",
            f"{it.p99_ms:.2f}",
            f"{it.p50_ms - direct.p50_ms:+.2f}" if beside else "",
            f"{it.p99_ms - direct.p99_ms:+.2f}" if beside else "",
            f"{it.first_byte_ms:.2f}",
            f"{it.first_byte_ms - direct.first_byte_ms:+.2f}" if beside else "",
            "" if it.cpu_ms is None else f"{it.cpu_ms:.3f}",
            f"{it.cpu_ms / bare.cpu_ms:.2f}" if it.cpu_ms and bare and bare.cpu_ms else "",
            str(it.errors),
        )


def _processes(running: list[Target], memory: dict[str, float | None]) -> str:
    """What the proxies take beside time: memory after all of it, and how soon they answered at the start."""
    lines = ["### Processes", "", *_head(["", "resident MB", "of bare", "start to first answer s"])]
    bare = memory.get("bare")
    for target in running:
        mb = memory.get(target.name)
        if target.start_s is not None:
            ratio = f"{mb / bare:.2f}" if mb and bare else ""
            lines.append(_line(target.name, "" if mb is None else f"{mb:.0f}", ratio, f"{target.start_s:.2f}"))
    return "\n".join(lines)


def _median(samples: list[Sample]) -> Sample:
    """The medians of one target's samples of one scenario; its errors are added up."""
    first = samples[0]
    cpu = [each.cpu_ms for each in samples if each.cpu_ms is not None]
    return Sample(
        target=first.target,
        kind=first.kind,
        connections=first.connections,
        per_second=median(each.per_second for each in samples),
        p50_ms=median(each.p50_ms for each in samples),
        p99_ms=median(each.p99_ms for each in samples),
        first_byte_ms=median(each.first_byte_ms for each in samples),
        cpu_ms=median(cpu) if cpu else None,
        errors=sum(each.errors for each in samples),
    )


def _names(samples: list[Sample]) -> list[str]:
    return list(dict.fromkeys(each.target for each in samples))


def _percentile(ordered: list[float], percent: int) -> float:
    """Of ordered seconds, in ms; 0 of none."""
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] * 1000 if ordered else 0.0


def _head(headings: list[str]) -> list[str]:
    return [_line(*headings), _line(*(["---"] * len(headings)))]


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
