"""What a dialect is to the engine."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import orjson

from arbstr.engine import metering
from arbstr.engine.metering import Counts
from arbstr.engine.upstream import verdict
from arbstr.engine.upstream.sse import encode_event
from arbstr.errors import ApiError
from arbstr.types import ChatRequest, JsonObject, Usage

if TYPE_CHECKING:
    from arbstr import shapes


class Dialect(ABC):
    """One API that clients and providers speak: how to read its requests, answers and streams, and what to write.

    Instances have no state. The class variables are for streams: they are searched for in bytes, so that events need
    not be parsed; what is found is then judged by the method that belongs to it.
    """

    name: ClassVar[str]  # in the ledger
    path: ClassVar[str]  # below a provider's base URL

    spoken_in: ClassVar[bytes]  # part of every event with the model's words, and of no other
    words_in: ClassVar[frozenset[str]]  # fields of an answer or event that hold the model's words
    text_begins: ClassVar[re.Pattern[bytes]]  # an event that brings text, up to the text
    finish: ClassVar[re.Pattern[bytes]]  # what `finishes` looks at

    @abstractmethod
    def parse(self, document: JsonObject, body: bytes, *, request_id: str, policy: str | None) -> ChatRequest:
        """Return a validated request. Raises a subclass of `InvalidRequest` that names the field and the problem."""

    @abstractmethod
    def is_answer(self, document: Any) -> bool:
        """Return whether a whole response without an error has anything of an answer."""

    @abstractmethod
    def has_substance(self, document: Any) -> bool:
        """Return whether a stream's event brings a part of the answer, or its end."""

    @abstractmethod
    def finishes(self, document: Any) -> bool:
        """Return whether a stream's event says that the answer is complete."""

    def fault_of(self, document: Any) -> JsonObject | None:
        """Return why a whole response is no answer: its error, or that it has none; None if it is one."""
        error = verdict.error_of(document)
        return error if error is not None or self.is_answer(document) else verdict.no_answer(document)

    def error_of(self, document: Any) -> JsonObject | None:
        """Return the error that a stream's event is or contains, None if there is none."""
        return verdict.error_of(document)

    def usage_of(self, document: Any) -> Usage | None:
        """Return the usage that a whole response states, None if it states none."""
        return metering.usage_of(document)

    def counts_of(self, document: Any) -> Counts | None:
        """Return the token counts that a stream's event states, None if it states none."""
        return metering.counts_of(document)

    def is_usage_only(self, document: JsonObject) -> bool:
        """Return whether an event that states usage brings nothing else: left out where arbstr alone asked for it."""
        return False

    def error_body(self, error: ApiError) -> Mapping[str, Any]:
        """Return the document that tells a client of an error."""
        return error.body()

    def error_event(self, error: ApiError) -> bytes:
        """Return the event that ends a stream with an error."""
        return encode_event(orjson.dumps(self.error_body(error)))

    @abstractmethod
    def final_event(self, own: shapes.CostFigures, *, created_s: int, model: str, done: bool) -> bytes:
        """Return the end of a stream, with what arbstr has to say of it.

        `done`: the provider's own last event has been sent.
        """
