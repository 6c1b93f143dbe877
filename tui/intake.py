"""Parses a terminal's input into Textual's messages, whatever the bytes are.

Textual's parser believes what it reads: it raises on some sequences, keeps a paste of any size, waits for a paste's end
for ever, and takes a window's size from typed keys. So it is fed character by character, each of which may fail
alone; pastes never reach it; and sizes are the driver's to ask for.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Callable, Iterable
from time import monotonic

from textual import events
from textual._xterm_parser import XTermParser
from textual.message import Message
from textual.messages import InBandWindowResize

PASTE_BEGINS, PASTE_ENDS = "\x1b[200~", "\x1b[201~"
LONGEST_PASTE = 1000  # characters; a filter is the longest input
PASTE_STALLS_S = 2.0  # then a paste without its end is over, or it would swallow every key to come
_TORN = len(PASTE_ENDS) - 1  # so much of a mark may be in one reading, and the rest in the next


class Intake:
    """Turns bytes into messages. Never raises, and buffers no more than a paste of `LONGEST_PASTE`."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._decode = getincrementaldecoder("utf-8")("replace").decode
        self._parser = XTermParser()
        self._before = ""  # the end of what was read last: a mark may begin there
        self._pasted: str | None = None  # None: nothing is being pasted
        self._heard_at = 0.0
        self._found: list[Message] = []

    def feed(self, data: bytes) -> list[Message]:
        """Return the messages that these bytes complete."""
        self._heard_at = self._clock()
        text = self._decode(data)
        while text:
            text = self._typed(text) if self._pasted is None else self._paste(text)
        return self._taken()

    def tick(self) -> list[Message]:
        """Return the messages that time alone completes: an escape that was a key, a paste without its end."""
        if self._pasted is not None and self._clock() - self._heard_at > PASTE_STALLS_S:
            self._end_paste(self._pasted + self._before)
        self._parsed(self._parser.tick)
        return self._taken()

    def _typed(self, text: str) -> str:
        """Parse up to where a paste begins; return the rest."""
        seen = self._before + text
        begins = seen.find(PASTE_BEGINS)
        end = len(text) if begins < 0 else begins + len(PASTE_BEGINS) - len(self._before)
        self._keys(text[:end])
        self._before = seen[-_TORN:] if begins < 0 else ""
        if begins >= 0:
            self._pasted = ""
            self._keys(PASTE_ENDS)  # for the parser the paste is over, and was empty
        return text[end:]

    def _paste(self, text: str) -> str:
        """Gather up to where the paste ends; return the rest."""
        seen = (self._pasted or "") + self._before + text
        ends = seen.find(PASTE_ENDS)
        if ends >= 0:
            self._end_paste(seen[:ends])
            return seen[ends + len(PASTE_ENDS) :]
        self._pasted, self._before = seen[:-_TORN][:LONGEST_PASTE], seen[-_TORN:]
        return ""

    def _end_paste(self, text: str) -> None:
        self._pasted, self._before = None, ""
        self._found.append(events.Paste(text[:LONGEST_PASTE].replace("\x00", "")))

    def _keys(self, text: str) -> None:
        for character in text:
            self._parsed(self._parser.feed, character)

    def _parsed(self, parse: Callable[..., Iterable[Message]], *text: str) -> None:
        """Return the parser's messages; replace a parser that fails and drop its input."""
        try:
            self._found += filter(_wanted, parse(*text))
        except Exception:  # an outside edge: foreign bytes in foreign code
            self._parser = XTermParser()

    def _taken(self) -> list[Message]:
        found, self._found = self._found, []
        return found


def _wanted(message: Message) -> bool:
    """Check a message: no sizes, no pastes from the parser, no character that text can't hold."""
    if isinstance(message, events.Key):
        return message.character is None or not any("\ud800" <= each <= "\udfff" for each in message.character)
    return not isinstance(message, events.Resize | events.Paste | InBandWindowResize)
