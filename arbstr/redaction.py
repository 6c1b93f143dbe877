"""Secrets that must never be shown: provider keys, the clients' token, and money: ecash tokens and invoices."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from functools import cached_property
from os.path import commonprefix
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, ValidatorFunctionWrapHandler
    from pydantic_core import CoreSchema

_SHOWN = 6
_SHORTEST_SHOWN = 10
_SHORTEST_INSIDE_WORDS = 6
_LONGEST_SPELLED_OUT = 2000
_ALIKE_CHARS = 3  # prefix length by which spellings are grouped for searching
REDACTED = "[REDACTED]"
UNFIT = "has a space, a line break or another character that a header can't carry; remove it"


class Secret:
    """A key whose text only `reveal()` gives out; `str`, `repr` and formatting show it masked."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself, for the one header that needs it."""
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
        from pydantic_core import core_schema  # noqa: PLC0415 - only where a configuration is read, which loads it

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
    """Return whether a header can carry the text; otherwise it would break one, and an error might quote it."""
    return text.isascii() and text.isprintable() and " " not in text


def mask(text: str) -> str:
    """Return the first six characters and `...***`; `[REDACTED]` for a text shorter than ten."""
    return REDACTED if len(text) < _SHORTEST_SHOWN else f"{text[:_SHOWN]}...***"


# Secrets that arbstr does not know, found by their look: ecash, Lightning invoices (a node gives the key that one pays
# for to anyone who has it), Nostr's private keys, providers' keys, what follows an authorization scheme.
_LOOKALIKE = re.compile(
    r"cashu[AB][\w+/=-]{8,}"
    r"|(?i:\bln(?:bcrt|bc|tbs|tb)[0-9a-z]{10,})"
    r"|(?i:\bnsec1[0-9a-z]{10,})"
    r"|\bsk-[\w-]{8,}"
    # Words follow `basic` too; and what is known has been masked by now.
    r"|(?i:(?<=\bbearer )|(?<=\bbasic ))(?=\S*[0-9A-Z])(?!\S*\.\.\.\*\*\*)[\w.~+/=-]{16,}"
)
_SHORTEST_LOOKALIKE = 11
_MARKS = ("cashu", "lnbc", "LNBC", "lntb", "nsec1", "sk-", "earer ", "EARER ", "asic ")


def mask_lookalikes(text: str) -> str:
    """Return the text with all masked that looks like ecash, an invoice or a key; the same object if nothing does."""
    for mark in _MARKS:
        if mark in text:  # nearly every text needs only these plain searches
            return _LOOKALIKE.sub(lambda match: mask(match[0]), text)
    return text


class Redactor:
    """Masks known secrets in any text, also where JSON, a URL or base64 spells them differently.

    In texts, which are logged and stored, it masks by look as well; in data, which clients get, only what is known.
    `reach` is the longest spelling in characters: to mask piece by piece, hold back one less than that.
    """

    def __init__(self, secrets: Iterable[Secret]) -> None:
        self._learn({secret.reveal() for secret in secrets} - {""})

    def renew(self, secrets: Iterable[Secret]) -> None:
        """Mask these from now on, and no others."""
        texts = {secret.reveal() for secret in secrets} - {""}
        if texts != set(self._texts):
            self._learn(texts)
            re.purge()  # it would keep the patterns of hundreds of earlier keys

    def _learn(self, secrets: set[str]) -> None:
        texts = sorted(secrets, key=len, reverse=True)
        self._texts = texts
        self._spellable = [text for text in texts if len(text) <= _LONGEST_SPELLED_OUT]
        self._needles = [spelling.encode() for spelling in sorted(set().union(*map(_plain_spellings, texts)))]
        self._masks = {spelling: mask(text) for text in texts for spelling in _spellings(text)}
        # The longest first: a key that begins with another must not leave its tail behind.
        found = sorted(self._masks, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(_pattern, found)))
        self._byte_masks = {spelling.encode(): masked.encode() for spelling, masked in self._masks.items()}
        self._byte_pattern = re.compile(self._pattern.pattern.encode())
        self._beginnings = _beginnings(self._masks)
        self._byte_beginnings = [beginning.encode() for beginning in self._beginnings]
        self._secrets = [Secret(text) for text in texts]
        self._shortest = min((_SHORTEST_LOOKALIKE, *map(len, self._masks)))
        self.reach = max(map(len, self._masks), default=0) * _LONGEST_SPELLING
        for cached in ("_spelled_out", "_spelled_out_bytes", "of_long"):
            self.__dict__.pop(cached, None)

    @cached_property
    def _spelled_out(self) -> re.Pattern[str]:
        """A pattern with a group per key that matches every spelling of each character; compiled on first use."""
        return re.compile("|".join(f"({''.join(map(_any_spelling, text))})" for text in self._spellable))

    @cached_property
    def _spelled_out_bytes(self) -> re.Pattern[bytes]:
        return re.compile(self._spelled_out.pattern.encode())

    def text(self, text: str) -> str:
        """Return the text with every secret masked."""
        if len(text) < self._shortest:
            return text
        for beginning in self._beginnings:
            if text.find(beginning) >= 0:  # nearly every call needs only a few plain searches
                if any(spelling in text for spelling in self._masks):
                    text = self._pattern.sub(lambda match: self._masks[match[0]], text)
                break
        if _may_be_numbers(text) and self._is_spelled_out(text):
            text = self._spelled_out.sub(self._mask_of, text)
        return mask_lookalikes(text)

    def data(self, data: bytes) -> bytes:
        """Return the bytes with every secret masked; the same object if there is none."""
        for beginning in self._byte_beginnings:
            if data.find(beginning) >= 0:
                if any(spelling in data for spelling in self._byte_masks):
                    data = self._byte_pattern.sub(lambda match: self._byte_masks[match[0]], data)
                break
        if _may_be_numbers(data) and self._is_spelled_out(data.decode("latin-1")):
            return self._spelled_out_bytes.sub(lambda match: self._mask_of(match).encode(), data)
        return data

    @cached_property
    def of_long(self) -> Redactor:
        """A redactor for the secrets that are too long to be words."""
        return Redactor(secret for secret in self._secrets if len(secret.reveal()) >= _SHORTEST_SHOWN)

    def seems_to_be_in(self, data: bytes) -> bool:
        """Return whether the bytes may contain a secret: a cheap test that has no false negatives."""
        for needle in self._needles:
            if data.find(needle) >= 0:  # `in` takes three times as long
                return True
        return bool(self._needles) and _may_be_numbers(data)

    def straddles(self, data: bytes, place: int) -> int:
        """Return the end of the secret that contains the index `place`; `place` itself if there is none."""
        patterns = [self._byte_pattern]
        if _may_be_numbers(data):
            patterns.append(self._spelled_out_bytes)
        for pattern in patterns:
            for match in pattern.finditer(data, max(0, place - self.reach), place + self.reach):
                if match.start() < place < match.end():
                    return match.end()
        return place

    def _is_spelled_out(self, text: str) -> bool:
        """Return whether the text contains a secret once its numeric escapes are decoded."""
        undone, count = _BY_NUMBER.subn(_undone, text)
        return count > 0 and any(secret in undone for secret in self._spellable)

    def _mask_of(self, match: re.Match[Any]) -> str:
        return mask(self._spellable[(match.lastindex or 1) - 1])


