"""What a Cashu token says that it is worth. Only its mint knows whether that is so, but no node can make it more."""

from __future__ import annotations

import base64
import json
from typing import Any

_MSATS = {"sat": 1000, "msat": 1}  # of a token's units those of bitcoin
_DEEPEST = 16
_SIMPLE = {20: False, 21: True, 22: None}


def stated_msats(token: str) -> int | None:
    """Return the sum of a token's proofs in msats; None if it can't be read, or is not of bitcoin."""
    try:
        return _sum(token)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):  # it may be anything
        return None


def _sum(token: str) -> int | None:
    data = base64.urlsafe_b64decode(token[6:] + "=" * (-len(token[6:]) % 4))
    if token.startswith("cashuA"):
        document = json.loads(data)
        unit, amounts = (
            document.get("unit", "sat"),
            [one["amount"] for each in document["token"] for one in each["proofs"]],
        )
    else:
        document = _Cbor(data).value()
        unit, amounts = document["u"], [one["a"] for each in document["t"] for one in each["p"]]
    if not all(type(amount) is int and amount >= 0 for amount in amounts):
        return None
    msats = _MSATS.get(unit)
    return None if msats is None else sum(amounts) * msats


class _Cbor:
    """Reads those values of CBOR that tokens have: numbers, bytes, texts, lists and maps of stated lengths."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def value(self, depth: int = 0) -> Any:
        """Return the next value. Raises ValueError and TypeError."""
        if depth > _DEEPEST:
            raise ValueError("nested too deeply")
        kind, number = self._head()
        if kind == 0:
            return number
        if kind in (2, 3):
            data = self._take(number)
            return data.decode() if kind == 3 else data
        if kind == 4:
            return [self.value(depth + 1) for _ in range(number)]
        if kind == 5:
            return {self.value(depth + 1): self.value(depth + 1) for _ in range(number)}
        if kind == 7 and number in _SIMPLE:
            return _SIMPLE[number]
        raise ValueError("a kind that no token has")

    def _head(self) -> tuple[int, int]:
        """Return the kind of a value, and its number or length."""
        first = self._take(1)[0]
        number = first & 31
        if number >= 28:
            raise ValueError("a length that is not stated")
        return first >> 5, number if number < 24 else int.from_bytes(self._take(1 << (number - 24)), "big")

    def _take(self, count: int) -> bytes:
        data = self._data[self._at : self._at + count]
        if len(data) < count:
            raise ValueError("it breaks off")
        self._at += count
        return data
