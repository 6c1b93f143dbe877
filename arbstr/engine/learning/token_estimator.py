"""Predicts the tokens of a request before it is sent; learned from finished requests.

Input tokens follow from the text's length and the model's characters per token. Output is the mean of similar requests:
same policy, model and input size (to the half octave). A group with few requests is shrunk towards the next coarser
one, down to a default. Means forget, so that they follow changes. Once a group has all that it remembers, it needs the
coarser ones no more, and these, like the characters per token, learn from a sample of its requests.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Protocol, TypeGuard, TypeVar

from arbstr.engine.learning.codec import LENGTHS, TEXTS, Cells, Ratios, dumps, is_pair
from arbstr.engine.learning.lengths import CHARS_PER_TOKEN, MEMORY, MOST_TOKENS, OUTPUT_TOKENS, Lengths, Texts
from arbstr.sanitize import json_or_none
from arbstr.types import NO_GROUP, LearnedRatio

IMAGE_TOKENS = 1000.0  # per image, whatever its size

_PRIOR_WEIGHT = 4.0  # requests after which a group's own mean counts as much as the next coarser one
_SAMPLED_EVERY = 4  # requests
_REMEMBERED = 4096  # groups, models; clients may ask for any name

_MOST_TOKENS = float(MOST_TOKENS)

Group = tuple[str | int | None, ...]
_EVERYTHING: Group = ()


class _Counted(Protocol):
    @property
    def seen(self) -> float: ...


_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value", bound=_Counted)


class TokenEstimator:
    """Predicts the tokens of requests. Calls take amortized constant time."""

    def __init__(self) -> None:
        self._texts: BoundedDict[str, Texts] = BoundedDict(Texts)
        self._outputs: BoundedDict[Group, Lengths] = BoundedDict(Lengths)
        self._ratios: BoundedDict[str | None, _Mean] = BoundedDict(_Mean)

    def predict(
        self, policy: str | None, model: str, chars: int, max_tokens: int | None, images: int = 0, choices: int = 1
    ) -> tuple[float, float]:
        """Return the expected input and output tokens of a request with `chars` characters of text, and images.

        `choices` responses are requested, each of at most `max_tokens`.
        """
        tokens = self._expected_input(model, chars) + images * IMAGE_TOKENS
        if _EVERYTHING not in self._outputs and policy not in self._ratios:
            output = OUTPUT_TOKENS if max_tokens is None else float(max_tokens)
        else:
            output = self._expected_output(policy, model, tokens)
            if max_tokens is not None and output > max_tokens:
                output = float(max_tokens)
        return tokens, output * choices

    def at_most(
        self,
        policy: str | None,
        model: str,
        chars: int,
        max_tokens: int | None,
        *,
        images: int = 0,
        choices: int = 1,
        unseen: float = 0.0,
    ) -> tuple[float, float]:
        """Return upper estimates of input and output tokens: the request's cap, else the recent maximum.

        `unseen` are tokens that its provider may count besides, for each choice.
        """
        tokens = max(self._expected_input(model, chars), chars / CHARS_PER_TOKEN) + images * IMAGE_TOKENS
        if max_tokens is not None:
            return tokens, float(max_tokens) * choices
        _, expected = self.predict(policy, model, chars, None, images=images, choices=choices)
        return tokens, max(expected, (self._longest_output(policy, model, tokens) + unseen) * choices)

    def update(
        self,
        policy: str | None,
        model: str,
        chars: int,
        max_tokens: int | None,
        used_input: int,
        used_output: int,
        *,
        images: int = 0,
        choices: int = 1,
        provider: str = "",
    ) -> None:
        """Learn from the tokens of a request with a complete response, as counted by its provider."""
        tokens = self._expected_input(model, chars) + images * IMAGE_TOKENS
        size = _size(tokens)
        output = answered = min(used_output / choices, _MOST_TOKENS)
        if max_tokens is not None and output >= max_tokens:
            # The response was cut off: it would have been at least as long.
            output = max(answered, self._expected_output(policy, model, tokens))
        lengths = self._outputs[policy, model, size]
        lengths.add(provider, output)
        if lengths.seen > MEMORY and lengths.seen % _SAMPLED_EVERY:
            return
        for group in _coarser(policy, size):
            self._outputs[group].add(provider, output)
        if not images:  # their tokens would count as text
            self.update_texts(provider, model, chars, used_input)
        if used_input:
            self._ratios[policy].add(answered / used_input)

    def update_texts(self, provider: str, model: str, chars: int, used_input: int) -> None:
        """Learn the tokens of a prompt alone."""
        self._texts[model].add(provider, chars, used_input)

    def ratios(self) -> tuple[LearnedRatio, ...]:
        """Return the learned output tokens per input token, by policy."""
        return tuple(LearnedRatio(policy, mean.value, mean.seen) for policy, mean in self._ratios.items())

    def export(self) -> tuple[Ratios, Cells]:
        """Return the state for the database: ratios by policy, and means as JSON by (kind, name)."""
        ratios = {policy or NO_GROUP: (mean.value, mean.seen) for policy, mean in self._ratios.items()}
        cells = {(LENGTHS, dumps(group)): dumps(lengths.state()) for group, lengths in self._outputs.items()}
        cells |= {(TEXTS, dumps(model)): dumps(texts.state()) for model, texts in self._texts.items()}
        return ratios, cells

    def restore(self, ratios: Mapping[str, tuple[float, int]], cells: Mapping[tuple[str, str], str]) -> None:
        """Restore exported state; what is invalid is left out."""
        for name, (ratio, seen) in ratios.items():
            if (mean := _mean_of([seen, ratio])) is not None:
                self._ratios[None if name == NO_GROUP else name] = mean
        for (kind, name), cell in cells.items():
            key, state = json_or_none(name), json_or_none(cell)
            if kind == LENGTHS and _is_group(key) and (lengths := Lengths.restored(state)) is not None:
                self._outputs[tuple(key)] = lengths
            elif kind == TEXTS and isinstance(key, str) and (texts := Texts.restored(state)) is not None:
                self._texts[key] = texts
        for known in (self._ratios, self._outputs, self._texts):
            known.evict()

    def _expected_input(self, model: str, chars: int) -> float:
        text = self._texts.get(model)
        return chars / (CHARS_PER_TOKEN if text is None else text.chars_per_token)

    def _expected_output(self, policy: str | None, model: str, tokens: float) -> float:
        """Return the mean, from the coarsest group to the finest, each shrunk towards the one before."""
        outputs, size = self._outputs, _size(tokens)
        finest = outputs.get((policy, model, size))
        if finest is not None and finest.weight >= MEMORY:
            return finest.value
        value = OUTPUT_TOKENS
        lean = 1.0  # a single request outweighs the default
        for group in (*_coarser(policy, size), (policy, model, size)):
            lengths = outputs.get(group)
            if lengths is not None:
                # Squared, so that the coarser group's influence fades sooner than in a mean of means.
                weight = lengths.weight * lengths.weight
                value = (lengths.value * weight + value * lean) / (weight + lean)
            elif len(group) == 1 and (ratio := self._ratios.get(policy)) is not None:
                value = _by_ratio(ratio, tokens, value)
            lean = _PRIOR_WEIGHT * _PRIOR_WEIGHT
        return value

    def _longest_output(self, policy: str | None, model: str, tokens: float) -> float:
        """Return the recent maximum in the same way, 0 while none is known."""
        value, lean, size = 0.0, 0.0, _size(tokens)
        for group in (*_coarser(policy, size), (policy, model, size)):
            lengths = self._outputs.get(group)
            if lengths is not None:
                weight = lengths.weight * lengths.weight
                value = (lengths.longest * weight + value * lean) / (weight + lean)
                lean = _PRIOR_WEIGHT * _PRIOR_WEIGHT
        return value


class BoundedDict(dict[_Key, _Value]):
    """A defaultdict of at most `_REMEMBERED` entries.

    When it is full, the half with the fewest requests is dropped: names made up by clients displace nothing in use.
    """

    def __init__(self, make: Callable[[], _Value]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, key: _Key) -> _Value:
        self.evict()
        value = self[key] = self._make()
        return value

    def evict(self) -> None:
        """Drop half of the entries if it is full."""
        if len(self) >= _REMEMBERED:
            for least in sorted(self, key=lambda known: self[known].seen)[: -_REMEMBERED // 2]:
                del self[least]


class _Mean:
    """A forgetting mean: the plain mean of few values, then exponentially weighted."""

    __slots__ = ("seen", "value", "weight")

    def __init__(self, seen: int = 0, value: float = 0.0) -> None:
        self.seen = seen
        self.value = value
        self.weight = float(min(seen, MEMORY))

    def add(self, value: float) -> None:
        self.seen += 1
        if self.weight < MEMORY:
            self.weight += 1.0
        self.value += (value - self.value) / self.weight

    def state(self) -> list[float]:
        return [self.seen, self.value]


def _size(tokens: float) -> int:
    """Return the half octave of input tokens."""
    return int(2 * math.log2(tokens)) if tokens > 1 else 0


def _coarser(policy: str | None, size: int) -> tuple[Group, Group, Group]:
    """Return the groups of a request but the finest, which is of its model too, beginning with the coarsest."""
    return _EVERYTHING, (policy,), (policy, size)


def _by_ratio(ratio: _Mean, tokens: float, otherwise: float) -> float:
    """Return an estimate from the ratio alone: all there is after adopting an earlier arbstr's ledger."""
    return (ratio.value * tokens * ratio.seen + otherwise * _PRIOR_WEIGHT) / (ratio.seen + _PRIOR_WEIGHT)


def _mean_of(state: Any) -> _Mean | None:
    """Return a mean from stored state, None if that is not a count and a value."""
    if not is_pair(state) or int(state[0]) < 1:
        return None
    return _Mean(int(state[0]), min(float(state[1]), float(MOST_TOKENS)))


def _is_group(key: Any) -> TypeGuard[list[str | int | None]]:
    return isinstance(key, list) and len(key) <= 3 and all(part is None or isinstance(part, str | int) for part in key)
