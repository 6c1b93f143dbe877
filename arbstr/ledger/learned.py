"""What other parts have learned and want to keep: a ratio by policy, and JSON by kind and key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain

from arbstr.ledger.sql import Statements, chunks, values

Ratios = Mapping[str, tuple[float, int]]
Cells = Mapping[tuple[str, str], str]


@dataclass(frozen=True, slots=True)
class LearnedState:
    """Learned state that other parts have saved.

    `ratios`: by policy, the average ratio and how many requests it is from. `cells`: by kind and key, JSON text.
    """

    ratios: dict[str, tuple[float, int]] = field(default_factory=dict)
    cells: dict[tuple[str, str], str] = field(default_factory=dict)


def read_learned(db: Statements) -> LearnedState:
    """Return all that was ever written."""
    ratios = db.execute("SELECT policy, avg_ratio, sample_count FROM token_ratios")
    cells = db.execute("SELECT kind, key, value FROM learned")
    return LearnedState(
        {str(policy): (float(ratio), int(samples)) for policy, ratio, samples in ratios if policy is not None},
        {(kind, key): value for kind, key, value in cells},
    )


def write_learned(db: Statements, ratios: Ratios, cells: Cells) -> None:
    """In a transaction: write values, each in the place of its last."""
    for policy, (ratio, samples) in ratios.items():
        db.execute(
            "INSERT INTO token_ratios (policy, avg_ratio, sample_count) VALUES (?, ?, ?) ON CONFLICT (policy) "
            "DO UPDATE SET avg_ratio = excluded.avg_ratio, sample_count = excluded.sample_count",
            (policy, ratio, samples),
        )
    for some in chunks([(kind, key, value) for (kind, key), value in cells.items()]):
        sql = (
            f"INSERT INTO learned (kind, key, value) VALUES {values(len(some), 3)} "
            "ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value"
        )
        db.execute(sql, list(chain.from_iterable(some)))
