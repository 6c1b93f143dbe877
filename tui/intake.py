"""Parses a terminal's input into Textual's messages, whatever the bytes are.

Textual's parser believes what it reads: it raises on some sequences, keeps a paste of any size, waits for a paste's end
for ever, and takes a window's size from typed keys. So it is fed character by character, each of which may fail
alone; pastes never reach it, nor do a terminal's answers about its colours; and sizes are the driver's to ask for.
"""

from __future__ import annotations

import re
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterable
from time import monotonic

from textual import events
from textual._xterm_parser import XTermParser
from textual.message import Message
from textual.messages import InBandWindowResize

ANSWER_BEGINS, ANSWER_ENDS = "\x1b]", ("\x07", "\x1b\\")
LONGEST_ANSWER = 100  # characters; longer ones are of no interest
ANSWER_STALLS_S = 0.5
ESCAPE_S = 0.1  # an escape that nothing follows for so long was the key
PASTE_BEGINS, PASTE_ENDS = "\x1b[200~", "\x1b[201~"
LONGEST_PASTE = 1000  # characters; a filter is the longest input
PASTE_STALLS_S = 2.0  # then a paste without its end is over, or it would swallow every key to come
_BACKGROUND = re.compile(r"11;rgba?:([0-9a-fA-F]{1,4})/([0-9a-fA-F]{1,4})/([0-9a-fA-F]{1,4})(?:/[0-9a-fA-F]{1,4})?")
_TORN = len(PASTE_ENDS) - 1  # so much of a mark may be in one reading, and the rest in the next


class Background(Message):
    """Posted when the terminal has said what its background is like."""

    def __init__(self, *, light: bool) -> None:
        super().__init__()
        self.light = light


class Intake:
    """Turns bytes into messages. Never raises, and buffers no more than a paste of `LONGEST_PASTE`."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._decode = getincrementaldecoder("utf-8")("replace").decode
        self._parser = XTermParser()
        self._before = ""  # the end of what was read last: a mark may begin there
        self._pasted: str | None = None  # None: nothing is being pasted
        self._answer: str | None = None  # None: the terminal is answering nothing
        self._escaped = False  # an escape was read last, which may begin an answer
        self._heard_at = 0.0
        self._found: list[Message] = []

    def feed(self, data: bytes) -> list[Message]:
        """Return the messages that these bytes complete."""
        now = self._clock()
        self._escaped &= now - self._heard_at < ESCAPE_S
        self._heard_at = now
        text = self._decode(data)
        while text:
            if self._answer is not None:
                text = self._answered(text)
            else:
                text = self._typed(text) if self._pasted is None else self._paste(text)
        return self._taken()

    def tick(self) -> list[Message]:
        """Return the messages that time alone completes: an escape that was a key, a paste without its end."""
        if self._pasted is not None and self._clock() - self._heard_at > PASTE_STALLS_S:
            self._end_paste(self._pasted + self._before)
        if self._answer is not None and self._clock() - self._heard_at > ANSWER_STALLS_S:
            self._answer = None
        self._parsed(self._parser.tick)
        return self._taken()

    def _typed(self, text: str) -> str:
        """Parse up to where a paste or an answer begins; return the rest."""
        if self._escaped and text[0] == ANSWER_BEGINS[1]:
            self._parser = XTermParser()  # what waits in this one is the escape
            return self._begin_answer(text[1:])
        at = text.find(ANSWER_BEGINS)
        if at >= 0 and not 0 <= text.find(PASTE_BEGINS) < at:
            self._keys(text[:at])
            return self._begin_answer(text[at + len(ANSWER_BEGINS) :])
        self._escaped = text[-1] == ANSWER_BEGINS[0]
        seen = self._before + text
        begins = seen.find(PASTE_BEGINS)
        end = len(text) if begins < 0 else begins + len(PASTE_BEGINS) - len(self._before)
        self._keys(text[:end])
        self._before = seen[-_TORN:] if begins < 0 else ""
        if begins >= 0:
            self._pasted = ""
            self._keys(PASTE_ENDS)  # for the parser the paste is over, and was empty
        return text[end:]

    def _begin_answer(self, rest: str) -> str:
        self._answer, self._before, self._escaped = "", "", False
        return rest

    def _answered(self, text: str) -> str:
        """Gather up to where the answer ends; return the rest."""
        seen = (self._answer or "") + text
        ends = [(at, at + len(end)) for end in ANSWER_ENDS if (at := seen.find(end)) >= 0]
        if not ends:
            self._answer = seen if len(seen) <= LONGEST_ANSWER else None
            return ""
        end, after = min(ends)
        self._answer = None
        if (light := _is_light(seen[:end])) is not None:
            self._found.append(Background(light=light))
        return seen[after:]

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


def _is_light(answer: str) -> bool | None:
    """Return whether a terminal's answer names a light background, None if it is about something else."""
    found = _BACKGROUND.fullmatch(answer)
    if found is None:
        return None
    red, green, blue = (int(each, 16) / int("f" * len(each), 16) for each in found.groups())
    return 0.299 * red + 0.587 * green + 0.114 * blue > 0.5


def _wanted(message: Message) -> bool:
    """Check a message: no sizes, no pastes from the parser, no character that text can't hold."""
    if isinstance(message, events.Key):
        return message.character is None or not any("\ud800" <= each <= "\udfff" for each in message.character)
    return not isinstance(message, events.Resize | events.Paste | InBandWindowResize)