# `\u002d`, also in JSON nested in JSON; `%2D`; a needless backslash. Whole runs are decoded at once: character by
# character a long text full of them would take seconds.
_BY_NUMBER = re.compile(r"((?:\\+u00[2-7][0-9a-fA-F]){1,1000}+)|((?:%[2-7][0-9a-fA-F]){1,1000}+)|\\+(?=[/\"\\])")
_LONGEST_SPELLING = 10  # of one character
_HEX = re.compile(r"\\u00[2-7]")
_PERCENT = re.compile(r"%[2-7]")
_HEX_BYTES = re.compile(rb"\\u00[2-7]")
_PERCENT_BYTES = re.compile(rb"%[2-7]")


def _may_be_numbers(text: str | bytes) -> bool:
    """Return whether the text may contain a numeric escape of an ASCII character; mostly it does not."""
    # A single character is found ten times as fast as several, and `in` first takes bytes for a number and fails.
    if isinstance(text, bytes):
        return (text.find(b"\\") >= 0 and text.find(b"\\u00") >= 0 and _HEX_BYTES.search(text) is not None) or (
            text.find(b"%") >= 0 and _PERCENT_BYTES.search(text) is not None
        )
    return ("\\u00" in text and _HEX.search(text) is not None) or ("%" in text and _PERCENT.search(text) is not None)


def _undone(match: re.Match[str]) -> str:
    numbers = match[1] or match[2]
    if not numbers:
        return ""
    digits = numbers.replace("\\", "").replace("u00", "").replace("%", "")
    return bytes.fromhex(digits).decode("ascii")


def _any_spelling(character: str) -> str:
    """Return a pattern for every spelling of one character of a key."""
    number = f"(?i:{ord(character):02x})"
    plain = re.escape(character)
    before = r"\\{0,4}" if character in '/"\\' else ""
    return rf"(?:{before}{plain}|\\{{1,4}}u00{number}|%{number})"


def _plain_spellings(text: str) -> set[str]:
    """Return the text plain and in JSON; the same for nearly all keys."""
    in_json = json.dumps(text)[1:-1]
    return {text, in_json, in_json.replace("/", r"\/"), in_json.replace("/", r"\\/")}


def _spellings(text: str) -> set[str]:
    spelled = _plain_spellings(text) | {quote(text, safe=""), quote(text)}
    if len(text) >= _SHORTEST_SHOWN:
        spelled |= _in_base64(text.encode())
    return spelled


def _beginnings(spellings: Iterable[str]) -> list[str]:
    """Return the common prefixes of the spellings: only a few, because keys begin alike."""
    alike: dict[str, list[str]] = {}
    for spelling in spellings:
        alike.setdefault(spelling[:_ALIKE_CHARS], []).append(spelling)
    return [commonprefix(group) for group in alike.values()]  # noqa: RUF071 - of texts, character by character, it is


def _in_base64(key: bytes) -> set[str]:
    """Return the invariant parts of the key's base64 at any offset, as in `Basic dXNlcjprZXk=`."""
    same = set()
    for before in range(3):
        packed = base64.b64encode(bytes(before) + key).decode()
        core = packed[-(-before * 8 // 6) : (before + len(key)) * 8 // 6]
        same |= {core, core.replace("+", "-").replace("/", "_")}
    return same


def _pattern(text: str) -> str:
    """Return a key's pattern; very short keys (`x`, `none` for local servers) match as whole words only."""
    pattern = re.escape(text)
    return pattern if len(text) >= _SHORTEST_INSIDE_WORDS else rf"(?<![A-Za-z0-9]){pattern}(?![A-Za-z0-9])"
