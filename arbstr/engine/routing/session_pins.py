"""Which provider each conversation is pinned to, where a policy wants it to stay."""

from __future__ import annotations

from arbstr.engine.routing.candidates import CandidateSet
from arbstr.types import Candidate, RequestRecord

NOTE = "it has this conversation"

_MOST = 20_000  # conversations; of those beyond, the ones that spoke last stay


class SessionPins:
    """Pins conversations to the providers that answered them last. Two generations, as in `PrefixIndex`."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most // 2
        self._young: dict[tuple[str, str], str] = {}
        self._old: dict[tuple[str, str], str] = {}

    def put_first(self, session: str | None, candidate_set: CandidateSet, candidates: list[Candidate]) -> bool:
        """Move the provider that a conversation is pinned to to the front; return whether it is a candidate."""
        if session is None or not candidate_set.pins_sessions:
            return False
        key = (session, candidate_set.model)
        pinned = self._young.get(key) or self._old.get(key)
        for index, candidate in enumerate(candidates):
            if candidate.provider == pinned:
                note = f"{candidate.note}; {NOTE}" if candidate.note else NOTE
                candidates.insert(0, candidates.pop(index)._replace(note=note))
                return True
        return False

    def learn(self, record: RequestRecord) -> None:
        """Pin the conversation of an answered request."""
        if record.session is None or record.provider is None or record.routing is None or not record.success:
            return
        if len(self._young) >= self._most:
            self._young, self._old = {}, self._young
        self._young[record.session, record.routing.model] = record.provider
