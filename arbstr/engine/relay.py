"""Relaying a stream from provider to client: keep-alives, progress, and when it is given up."""

from __future__ import annotations

from arbstr.bus import EventBus
from arbstr.engine import wire
from arbstr.engine.ports import Client
from arbstr.engine.request_context import RequestContext
from arbstr.engine.upstream.response import UpstreamStream
from arbstr.errors import AttemptError
from arbstr.events import StreamProgress

PROGRESS_EVERY_MS = 250
ENDED_EARLY = "it ended before the answer was complete"


async def relay(
    context: RequestContext, stream: UpstreamStream, client: Client, bus: EventBus, keepalive_s: float
) -> tuple[bytes, str]:
    """Relay a stream until its `[DONE]` or its end; 0 `keepalive_s` sends no keep-alives.

    A client that has the last event has had its answer, although more may follow that arbstr wants to know. Return the
    bytes still to be sent to the client, and the fault if the stream did not end properly.
    """
    observer = stream.observer
    # If nothing else has come yet the client needs a keep-alive.
    out = stream.prefix or (b"" if observer.answered or not observer.between_events else wire.KEEP_ALIVE)
    # How long the provider has sent nothing; events without content do not count.
    silent_ms = 0 if stream.begun else context.time_to_first_byte_ms
    published_ms = context.elapsed_ms()
    while not stream.is_over:
        left_s = stream.limit_s - silent_ms / 1000
        if left_s <= 0:
            return stream.end(), f"no content for {stream.limit_s:g} s"
        if out:
            await client.write(out)
        if observer.ended and observer.complete and not client.gone:
            context.succeed()
        read_started_ms = context.elapsed_ms()
        try:
            read = await stream.read(min(keepalive_s or left_s, left_s))
        except TimeoutError:
            silent_ms += context.elapsed_ms() - read_started_ms
            out = wire.KEEP_ALIVE if observer.between_events else b""
            continue
        except AttemptError as error:
            return stream.end(), str(error)
        if read is None:
            return stream.end(), ENDED_EARLY
        now_ms = context.elapsed_ms()
        out, silent_ms = read, 0 if stream.progressed else silent_ms + now_ms - read_started_ms
        if now_ms - published_ms >= PROGRESS_EVERY_MS:
            published_ms, observer.in_doubt = now_ms, True
            bus.publish(StreamProgress(context.request_id, observer.events))
    return out, ""
