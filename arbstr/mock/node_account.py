"""The money that arbstr's key holds at a fake Routstr node."""

from __future__ import annotations

from arbstr.types import JsonObject


class NodeAccount:
    """A balance, and what requests have taken of it, in msats. A request is refused once nothing is left."""

    def __init__(self, msats: int) -> None:
        self.msats = msats
        self._spent = 0
        self._requests = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left."""
        return self.msats <= 0

    def charge(self, msats: int) -> None:
        """Take what a request costs; the last one may take all that is left."""
        taken = min(msats, self.msats)
        self.msats -= taken
        self._spent += taken
        self._requests += 1

    def top_up(self, msats: int) -> None:
        """Add money."""
        self.msats += msats

    def info(self) -> JsonObject:
        """Return what a node answers about a key."""
        return {
            "balance": self.msats,
            "reserved": 0,
            "total_spent": self._spent,
            "total_requests": self._requests,
        }
