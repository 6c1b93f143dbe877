"""Distributions of the lengths of real requests and answers, in tokens."""

from __future__ import annotations

from random import Random

# Every twentieth part (0 %, 5 %, ... 100 %) of the sizes in the Azure LLM inference trace 2023 (CC-BY, Microsoft; Patel
# et al., "Splitwise", ISCA 2024): 9683 requests of conversations, 4409 of code completion.
_CHAT_INPUT = (2, 181, 247, 379, 390, 398, 407, 432, 972, 1012, 1035, 1056, 1081, 1106, 1140, 1200, 1317, 2169, 4075,
               4086, 14050)  # fmt: skip
_CHAT_OUTPUT = (7, 38, 50, 60, 71, 81, 88, 95, 102, 115, 141, 167, 213, 378, 393, 397, 405, 414, 428, 463, 1000)
_CODE_INPUT = (6, 74, 148, 238, 374, 573, 768, 911, 1058, 1207, 1454, 1682, 1885, 2149, 2417, 2748, 3242, 3977, 5146,
               7315, 7437)  # fmt: skip
_CODE_OUTPUT = (6, 6, 7, 7, 8, 9, 9, 10, 11, 12, 13, 14, 15, 17, 19, 22, 28, 37, 54, 85, 1899)


def draw_lengths(random: Random, *, code: bool) -> tuple[int, int]:
    """Draw tokens in and out of a request; code has long questions and short answers."""
    asked, answered = (_CODE_INPUT, _CODE_OUTPUT) if code else (_CHAT_INPUT, _CHAT_OUTPUT)
    return _draw(asked, random), _draw(answered, random)


def _draw(quantiles: tuple[int, ...], random: Random) -> int:
    """Draw a number from that distribution, linear between its quantiles."""
    place = random.random() * (len(quantiles) - 1)
    i = int(place)
    return round(quantiles[i] + (place - i) * (quantiles[i + 1] - quantiles[i]))
