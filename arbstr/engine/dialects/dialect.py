"""What a dialect is to the engine."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple
from urllib.parse import urlencode

import orjson

from arbstr.engine import lenient_json, metering
from arbstr.engine.dialects.body import decode
from arbstr.engine.dialects.fields import boolean, caps_on_output, model_of
from arbstr.engine.duplicate_keys import refuse_duplicates
from arbstr.engine.metering import Counts
from arbstr.engine.upstream import verdict
from arbstr.engine.upstream.sse import encode_event
from arbstr.errors import ApiError
from arbstr.types import InferenceRequest, JsonObject, Prefix, Usage

if TYPE_CHECKING:
    from arbstr import shapes

_NEVER = re.compile(rb"(?!)")


class Prompt(NamedTuple):
    """What a request asks: the size of all that is to be read, and the last user message's text."""

    chars: int
    images: int
    last_user_text: str


class Sent(NamedTuple):
    """What goes to a provider; `plain` is the body without what arbstr has added, None if it has added nothing.

    `wants_usage`: the client gets an event that only states usage.
    """

    body: bytes
    plain: bytes | None = None
    wants_usage: bool = True


class Dialect(ABC):
    """One API that clients and providers speak: how to read its requests, answers and streams, and what to write.

    Instances have no state. The class variables from `spoken_in` on are for streams: they are searched for in bytes, so
    that events need not be parsed; what is found is then judged by the method that belongs to it.
    """

    name: str  # in the ledger
    path: str  # below a provider's base URL
    id_prefix: ClassVar[str] = ""  # of translated answers
    prompt_fields: ClassVar[tuple[str, ...]] = ()  # in the order in which providers cache; the messages are last
    query: ClassVar[tuple[str, ...]] = ()  # parameters of the client's URL that go to the provider
    streams: ClassVar[bool] = True
    takes_anything: ClassVar[bool] = False  # bodies need not be JSON, and a body's end ends a stream
    ends_with_done: ClassVar[bool] = True  # clients wait for `[DONE]`; else for an event of the dialect's own
    caps: ClassVar[tuple[str, ...]] = ()  # fields that cap the output's tokens
    retryable: ClassVar[frozenset[int]] = frozenset((429, 500, 502, 503, 504))  # statuses that may soon be others
    translation: ClassVar[str | None] = None  # the module to and from chat, for providers that speak only that

    words_in: ClassVar[frozenset[str]] = frozenset()  # fields of an answer or event that hold the model's words
    spoken_in: ClassVar[bytes] = b'"choices"'  # part of every event with the model's words, and of few others
    text_begins: ClassVar[re.Pattern[bytes]] = _NEVER  # an event that brings text, up to the text
    end: ClassVar[re.Pattern[bytes]] = _NEVER  # part of every event that `finishes` or `is_last`

    def decode(self, body: bytes, content_type: str) -> JsonObject:
        """Return a request's document. Raises `InvalidJson`."""
        return decode(body)

    def parse(
        self,
        document: JsonObject,
        body: bytes,
        *,
        request_id: str,
        policy: str | None,
        query: Mapping[str, str] | None = None,
        prefix: Prefix | None = None,
        session: str | None = None,
        client: str | None = None,
    ) -> InferenceRequest:
        """Return a validated request. Raises a subclass of `InvalidRequest` that names the field and the problem."""
        hidden_chars = refuse_duplicates(body, document)
        model = model_of(document)
        prompt = self.read_prompt(document)
        stream = self.streams and boolean(document, "stream")
        body = body.removeprefix(lenient_json.BYTE_ORDER_MARK)  # not part of the JSON, and not every provider skips it
        sent = self.sent(document, body, stream=stream)
        tightest, loosest = caps_on_output(document, self.caps)
        return InferenceRequest(
            request_id=request_id,
            model=model,
            stream=stream,
            wants_usage=sent.wants_usage,
            max_tokens=self.max_tokens(tightest),
            choices=self.choices(document),
            prompt_chars=prompt.chars + hidden_chars,
            prompt_images=prompt.images,
            last_user_text=prompt.last_user_text,
            policy=policy,
            body=sent.body,
            plain_body=sent.plain,
            dialect=self.name,
            query="" if not query else urlencode([(name, query[name]) for name in self.query if name in query]),
            document=None if self.translation is None else document,
            loosest_cap=loosest,
            prefix=prefix,
            session=session,
            client=client,
        )

    @abstractmethod
    def read_prompt(self, document: JsonObject) -> Prompt:
        """Return what a request asks. Raises as `parse` does."""

    def sent(self, document: JsonObject, body: bytes, *, stream: bool) -> Sent:
        """Return what goes to a provider. Raises as `parse` does."""
        return Sent(body)

    def max_tokens(self, cap: int | None) -> int | None:
        """Return the most output tokens for each choice of a request with this cap, None if nothing is known."""
        return cap

    def choices(self, document: JsonObject) -> int:
        """Return how many answers are requested. Raises as `parse` does."""
        return 1

    @abstractmethod
    def is_answer(self, document: Any) -> bool:
        """Return whether a whole response without an error has anything of an answer."""

    def has_substance(self, document: Any) -> bool:
        """Return whether a stream's event brings a part of the answer, or its end."""
        return False

    def finishes(self, document: Any) -> bool:
        """Return whether a stream's event says that the answer is complete."""
        return False

    def is_last(self, document: Any) -> bool:
        """Return whether a stream's event is the last that clients wait for, where that is not `[DONE]`."""
        return False

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
        """Return the document that informs a client of an error."""
        return error.body()

    def refusal_body(self, body: bytes, status: int, message: str) -> bytes:
        """Return the body for a chat provider's refusal of a translated request."""
        return body

    def error_event(self, error: ApiError, *, after: bytes = b"") -> bytes:
        """Return the event that ends a stream with an error, `after` these events."""
        return encode_event(orjson.dumps(self.error_body(error)))

    def final_event(self, own: shapes.CostFigures, *, created_s: int, model: str, done: bool) -> bytes:
        """Return the end of a stream, with what arbstr has to say of it.

        `done`: the provider's own last event has been sent.
        """
        return comment(own)


def comment(own: shapes.CostFigures) -> bytes:
    """Return arbstr's figures as a comment, which clients skip."""
    return b": arbstr %b\n\n" % orjson.dumps(own)
