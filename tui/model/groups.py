"""Sums of the ledger by name, under names that are fit to show."""

from __future__ import annotations

from collections.abc import Mapping

from arbstr.ledger.model import Aggregate
from tui.format import shown

Groups = dict[str, Aggregate]


def named(groups: Mapping[str, Aggregate]) -> Groups:
    """Return the groups under names that are safe to show; two that look alike stay two."""
    safe: Groups = {}
    for name, aggregate in groups.items():
        label = shown(name)
        while label in safe:
            label += "′"
        safe[label] = aggregate
    return safe
