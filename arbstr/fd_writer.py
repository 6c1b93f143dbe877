"""Writing to a file descriptor whose reader may stop: the log, and the terminal that the dashboard paints on."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from queue import Empty, SimpleQueue
from select import select


class FdWriter:
    """Writes text to a file descriptor from a thread of its own: `write` never waits.

    When the reader stops (a paused terminal, a full pipe), up to `capacity` characters are queued, a little more with
    the last text; further texts are dropped, unless they are at most `kept` characters long. What follows from a drop
    or from a descriptor that can't be written to is up to the subclass.
    """

    def __init__(self, fd: int, thread_name: str, capacity: int, kept: int = 0) -> None:
        self._fd = fd
        self._capacity = capacity
        self._kept = kept
        self._waiting: SimpleQueue[list[str] | None] = SimpleQueue()  # None ends it
        self._lock = threading.Lock()
        self._queued = 0  # characters that are not written yet
        self._dropped = 0  # texts
        self._thread = threading.Thread(target=self._run, name=thread_name, daemon=True)
        self._thread.start()

    def write(self, *texts: str) -> None:
        """Queue each text, or drop it. Many at once wake the thread once only."""
        size = sum(map(len, texts))
        with self._lock:
            if self._queued + size <= self._capacity:
                self._queued += size
                taken = list(texts)
            else:
                taken = self._taken(texts)
        if taken:
            self._waiting.put(taken)

    def _wake(self) -> None:
        """Have the thread write nothing, once all before it is written."""
        self._waiting.put([])

    def _taken(self, texts: Iterable[str]) -> list[str]:
        """Return the texts that there is room for, counted as queued; within the lock."""
        taken = []
        for text in texts:
            if self._queued > self._capacity and len(text) > self._kept:
                self._dropped += 1
            else:
                self._queued += len(text)
                taken.append(text)
        return taken

    def end(self) -> None:
        """Ask the thread to write what is queued and end. Does not wait."""
        self._waiting.put(None)

    def join(self, within_s: float) -> bool:
        """Wait for the thread's end; return whether it came in time."""
        self._thread.join(within_s)
        return not self._thread.is_alive()

    def _recovered(self, dropped: int) -> None:
        """Go on after a drop of so many texts; called on the thread, once all that was queued is written."""

    def _failed(self, texts: int) -> None:
        """Give up so many texts that the descriptor does not take; called on the thread."""

    def _count_dropped(self, texts: int) -> None:
        with self._lock:
            self._dropped += texts

    def _run(self) -> None:
        ended = False
        while not ended:
            batch = self._batch()
            ended = batch[-1] is None
            texts = [text for some in batch if some is not None for text in some]
            text = "".join(texts)
            if not self._written(text):
                self._failed(len(texts))
            if dropped := self._caught_up(len(text)):
                self._recovered(dropped)

    def _batch(self) -> list[list[str] | None]:
        """Return all that is queued, at least one item; nothing after the None that ends the queue."""
        batch = [self._waiting.get()]
        try:
            while batch[-1] is not None:
                batch.append(self._waiting.get_nowait())
        except Empty:
            pass
        return batch

    def _written(self, text: str) -> bool:
        """Write the text; return False if the terminal is gone or the disk is full, which may pass."""
        data = memoryview(text.encode("utf-8", "replace"))
        try:
            while data:
                try:
                    data = data[os.write(self._fd, data) :]
                except BlockingIOError:  # another program made the terminal non-blocking
                    select([], [self._fd], [])
        except OSError:
            return False
        return True

    def _caught_up(self, characters: int) -> int:
        """Take so many characters off the queue; return how many texts were dropped, once nothing is queued."""
        with self._lock:
            self._queued -= characters
            if self._queued:
                return 0
            dropped, self._dropped = self._dropped, 0
            return dropped
