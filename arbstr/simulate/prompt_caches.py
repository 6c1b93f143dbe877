"""Providers' prompt caches, as a simulation has them.

Each keeps a block of a prompt for `LIFE_S` after its last use there. Of a prompt it finds the longest beginning that it
holds, or, as real ones do now and then, nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

BLOCK_TOKENS = 512
LIFE_S = 300.0


class PromptCache:
    """One provider's cache. Blocks are ids, each of which stands for itself and all blocks before it."""

    def __init__(self) -> None:
        self._used_s: dict[int, float] = {}

    def use(self, blocks: Sequence[int], input_tokens: int, now_s: float) -> int:
        """Return how many tokens of a prompt it holds, and keep all of the prompt from now on."""
        held = 0
        for block in blocks:
            if now_s - self._used_s.get(block, -math.inf) > LIFE_S:
                break
            held += 1
        self._used_s.update(dict.fromkeys(blocks, now_s))
        return min(held * BLOCK_TOKENS, input_tokens)
