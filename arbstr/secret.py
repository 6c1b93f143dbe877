"""Text that must never be shown: provider keys and the clients' token."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import GetCoreSchemaHandler, ValidatorFunctionWrapHandler
from pydantic_core import CoreSchema, core_schema

_SHOWN = 6
_SHORTEST_SHOWN = 10
REDACTED = "[REDACTED]"


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
        if not (text.isascii() and text.isprintable() and " " not in text):
            # Sent on, it would end or break the header; the error of who notices then would quote it.
            raise ValueError("has a space, a line break or another character that a header can't carry; remove it")
        return cls(text)


def mask(text: str) -> str:
    """At most the first six characters and `...***`; a text shorter than ten shows as `[REDACTED]`."""
    return REDACTED if len(text) < _SHORTEST_SHOWN else f"{text[:_SHOWN]}...***"


class Redactor:
    """Replaces known secrets in any text by their masks."""

    def __init__(self, secrets: Iterable[Secret]) -> None:
        texts = {secret.reveal() for secret in secrets}
        # The longest first: a key that begins with another must not leave its tail behind.
        self._masks = [(text, mask(text)) for text in sorted(texts, key=len, reverse=True)]
        self._bytes = [(text.encode(), masked.encode()) for text, masked in self._masks]

    def text(self, text: str) -> str:
        """The text with every secret masked."""
        for secret, masked in self._masks:
            if secret in text:
                text = text.replace(secret, masked)
        return text

    def data(self, data: bytes) -> bytes:
        """The bytes with every secret masked."""
        for secret, masked in self._bytes:
            if secret in data:
                data = data.replace(secret, masked)
        return data
