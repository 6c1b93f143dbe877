"""The end of a request whose client did not wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from arbstr.engine.admission import AdmissionControl
from arbstr.engine.request_context import RequestContext

DRAIN_S = 120.0  # how long an answer is read to its end after its client left


class ClientDisconnect:
    """What happens to a request whose client has left: its task is cancelled, at once or when draining took too long.

    A provider at work is paid in any case. So unless it says otherwise its answer is still read, for the row. One to
    which there is no connection yet (`connecting` holds the ids of such requests) is spared the request.
    """

    def __init__(self, context: RequestContext, connecting: Collection[str], admission: AdmissionControl) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.task = task
        self.done = False
        self._context = context
        self._connecting = connecting
        self._admission = admission
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """The client has left."""
        if self._context.request_id in self._connecting:
            self._context.waiting = False
        provider = self._context.provider if self._context.waiting else None
        drains = provider is not None and provider.on_client_gone == "drain" and self._admission.drain()
        self._context.drained = drains
        self._timer = self.task.get_loop().call_later(DRAIN_S if drains else 0.0, self._cancel)

    def end(self) -> None:
        """The request has ended, one way or another."""
        if self._timer is not None:
            self._timer.cancel()

    def _cancel(self) -> None:
        self.done = True
        self.task.cancel()
