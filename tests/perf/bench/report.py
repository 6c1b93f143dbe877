"""Samples into Markdown: medians over the rounds, beside the provider asked directly and the bare pass-through."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import median

from tests.perf.bench import wire
from tests.perf.bench.load import Sample
from tests.perf.bench.targets import Target

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
class Measured:
    """A sample, and the name of the target it was taken of."""

    target: str
    sample: Sample


def markdown(machine: str, measured: list[Measured], running: list[Target], memory: dict[str, float | None]) -> str:
    """The whole report."""
    kinds = dict.fromkeys(each.sample.kind for each in measured)
    parts = [machine, *(_table(kind, [each for each in measured if each.sample.kind == kind]) for kind in kinds)]
    parts.append(_processes(running, memory))
    parts += sorted({f"{each.target}: {each.sample.first_error}" for each in measured if each.sample.errors})
    return "\n\n".join(parts)


def _table(kind: wire.Kind, measured: list[Measured]) -> str:
    lines = [f"### {_TITLES[kind]}", "", *_head(_HEADINGS)]
    for connections in dict.fromkeys(each.sample.connections for each in measured):
        lines += _rows([each for each in measured if each.sample.connections == connections])
    return "\n".join(lines)


def _rows(measured: list[Measured]) -> Iterator[str]:
    """One scenario's lines, a target each."""
    names = dict.fromkeys(each.target for each in measured)
    medians = {name: _median([each.sample for each in measured if each.target == name]) for name in names}
    direct, bare = medians["direct"], medians.get("bare")
    for name, it in medians.items():
        yield _line(
            str(it.connections),
            name,
            f"{it.per_second:,.0f}",
            "" if it is direct else _ratio(it.per_second, direct.per_second),
            "" if it is direct or bare is None else _ratio(it.per_second, bare.per_second),
            f"{it.p50_ms:.2f}",
            f"{it.p99_ms:.2f}",
            "" if it is direct else f"{it.p50_ms - direct.p50_ms:+.2f}",
            "" if it is direct else f"{it.p99_ms - direct.p99_ms:+.2f}",
            f"{it.first_byte_ms:.2f}",
            "" if it is direct else f"{it.first_byte_ms - direct.first_byte_ms:+.2f}",
            "" if it.cpu_ms is None else f"{it.cpu_ms:.3f}",
            "" if bare is None else _ratio(it.cpu_ms, bare.cpu_ms),
            str(it.errors),
        )


def _processes(running: list[Target], memory: dict[str, float | None]) -> str:
    """What the proxies take beside time: memory after all of it, and how soon they answered at the start."""
    lines = ["### Processes", "", *_head(["", "resident MB", "of bare", "start to first answer s"])]
    for target in running:
        if target.start_s is not None:
            mb = memory.get(target.name)
            shown = "" if mb is None else f"{mb:.0f}"
            lines.append(_line(target.name, shown, _ratio(mb, memory.get("bare")), f"{target.start_s:.2f}"))
    return "\n".join(lines)


def _median(samples: list[Sample]) -> Sample:
    """The medians of one target's samples of one scenario; its errors are added up."""
    cpu = [each.cpu_ms for each in samples if each.cpu_ms is not None]
    return replace(
        samples[0],
        per_second=median(each.per_second for each in samples),
        p50_ms=median(each.p50_ms for each in samples),
        p99_ms=median(each.p99_ms for each in samples),
        first_byte_ms=median(each.first_byte_ms for each in samples),
        cpu_ms=median(cpu) if cpu else None,
        errors=sum(each.errors for each in samples),
    )


def _ratio(value: float | None, base: float | None) -> str:
    return f"{value / base:.2f}" if value and base else ""


def _head(headings: list[str]) -> list[str]:
    return [_line(*headings), _line(*(["---"] * len(headings)))]


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
