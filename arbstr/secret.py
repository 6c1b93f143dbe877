"""Text that must never be shown: provider keys and the clients' token."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from pydantic import GetCoreSchemaHandler, ValidatorFunctionWrapHandler
from pydantic_core import CoreSchema, core_schema

_SHOWN = 6
_SHORTEST_SHOWN = 10
_SHORTEST_INSIDE_WORDS = 6
REDACTED = "[REDACTED]"
UNFIT = "has a space, a line break or another character that a header can't carry; remove it"


class Secret:
    """A key whose text only `reveal()` gives out; `str`, `repr` and formatting show it masked."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the one header that needs it."""
        return self._text

    def __str__(self) -> str:
        return mask(self._text)

    def __repr__(self) -> str:
        return f"Secret({mask(self._text)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Let configuration fields take it from a string, and give it out masked."""
        return core_schema.no_info_wrap_validator_function(
            cls._validated,
            core_schema.str_schema(min_length=1),
            serialization=core_schema.to_string_ser_schema(),
        )

    @classmethod
    def _validated(cls, value: Any, as_text: ValidatorFunctionWrapHandler) -> Secret:
        if isinstance(value, Secret):
            return value
        text: str = as_text(value)
        if not fits_header(text):
            raise ValueError(UNFIT)
        return cls(text)


def fits_header(text: str) -> bool:
    """Whether a header can carry it: else, sent on, it would end or break one, and who notices would quote it."""
    return text.isascii() and text.isprintable() and " " not in text


def mask(text: str) -> str:
    """At most the first six characters and `...***`; a text shorter than ten shows as `[REDACTED]`."""
    return REDACTED if len(text) < _SHORTEST_SHOWN else f"{text[:_SHOWN]}...***"


class Redactor:
    """Replaces known secrets in any text by their masks, also where JSON or a URL spells them with escapes."""

    def __init__(self, secrets: Iterable[Secret]) -> None:
        texts = {secret.reveal() for secret in secrets} - {""}
        self._masks = {spelling: mask(text) for text in texts for spelling in _spellings(text)}
        # The longest first: a key that begins with another must not leave its tail behind.
        pattern = "|".join(_pattern(spelling) for spelling in sorted(self._masks, key=len, reverse=True))
        self._pattern = re.compile(pattern)
        self._byte_masks = {spelling.encode(): masked.encode() for spelling, masked in self._masks.items()}
        self._byte_pattern = re.compile(pattern.encode())

    def text(self, text: str) -> str:
        """The text with every secret masked."""
        for spelling in self._masks:
            if spelling in text:  # a plain search is all that nearly every call comes down to
                return self._pattern.sub(lambda match: self._masks[match[0]], text)
        return text

    def data(self, data: bytes) -> bytes:
        """The bytes with every secret masked."""
        for spelling in self._byte_masks:
            if spelling in data:
                return self._byte_pattern.sub(lambda match: self._byte_masks[match[0]], data)
        return data


def _spellings(text: str) -> set[str]:
    in_json = json.dumps(text)[1:-1]
    return {text, in_json, in_json.replace("/", r"\/"), quote(text, safe=""), quote(text)}


def _pattern(text: str) -> str:
    """Very short keys (local servers take any: `x`, `none`) count only where they stand alone, or words would break."""
    pattern = re.escape(text)
    return pattern if len(text) >= _SHORTEST_INSIDE_WORDS else rf"(?<![A-Za-z0-9]){pattern}(?![A-Za-z0-9])"
