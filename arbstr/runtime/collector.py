"""Python's garbage collector, kept from walking over what lives long again and again."""

from __future__ import annotations

import gc


def freeze_gc() -> None:
    """Leave what lives now out of every later collection, and collect seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
