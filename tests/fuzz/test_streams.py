"""However a network cuts a stream of whatever bytes, the same passes, and the same is seen in it."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, note
from hypothesis import strategies as st

from arbstr.engine.dialects.chat import CHAT
from arbstr.engine.dialects.dialect import Dialect
from arbstr.engine.dialects.messages import MESSAGES
from arbstr.engine.dialects.responses import RESPONSES
from arbstr.engine.upstream.sse import MAX_HELD
from arbstr.engine.upstream.stream_observer import StreamObserver
from tests.fuzz.replies import streams
from tests.fuzz.spoil import in_pieces, maybe_spoilt
from tests.support import dialects
from tests.support.dialects import named
from tests.support.effort import fuzzed
from tests.support.provider import DONE, event


def watched(pieces: list[bytes], *, keep: bool, dialect: Dialect = CHAT) -> tuple[bytes, list[object]]:
    """What passes but for empty lines at its end, and what is known then."""
    observer = StreamObserver(dialect, keep_usage_chunk=keep)
    out = b"".join([*map(observer.feed, pieces), observer.end()])
    known = [observer.answered, observer.error, observer.ended, observer.complete, observer.events]
    return out.rstrip(b"\r\n"), [*known, observer.usage, observer.charged_msats]


@fuzzed(100)
@given(data=st.data(), stream=streams(), keep=st.booleans())
def test_any_cuts_leave_a_stream_as_it_is(data: st.DataObject, stream: bytes, keep: bool) -> None:
    assume(len(stream) <= MAX_HELD)  # an event that is too long to be held back passes unread
    pieces = data.draw(in_pieces(stream))
    note(f"{pieces!r}")
    assert watched(pieces, keep=keep) == watched([stream], keep=keep)


_STRANGE = st.sampled_from(
    [
        b": hi\n\n",
        DONE,
        b"event: error\ndata: {}\n\n",
        b"data: {\n\n",
        b"data: nothing\r\n\r\n",
        named({"type": "error", "error": {"type": "overloaded_error", "message": "no"}}),
        event({"cost": {"total_msats": 455}}),
        event({"error": None, "usage": {"input_tokens": 7}}),
    ]
)


@pytest.mark.parametrize(("dialect", "speech"), [(MESSAGES, dialects.MESSAGES), (RESPONSES, dialects.RESPONSES)])
@fuzzed(100)
@given(data=st.data())
def test_so_do_streams_of_other_dialects(data: st.DataObject, dialect: Dialect, speech: dialects.Speech) -> None:
    parts = data.draw(st.lists(st.sampled_from(list(speech.events)) | _STRANGE, max_size=12))
    stream = data.draw(maybe_spoilt(b"".join(parts)))
    assume(len(stream) <= MAX_HELD)
    pieces = data.draw(in_pieces(stream))
    note(f"{pieces!r}")
    assert watched(pieces, keep=True, dialect=dialect) == watched([stream], keep=True, dialect=dialect)
