"""How a streamed answer goes, by behavior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from arbstr.mock import failures
from arbstr.mock.behaviors import Behavior
from arbstr.mock.completion import Completion
from arbstr.mock.dialects import Dialect

After = Literal["close", "abort", "hang"]


@dataclass(frozen=True, slots=True)
class Script:
    """What is sent: token events at the provider's speed, the rest at once, then what happens to the connection."""

    paced: list[bytes]
    rest: bytes
    after: After = "close"


def stream_script(behavior: Behavior, answer: Completion, dialect: Dialect) -> Script:
    """Return how a streamed answer goes."""
    stream = dialect.stream(answer)
    half = stream.tokens[: max(1, len(stream.tokens) // 2)]
    failed = failures.failure(answer.model)
    odd = {
        Behavior.NO_DONE: Script(stream.tokens, stream.finish),
        Behavior.DROP: Script(half, b"", "abort"),
        Behavior.STALL: Script(half, b"", "hang"),
        Behavior.CUT: Script(half, stream.cut),
        Behavior.LATE_ERROR: Script(half, dialect.error_event(failed, len(half))),
        Behavior.ERROR_EVENT: Script([], dialect.error_event(failed, 0)),
        Behavior.BAD_JSON: Script([], b"data: {]\n\n" + stream.done),
        Behavior.EMPTY: Script([], b""),
        Behavior.EMPTY_STREAM: Script([], b""),
    }
    return odd.get(behavior) or Script(stream.tokens, stream.finish + stream.done)
