"""Estimates of response length and of characters per token, kept by provider and then joined.

Each provider counts its own tokens. It may count too many, by mistake or by design, and must not make all others look
expensive: an estimate beyond twice or below half of the median provider's is clamped to that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from arbstr.engine.learning.codec import is_numbers

CHARS_PER_TOKEN = 4.0  # before anything is known
OUTPUT_TOKENS = 256.0  # likewise, without a max_tokens
MEMORY = 100  # requests that a mean covers
MOST_TOKENS = 2**20  # no response is longer

_VOTES = 4.0  # requests after which a provider counts towards the median
_APART = 2.0  # largest factor between an estimate and the median
_PROVIDERS = 32  # remembered for each kind of request
_JOINED_EVERY = 8  # requests, once a provider has that many: one more hardly moves a mean of many
_LONGEST_MEMORY = 50.0  # requests over which the longest response decays
_TEXT_LEAN_TOKENS = 200.0  # prior weight of the assumed characters per token, in tokens
_FRAME_TOKENS = 50  # shorter inputs are mostly the frame around the messages
_PLAUSIBLE_CHARS = (0.5, 16.0)  # per token; otherwise the input was not the text alone: images, a hidden prompt

_One = TypeVar("_One", "_Length", "_Text")


class Lengths:
    """The lengths of responses to one kind of request.

    `value` is their mean, `longest` the recent maximum, `weight` the number of requests behind them.
    """

    __slots__ = ("_by_provider", "longest", "seen", "value", "weight")

    def __init__(self) -> None:
        self._by_provider: dict[str, _Length] = {}
        self.seen = 0
        self.value = self.longest = self.weight = 0.0

    def add(self, provider: str, tokens: float) -> None:
        """Add a response of `tokens` tokens from a provider."""
        known = self._by_provider
        length = known.get(provider) or _new(known, provider, _Length)
        length.add(tokens)
        self.seen += 1
        if len(known) == 1:
            self.value, self.longest, self.weight = length.value, length.longest, length.weight
        elif length.seen <= _JOINED_EVERY or self.seen % _JOINED_EVERY == 0:
            self._join()

    def _join(self) -> None:
        known = self._by_provider.values()
        self.weight = min(sum(length.weight for length in known), float(MEMORY))
        self.value = join([(length.value, length.weight) for length in known], OUTPUT_TOKENS)
        self.longest = join([(length.longest, length.weight) for length in known], OUTPUT_TOKENS)

    def state(self) -> dict[str, list[float]]:
        """What is known by provider, fit for JSON."""
        return {provider: [one.seen, one.value, one.longest] for provider, one in self._by_provider.items()}

    @classmethod
    def restored(cls, state: Any) -> Lengths | None:
        """Return an instance from what `state` returned, None if that is invalid."""
        lengths = cls()
        for provider, numbers in state.items() if isinstance(state, dict) else ():
            if is_numbers(numbers, 3) and int(numbers[0]) >= 1 and len(lengths._by_provider) < _PROVIDERS:
                value, longest = (min(float(number), float(MOST_TOKENS)) for number in numbers[1:])
                lengths._by_provider[provider] = _Length(int(numbers[0]), value, longest)
        if not lengths._by_provider:
            return None
        lengths.seen = sum(length.seen for length in lengths._by_provider.values())
        lengths._join()
        return lengths


class Texts:
    """The characters per token of a model."""

    __slots__ = ("_by_provider", "chars_per_token", "seen")

    def __init__(self) -> None:
        self._by_provider: dict[str, _Text] = {}
        self.seen = 0
        self.chars_per_token = CHARS_PER_TOKEN

    def add(self, provider: str, chars: int, tokens: int) -> None:
        """Add a text of `chars` characters and `tokens` tokens, as counted by a provider."""
        text = self._by_provider.get(provider) or _new(self._by_provider, provider, _Text)
        text.add(chars, tokens)
        self.seen += 1
        if len(self._by_provider) == 1:
            self.chars_per_token = text.chars_per_token
        elif text.seen <= _JOINED_EVERY or self.seen % _JOINED_EVERY == 0:
            self._join()

    def _join(self) -> None:
        known = self._by_provider.values()
        self.chars_per_token = join([(text.chars_per_token, float(text.seen)) for text in known], CHARS_PER_TOKEN)

    def state(self) -> dict[str, list[float]]:
        """What is known by provider, fit for JSON."""
        return {provider: [one.chars, one.tokens] for provider, one in self._by_provider.items() if one.tokens}

    @classmethod
    def restored(cls, state: Any) -> Texts | None:
        """Return an instance from what `state` returned, None if that is invalid."""
        texts = cls()
        for provider, numbers in state.items() if isinstance(state, dict) else ():
            if is_numbers(numbers, 2) and _is_text(*numbers) and len(texts._by_provider) < _PROVIDERS:
                texts._by_provider[provider] = _Text(float(numbers[0]), float(numbers[1]))
        if not texts._by_provider:
            return None
        texts.seen = sum(text.seen for text in texts._by_provider.values())
        texts._join()
        return texts


def join(said: Sequence[tuple[float, float]], assumed: float) -> float:
    """Return the weighted mean of providers' (value, weight) pairs, each value clamped near the median.

    Values of low weight do not count towards the median; if only two do, `assumed` is the third.
    """
    if len(said) == 1:
        return said[0][0]
    voices = sorted([value for value, weight in said if weight >= _VOTES] or [value for value, _ in said])
    if len(voices) == 2:
        voices = sorted((*voices, assumed))
    middle = voices[(len(voices) - 1) // 2]
    least, most = middle / _APART, middle * _APART
    total = sum([weight for _, weight in said])
    within = [
        (least if value < least else most if value > most else value) * weight  # noqa: FURB136 - calls take thrice as long
        for value, weight in said
    ]
    return sum(within) / total


class _Length:
    """Response lengths of one provider: a forgetting mean, and a decaying maximum."""

    __slots__ = ("longest", "seen", "value", "weight")

    def __init__(self, seen: int = 0, value: float = 0.0, longest: float = 0.0) -> None:
        self.seen = seen
        self.value = value
        self.longest = longest
        self.weight = float(min(seen, MEMORY))

    def add(self, tokens: float) -> None:
        """Add a response of `tokens` tokens."""
        self.seen += 1
        weight = self.weight
        if weight < MEMORY:
            weight = self.weight = weight + 1.0
        value = self.value = self.value + (tokens - self.value) / weight
        longest = self.longest + (value - self.longest) / _LONGEST_MEMORY
        self.longest = max(tokens, longest)


class _Text:
    """Characters and tokens as counted by one provider: sums over recent requests, so that long ones count more."""

    __slots__ = ("chars", "chars_per_token", "seen", "tokens")

    def __init__(self, chars: float = 0.0, tokens: float = 0.0) -> None:
        self.seen = MEMORY if tokens else 0  # requests; unknown for restored state
        self.chars = chars
        self.tokens = tokens
        self._divide()

    def add(self, chars: int, tokens: int) -> None:
        self.seen += 1
        if tokens < _FRAME_TOKENS or not _is_text(chars, tokens):
            return
        self.chars += chars - self.chars / MEMORY
        self.tokens += tokens - self.tokens / MEMORY
        self._divide()

    def _divide(self) -> None:
        assumed = CHARS_PER_TOKEN * _TEXT_LEAN_TOKENS
        self.chars_per_token = (self.chars + assumed) / (self.tokens + _TEXT_LEAN_TOKENS)


def _is_text(chars: float, tokens: float) -> bool:
    return bool(tokens) and _PLAUSIBLE_CHARS[0] <= chars / tokens <= _PLAUSIBLE_CHARS[1]


def _new(known: dict[str, _One], provider: str, make: Callable[[], _One]) -> _One:
    """Add a provider; the one with the fewest requests is dropped if there are too many."""
    if len(known) >= _PROVIDERS:
        del known[min(known, key=lambda name: known[name].seen)]
    one = known[provider] = make()
    return one
