"""What the chunks of a stream have in common that bring one piece of text after the other: all but that text."""

from __future__ import annotations

import re

from arbstr.engine import lenient_json
from arbstr.engine.upstream import verdict
from arbstr.engine.upstream.sse import event_start

# The texts are told apart by a byte that no JSON text holds as it is.
_TEXT_END = b"\t"

_TEXT_BEGINS = re.compile(
    rb'"delta": ?\{(?:"role": ?"[a-z]*", ?)?"(?:content|reasoning_content|reasoning)": ?"(?!")',
)
_TEXT = re.compile(rb'(?:[^"\\\r\n]++|\\.)*+(?="[,}])')
_MUST_BE_READ = re.compile(rb'error|[\r\\]|"(?:(?:usage|cost)"\s*:\s*\{|finish_reason"\s*:\s*"|success")')
_FIELD = b"data:"


class ChunkTemplate:
    """The bytes of a chunk up to its text, and from its text's end on.

    If one such chunk has been read the others need not be: they bring text, and neither usage nor an error nor a
    `finish_reason`, as long as nothing in that text could end it.
    """

    __slots__ = ("_after", "_before", "between", "uses")

    def __init__(self, before: bytes, after: bytes) -> None:
        self._before = before
        self._after = after
        self.between = after + before  # one text and the next
        self.uses = 0

    def texts(self, block: bytes) -> tuple[int, int, bytes] | None:
        """How many bytes the chunks of this template take at a block's beginning, how many they are, and their texts.

        None if there are none, or something that is no text may be among them.
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

    def _texts_in(self, joined: bytes) -> bytes:
        """What is left of several chunks without what is between two texts."""
        between = self.between
        texts: list[bytes] = []
        start = 0
        while (end := joined.find(b'"', start)) >= 0:
            if not joined.startswith(between, end):  # an escaped one, as a rule
                return joined.replace(between, _TEXT_END)  # takes twice as long
            texts.append(joined[start:end])
            start = end + len(between)
        texts.append(joined[start:])
        return _TEXT_END.join(texts)


def first_template(block: bytes) -> tuple[int, ChunkTemplate] | None:
    """The template of a block's first chunk of text, and the index at which that chunk begins; None if it has none."""
    begins = _TEXT_BEGINS.search(block)
    text = None if begins is None else _TEXT.match(block, begins.end())
    if begins is None or text is None:
        return None
    start, end = event_start(block, begins.start()), block.find(b"\n\n", text.end()) + 2
    template = ChunkTemplate(block[start : begins.end()], block[text.end() : end])
    return (start, template) if _is_chunk_of(template, block[start:end]) else None


def _is_chunk_of(template: ChunkTemplate, chunk: bytes) -> bool:
    """Whether a chunk brings text and nothing else: what could be more has a name that is looked for."""
    if not chunk.startswith(_FIELD) or chunk.count(b"\n") != 2 or _MUST_BE_READ.search(template.between) is not None:
        return False
    return verdict.has_substance(lenient_json.loads_or_none(chunk[len(_FIELD) :]))


def _are_texts(texts: bytes) -> bool:
    """Whether no text ends before its chunk's does, and no line within one."""
    if texts.find(b"\n") >= 0 or texts.find(b"\r") >= 0:
        return False
    if texts.find(b"\\") >= 0:  # an escape belongs to its text
        texts = texts.replace(rb"\\", b"").replace(rb"\"", b"")
        if texts.endswith(b"\\") or texts.find(b"\\" + _TEXT_END) >= 0:
            return False
    return texts.find(b'"') < 0
