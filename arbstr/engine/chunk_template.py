"""The bytes that the text chunks of a stream share: everything except the text itself."""

from __future__ import annotations

import re

from arbstr.engine import lenient_json
from arbstr.engine.dialects.dialect import Dialect
from arbstr.engine.upstream.sse import data_of, event_start

# Texts are separated by a byte that never stands unescaped in a JSON string.
_TEXT_END = b"\t"

_ENDS_TEXT = re.compile(rb'["\\\r\n]')
_TEXT = re.compile(rb'(?:[^"\\\r\n]++|\\.)*+(?="[,}])')
_MUST_BE_READ = re.compile(rb'error|[\r\\]|"(?:(?:usage|cost)"\s*:\s*\{|(?:finish|stop)_reason"\s*:\s*"|success")')
_CHUNK = re.compile(rb"(?:event: ?[a-z_.]+\n)?data:[^\n]*\n\n")


class ChunkTemplate:
    """The bytes of a chunk before its text and after it.

    Once one such chunk has been parsed the others need not be: they carry text, and neither usage nor an error nor a
    `finish_reason`, as long as nothing in that text could end it.
    """

    __slots__ = ("_after", "_before", "between", "uses")

    def __init__(self, before: bytes, after: bytes) -> None:
        self._before = before
        self._after = after
        self.between = after + before  # two texts
        self.uses = 0

    def texts(self, block: bytes) -> tuple[int, int, bytes] | None:
        """Return the size in bytes, the number and the texts of this template's chunks at the start of a block.

        None if there are none, or if something other than text may be among them.
        """
        size = block.rfind(self._after)
        if size < len(self._before) or not block.startswith(self._before):
            return None
        joined = block[len(self._before) : size]
        texts = self._texts_in(joined)
        if not _are_texts(texts):
            return None
        count = 1 + (len(joined) - len(texts)) // (len(self.between) - len(_TEXT_END))
        return size + len(self._after), count, texts

    def run(self, block: bytes) -> tuple[int, int, bytes] | None:
        """Return the start, the end and the joined texts of this template's chunks in a block, wherever they begin.

        None if there are none, or if something other than text may be among them.
        """
        if block.startswith(self._before) and block.endswith(self._after):  # a single chunk, as most are read
            text = block[len(self._before) : -len(self._after)]
            if _ENDS_TEXT.search(text) is None:
                return 0, len(block), text
        start = 0 if block.startswith(self._before) else block.find(b"\n\n" + self._before) + 2
        found = self.texts(block[start:] if start else block)
        return None if found is None else (start, start + found[0], found[2].replace(_TEXT_END, b""))

    def sample(self, text: bytes) -> bytes:
        """Return a chunk with a text of one's own."""
        return self._before + text + self._after

    def _texts_in(self, joined: bytes) -> bytes:
        """Return the texts of several chunks, separated by `_TEXT_END`."""
        between = self.between
        texts: list[bytes] = []
        start = 0
        while (end := joined.find(b'"', start)) >= 0:
            if not joined.startswith(between, end):  # usually an escaped quote
                return joined.replace(between, _TEXT_END)  # takes twice as long
            texts.append(joined[start:end])
            start = end + len(between)
        texts.append(joined[start:])
        return _TEXT_END.join(texts)


def first_template(block: bytes, dialect: Dialect) -> tuple[int, ChunkTemplate] | None:
    """Return the start and the template of a block's first text chunk; None if it has none."""
    begins = dialect.text_begins.search(block)
    text = None if begins is None else _TEXT.match(block, begins.end())
    if begins is None or text is None:
        return None
    start, end = event_start(block, begins.start()), block.find(b"\n\n", text.end()) + 2
    template = ChunkTemplate(block[start : begins.end()], block[text.end() : end])
    return (start, template) if _is_chunk_of(template, block[start:end], dialect) else None


def _is_chunk_of(template: ChunkTemplate, chunk: bytes, dialect: Dialect) -> bool:
    """Return whether a chunk carries text and nothing else: anything more has a name that is searched for."""
    if _CHUNK.fullmatch(chunk) is None or _MUST_BE_READ.search(template.between) is not None:
        return False
    return dialect.has_substance(lenient_json.loads_or_none(data_of(chunk) or b""))


def _are_texts(texts: bytes) -> bool:
    """Return whether no text ends early and no line ends within one."""
    if texts.find(b"\n") >= 0 or texts.find(b"\r") >= 0:
        return False
    if texts.find(b"\\") >= 0:  # an escape belongs to its text
        texts = texts.replace(rb"\\", b"").replace(rb"\"", b"")
        if texts.endswith(b"\\") or texts.find(b"\\" + _TEXT_END) >= 0:
            return False
    return texts.find(b'"') < 0
