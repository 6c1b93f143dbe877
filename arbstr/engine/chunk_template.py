"""The bytes that the text chunks of a stream share: everything but their text and what else is new in each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from operator import itemgetter
from typing import NamedTuple

from arbstr.engine import lenient_json
from arbstr.engine.dialects.dialect import Dialect
from arbstr.engine.upstream.stream_meter import states_something

# Fields are separated by a byte that never stands unescaped in JSON's strings and numbers.
_FIELD_END = b"\t"
_NEEDLE = 16  # bytes: longer ones are not found any faster, but take their time to be prepared

_HEAD = re.compile(rb"(?:event: ?[a-z_.]+\n)?data: ?(?=\{)")
_ENDS_TEXT = re.compile(rb'["\\\r\n]')
_TEXT = re.compile(rb'(?:[^"\\\r\n]++|\\.)*+(?="[,}])')
_VARIES = (
    (b'"sequence_number"', re.compile(rb": ?(\d+)")),
    (b'"obfuscation"', re.compile(rb': ?"([^"\\\r\n]*)"')),
)
_MUST_BE_READ = (b"error", b'"success"', b"\\")


class Run(NamedTuple):
    """Chunks that follow each other: their size in bytes, their number, and what each has of its own.

    `texts` are the model's words, `fields` all that varies, as JSON spells them and separated by tabs.
    """

    size: int
    chunks: int
    texts: bytes
    fields: bytes

    @property
    def text(self) -> bytes:
        """The texts as one."""
        return self.texts.replace(_FIELD_END, b"")

    @property
    def says_something(self) -> bool:
        """Whether any text is not empty."""
        return bool(self.texts.strip(_FIELD_END))


class ChunkTemplate:
    """The bytes of a chunk around the fields that vary; the `text`-th of these is its text.

    Once one such chunk has been parsed the others need not be: they carry text, and neither usage nor an error nor a
    `finish_reason`, as long as nothing in a field could end it.
    """

    __slots__ = ("_after", "_before", "_ends", "_least", "_text", "constants", "uses")

    def __init__(self, constants: Sequence[bytes], text: int) -> None:
        self.constants = constants
        self.uses = 0
        self._before, self._after = constants[0], constants[-1]
        self._text = text
        self._least = sum(map(len, constants))
        ends = [*constants[1:-1], self._after + self._before]  # the last field ends where the next chunk begins
        # Each with its beginning, the rest, and what takes the rest off a piece.
        self._ends = [(end[:_NEEDLE], end[_NEEDLE:], itemgetter(slice(len(end[_NEEDLE:]), None))) for end in ends]

    def match(self, block: bytes) -> Run | None:
        """Return the chunks at the start of a block; None if there are none, or if one may be more than text."""
        before = self._before
        if not block.startswith(before):
            return None
        if block.endswith(self._after) and (run := self._single(block)) is not None:
            return run
        size = block.find(b"\n\n", block.rfind(before)) + 2
        fields = block[len(before) : size] + before
        counts = []
        for needle, rest, shorten in self._ends:
            # Each constant is searched for by its beginning, and where the smallest and the largest of many pieces
            # begin with the rest of it, all do: what is done for each chunk is done in C.
            first, *pieces = fields.split(needle)
            if not pieces or not (min(pieces).startswith(rest) and max(pieces).startswith(rest)):
                return None
            fields = _FIELD_END.join([first, *map(shorten, pieces)])
            counts.append(len(pieces))
        return self._run(size, counts, fields[:-1])

    def find_run(self, block: bytes) -> tuple[int, Run] | None:
        """Return where the first chunks in a block begin, and these; None as `match`."""
        start = 0 if block.startswith(self._before) else block.find(b"\n\n" + self._before) + 2
        run = self.match(block[start:] if start else block)
        return None if run is None else (start, run)

    def sample(self, text: bytes) -> bytes:
        """Return a chunk with a text of one's own."""
        fields = [b"0"] * len(self._ends)
        fields[self._text] = text
        return self._before + b"".join(map(bytes.__add__, fields, self.constants[1:]))

    def _single(self, block: bytes) -> Run | None:
        """Return the only chunk of a block that begins and ends as one, as most are read; None if it may be more."""
        fields = block[len(self._before) : -len(self._after)]
        for constant in self.constants[1:-1]:
            fields = fields.replace(constant, _FIELD_END, 1)
        if len(block) < self._least or _ENDS_TEXT.search(fields) is not None:
            return None
        if len(self._ends) == 1:
            return Run(len(block), 1, fields, fields)
        each = fields.split(_FIELD_END)
        return Run(len(block), 1, each[self._text], fields) if len(each) == len(self._ends) else None

    def _run(self, size: int, counts: list[int], fields: bytes) -> Run | None:
        """Return chunks with these fields, None if one may be more than text."""
        if min(counts) != max(counts) or not _are_texts(fields):
            return None
        each = len(counts)
        texts = fields if each == 1 else _FIELD_END.join(fields.split(_FIELD_END)[self._text :: each])
        return Run(size, counts[0], texts, fields)


def first_template(block: bytes, dialect: Dialect) -> tuple[int, ChunkTemplate] | None:
    """Return the start and the template of a block's first text chunk; None if it has none."""
    begins = dialect.text_begins.search(block)
    if begins is None:
        return None
    start = block.rfind(b"\n\n", 0, begins.start())
    start = start + 2 if start >= 0 else 0
    chunk = block[start : block.find(b"\n\n", begins.end()) + 2]
    text = _TEXT.match(chunk, begins.end() - start)
    if text is None or not _has_substance(chunk, dialect):
        return None
    template = _template(chunk, text.span())
    return (start, template) if _says_nothing(b"\0".join(template.constants), dialect) else None


def _template(chunk: bytes, text: tuple[int, int]) -> ChunkTemplate:
    """Return the template of a chunk whose text is here."""
    fields = [text]
    for name, value in _VARIES:
        place = chunk.find(name)
        if place >= 0 and (found := value.match(chunk, place + len(name))) is not None:
            fields.append(found.span(1))
    fields.sort()
    starts, ends = zip(*fields, strict=True)
    constants = [chunk[start:end] for start, end in zip((0, *ends), (*starts, len(chunk)), strict=True)]
    return ChunkTemplate(constants, fields.index(text))


def _has_substance(chunk: bytes, dialect: Dialect) -> bool:
    """Return whether an event has one line of data, and that a part of the answer."""
    head = _HEAD.match(chunk)
    if head is None or chunk.find(b"\n", head.end()) != len(chunk) - 2 or chunk.find(b"\r") >= 0:
        return False
    return dialect.has_substance(lenient_json.loads_or_none(chunk[head.end() : -2]))


def _says_nothing(constants: bytes, dialect: Dialect) -> bool:
    """Return whether nothing that is searched for in events can be in those with these bytes."""
    return (
        constants.find(dialect.spoken_in) >= 0
        and all(constants.find(word) < 0 for word in _MUST_BE_READ)
        and dialect.end.search(constants) is None
        and not states_something(constants)
    )


def _are_texts(texts: bytes) -> bool:
    """Return whether no text ends early and no line ends within one."""
    if texts.find(b"\n") >= 0 or texts.find(b"\r") >= 0:
        return False
    if texts.find(b"\\") >= 0:  # an escape belongs to its text
        texts = texts.replace(rb"\\", b"").replace(rb"\"", b"")
        if texts.endswith(b"\\") or texts.find(b"\\" + _FIELD_END) >= 0:
            return False
    return texts.find(b'"') < 0
