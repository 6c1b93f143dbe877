"""Writing to a terminal that may not read."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterator

import pytest

from tests.support.patience import PATIENCE_S
from tui.driver import BACKLOG, SHORT, TerminalWriter


class Pipe:
    """A pipe with a reader that reads only when asked to."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        self.recovered = threading.Event()
        self.outlet = TerminalWriter(self.writing, self.recovered.set)

    def read(self, count: int) -> str:
        text = ""
        while len(text) < count:
            text += self.sip()
        return text

    def sip(self) -> str:
        """What is there, after a moment's wait at most."""
        ready, _, _ = select.select([self.reading], [], [], 0.05)
        return os.read(self.reading, 65536).decode() if ready else ""

    def fill(self) -> None:
        """Write frames until they are dropped."""
        while not self.outlet._dropped:
            self.outlet.write("f" * 8192)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    os.close(made.reading)
    made.outlet.end()
    made.outlet.join(PATIENCE_S)
    os.close(made.writing)


def test_text_arrives_in_order(pipe: Pipe) -> None:
    for number in range(100):
        pipe.outlet.write(f"{number:04}")
    assert pipe.read(400) == "".join(f"{number:04}" for number in range(100))
    assert not pipe.outlet.stalled


def test_writing_never_waits_and_frames_are_dropped_when_nobody_reads(pipe: Pipe) -> None:
    pipe.fill()
    for _ in range(1000):
        pipe.outlet.write("f" * 8192)  # a write that waited would wait for ever
    assert pipe.outlet.stalled
    assert pipe.outlet._queued <= BACKLOG + 2 * 8192


def test_what_switches_modes_is_never_dropped(pipe: Pipe) -> None:
    pipe.fill()
    pipe.outlet.write("\x1b[?1049l")
    assert len("\x1b[?1049l") < SHORT
    text = ""
    while not text.endswith("\x1b[?1049l"):
        text += pipe.sip()


def test_the_writer_reports_once_everything_has_been_written_after_a_drop(pipe: Pipe) -> None:
    pipe.fill()
    assert not pipe.recovered.is_set()
    while not pipe.recovered.is_set():
        pipe.sip()
    assert not pipe.outlet.stalled


def test_the_end_does_not_wait_for_a_reader_for_ever(pipe: Pipe) -> None:
    pipe.fill()
    pipe.outlet.end()
    assert not pipe.outlet.join(0.05)
    while not pipe.outlet.join(0.01):
        pipe.sip()


def test_a_terminal_that_is_gone_is_no_error() -> None:
    made = Pipe()
    os.close(made.reading)
    made.outlet.write("nobody sees this")
    made.outlet.end()
    assert made.outlet.join(PATIENCE_S)
    os.close(made.writing)
