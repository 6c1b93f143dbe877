"""Where events end in a stream of bytes, however the network cuts it."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from arbstr.engine.upstream.sse import MAX_HELD, EventFramer, data_of, encode_event, events

LINE_ENDS = ("\n", "\r\n", "\r")
TEXTS = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=30)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Any valid event stream: data, comments, fields, blank lines, with one kind of line end throughout."""
    end = draw(st.sampled_from(LINE_ENDS))
    fields = st.sampled_from(("data: ", "data:", ": ", ":", "event: ", "id: ", "retry: ", "unknown: "))
    lines = draw(st.lists(st.builds(lambda field, text: field + text, fields, TEXTS) | st.just(""), max_size=30))
    return "".join(line + end for line in lines).encode()


@st.composite
def split_streams(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """A stream, and the same cut at any places, also within characters and line ends."""
    stream = draw(streams())
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    edges = [0, *cuts, len(stream)]
    return stream, [stream[a:b] for a, b in itertools.pairwise(edges)]


def datas(blocks: list[bytes]) -> list[bytes]:
    """The data of all events, those without data left out."""
    return [data for block in blocks for _, data in events(block) if data is not None]


@given(split_streams())
def test_any_split_gives_the_same_bytes_out(case: tuple[bytes, list[bytes]]) -> None:
    stream, parts = case
    framer = EventFramer()
    assert b"".join([framer.feed(part) for part in parts] + [framer.flush()]) == stream


@given(split_streams())
def test_any_split_gives_the_same_events(case: tuple[bytes, list[bytes]]) -> None:
    stream, parts = case
    whole, split = EventFramer(), EventFramer()
    expected = datas([whole.feed(stream), whole.flush()])
    assert datas([*(split.feed(part) for part in parts), split.flush()]) == expected


@given(split_streams())
def test_what_is_fed_out_ends_where_an_event_ends(case: tuple[bytes, list[bytes]]) -> None:
    _, parts = case
    framer = EventFramer()
    for part in parts:
        block = framer.feed(part)
        assert framer.between_events
        assert not block or block.endswith((b"\n\n", b"\r\r", b"\n\r", b"\r\n\r\n", b"\n"))


@given(streams(), st.integers(1, 7))
def test_an_event_goes_out_with_the_bytes_that_end_it(stream: bytes, size: int) -> None:
    framer = EventFramer()
    for start in range(0, len(stream), size):
        framer.feed(stream[start : start + size])
    assert not list(framer.feed(b"") or b"")


def test_a_character_split_across_reads_arrives_whole() -> None:
    framer = EventFramer()
    smile = "data: 😀\n\n".encode()
    assert framer.feed(smile[:8]) == b""
    assert framer.feed(smile[8:]) == smile


def test_an_incomplete_event_is_held_back_up_to_64_kb_then_passes() -> None:
    framer = EventFramer()
    assert framer.feed(b"data: " + b"x" * (MAX_HELD - 6)) == b""
    assert framer.between_events
    out = framer.feed(b"yz")
    assert not framer.between_events
    out += framer.feed(b"!\n\n")
    assert framer.between_events
    assert out == b"data: " + b"x" * (MAX_HELD - 6) + b"yz!\n\n"


def test_an_endless_line_never_piles_up() -> None:
    framer = EventFramer()
    sizes = [len(framer.feed(b"x" * 10_000)) for _ in range(100)]
    assert sum(sizes) >= 100 * 10_000 - 4


def test_a_line_end_split_across_reads_ends_no_event_twice() -> None:
    framer = EventFramer()
    assert framer.feed(b"data: a\r") == b""
    assert framer.feed(b"\ndata: b\r\n\r") == b""
    out = framer.feed(b"\ndata: c\r\n\r\n")
    assert out == b"data: a\r\ndata: b\r\n\r\ndata: c\r\n\r\n"
    assert datas([out]) == [b"a\nb", b"c"]


def test_an_end_of_two_crlf_goes_out_whole() -> None:
    framer = EventFramer()
    assert framer.feed(b"data: a\r\n\r\ndata: [DONE]\r\n\r") == b"data: a\r\n\r\n"
    assert framer.feed(b"\n") == b"data: [DONE]\r\n\r\n"
    assert framer.feed(b"data: b\r\r") == b"data: b\r\r"


def test_data_is_joined_over_lines_and_comments_are_none() -> None:
    assert data_of(b"data: a\ndata:b\n\n") == b"a\nb"
    assert data_of(b": keep-alive\n\n") is None
    assert data_of(b"event: error\ndata: {}\n\n") == b"{}"
    assert data_of(b"data\n\n") == b""
    assert data_of(b"\xef\xbb\xbfdata: first\n\n") == b"first"


def test_an_event_is_its_data_and_an_empty_line() -> None:
    assert encode_event(b"{}") == b"data: {}\n\n"
