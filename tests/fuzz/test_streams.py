"""However a network cuts a stream of whatever bytes, the same passes, and the same is seen in it."""

from __future__ import annotations

from hypothesis import assume, given, note
from hypothesis import strategies as st

from arbstr.engine.dialects.chat import CHAT
from arbstr.engine.upstream.sse import MAX_HELD
from arbstr.engine.upstream.stream_observer import StreamObserver
from tests.fuzz.replies import streams
from tests.fuzz.spoil import in_pieces
from tests.support.effort import fuzzed


def watched(pieces: list[bytes], *, keep: bool) -> tuple[bytes, list[object]]:
    """What passes but for empty lines at its end, and what is known then."""
    observer = StreamObserver(CHAT, keep_usage_chunk=keep)
    out = b"".join([*map(observer.feed, pieces), observer.end()])
    known = [observer.answered, observer.error, observer.done, observer.complete, observer.events]
    return out.rstrip(b"\r\n"), [*known, observer.usage, observer.charged_msats]


@fuzzed(100)
@given(data=st.data(), stream=streams(), keep=st.booleans())
def test_any_cuts_leave_a_stream_as_it_is(data: st.DataObject, stream: bytes, keep: bool) -> None:
    assume(len(stream) <= MAX_HELD)  # an event that is too long to be held back passes unread
    pieces = data.draw(in_pieces(stream))
    note(f"{pieces!r}")
    assert watched(pieces, keep=keep) == watched([stream], keep=keep)
