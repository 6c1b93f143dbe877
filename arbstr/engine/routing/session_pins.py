"""Which provider each conversation is pinned to, where a policy wants it to stay."""

from __future__ import annotations

from arbstr.engine.routing.candidates import CandidateSet
from arbstr.engine.routing.ranked import Ranked
from arbstr.types import RequestRecord

NOTE = "it has this conversation"

_MOST = 20_000  # conversations; of those beyond, the ones that spoke last stay


class SessionPins:
    """Pins conversations to the providers that answered them last. Two generations, as in `PrefixIndex`."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most // 2
        self._young: dict[tuple[str, str], str] = {}
        self._old: dict[tuple[str, str], str] = {}

    def put_first(self, session: str | None, candidate_set: CandidateSet, candidates: Ranked) -> bool:
        """Move the provider that a conversation is pinned to to the front; return whether it is a candidate."""
        if session is None or not candidate_set.pins_sessions:
            return False
        key = (session, candidate_set.model)
        place = candidates.place_of(self._young.get(key) or self._old.get(key))
        if place is None:
            return False
        candidates.put_first(place, NOTE)
        return True

    def learn(self, record: RequestRecord) -> None:
        """Pin the conversation of an answered request."""
        if record.session is None or record.provider is None or record.routing is None or not record.success:
            return
        if len(self._young) >= self._most:
            self._young, self._old = {}, self._young
        self._young[record.session, record.routing.model] = record.provider
