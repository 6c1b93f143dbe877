"""What happens to a request when its client disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from arbstr.engine.admission import AdmissionControl
from arbstr.engine.request_context import RequestContext

DRAIN_S = 120.0  # how long a response is read on after its client has disconnected


class ClientDisconnect:
    """Cancels the task of a request whose client has disconnected, at once or when draining takes too long.

    A provider that has the request is paid in any case. So unless configured otherwise its response is still read,
    for the row. A request that is not connected yet (`connecting` has the ids of those) is cancelled at once.
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
        """Start draining, or cancel: the client has disconnected."""
        if self._context.request_id in self._connecting:
            self._context.spend.drop_attempt()
        provider = self._context.provider if self._context.spend.in_flight else None
        drains = provider is not None and provider.on_client_gone == "drain" and self._admission.drain()
        if drains:
            self._context.begin_drain()
        self._timer = self.task.get_loop().call_later(DRAIN_S if drains else 0.0, self._cancel)

    def end(self) -> None:
        """Cancel the timer: the request has ended."""
        if self._timer is not None:
            self._timer.cancel()

    def _cancel(self) -> None:
        self.done = True
        self.task.cancel()
