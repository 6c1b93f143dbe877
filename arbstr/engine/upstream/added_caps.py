"""Caps on output tokens that policies have added, and who does not take them: reasoning models refuse `max_tokens`."""

from __future__ import annotations

import logging
from collections.abc import Callable

from arbstr.engine.dialects.body import without_added_cap
from arbstr.engine.upstream.optional_fields import UNSUPPORTED_S
from arbstr.engine.upstream.response import UpstreamResponse, UpstreamStream
from arbstr.types import InferenceRequest

logger = logging.getLogger(__name__)

_REMEMBERED = 4096  # clients may ask for any model


class AddedCaps:
    """Remembers for a day which provider refused an added cap for which model. `clock` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._refused: dict[tuple[str, str], float] = {}  # until when

    def applied(self, request: InferenceRequest, provider: str) -> InferenceRequest:
        """Return a request without its added cap if the provider has refused one for the model."""
        if not request.added_cap or self._refused.get((provider, request.model), 0.0) <= self._clock():
            return request
        return without_added_cap(request)

    def taken_back(
        self, request: InferenceRequest, provider: str, answer: UpstreamResponse | UpstreamStream
    ) -> InferenceRequest | None:
        """Return a request without its added cap if the answer refuses that, else None."""
        if not request.added_cap or isinstance(answer, UpstreamStream) or answer.client_error is None:
            return None
        if request.added_cap.split(b'"')[1] not in answer.body:
            return None
        logger.warning("provider %s rejects the policy's cap on output tokens; omitting it for a day", provider)
        if len(self._refused) >= _REMEMBERED:
            self._refused.clear()
        self._refused[provider, request.model] = self._clock() + UNSUPPORTED_S
        return without_added_cap(request)
