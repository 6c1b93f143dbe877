"""Any other endpoint of a provider's: requests and answers pass as they are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from arbstr.engine import metering
from arbstr.engine.dialects.body import decode
from arbstr.engine.dialects.dialect import Dialect, Prompt
from arbstr.engine.dialects.fields import named_model
from arbstr.engine.dialects.multipart import form_field, is_multipart
from arbstr.types import InferenceRequest, JsonObject, Prefix, Usage

if TYPE_CHECKING:
    from arbstr import shapes

_PROMPTS = ("prompt", "input", "query")
_FORM_FIELDS = ("model", "prompt", "stream")
_PATH = re.compile(r"(?=.{1,100}$)[A-Za-z0-9_-]+(?:[./][A-Za-z0-9_-]+)*")


class Passthrough(Dialect):
    """An endpoint that arbstr knows nothing of but its path below `/v1`.

    A request may name no model; an answer may be anything but an error.
    """

    takes_anything = True
    spoken_in = b"\0"  # in no event

    def __init__(self, path: str) -> None:
        self.name = self.path = path

    def decode(self, body: bytes, content_type: str) -> JsonObject:
        """See `Dialect`. Of a form the fields that matter; nothing of what is neither JSON nor a form."""
        if is_multipart(body):
            return {name: value for name in _FORM_FIELDS if (value := form_field(body, name)) is not None}
        return decode(body) if "json" in content_type else {}

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
        """See `Dialect`. No field is refused: what it means is for the provider to say."""
        prompt = self.read_prompt(document)
        return InferenceRequest(
            request_id=request_id,
            model=named_model(document),
            stream=document.get("stream") in (True, "true"),
            wants_usage=True,
            max_tokens=None,
            prompt_chars=prompt.chars,
            last_user_text=prompt.last_user_text,
            policy=policy,
            body=body,
            dialect=self.name,
            query="" if not query else urlencode(query),
            anywhere=True,
            prefix=prefix,
            session=session,
            client=client,
        )

    def read_prompt(self, document: JsonObject) -> Prompt:
        """See `Dialect`."""
        text = "\n".join([value for name in _PROMPTS if isinstance(value := document.get(name), str)])
        return Prompt(len(text), 0, text)

    def is_answer(self, document: Any) -> bool:
        """See `Dialect`."""
        return True

    def has_substance(self, document: Any) -> bool:
        """See `Dialect`."""
        return True

    def usage_of(self, document: Any) -> Usage | None:
        """See `Dialect`. What is no input is output, and the other way round."""
        return metering.usage_or_rest(document)

    def final_event(self, own: shapes.CostFigures, *, created_s: int, model: str, done: bool) -> bytes:
        """See `Dialect`. Nothing is added."""
        return b""


def is_path(path: str) -> bool:
    """Return whether a path below `/v1` can be one of an endpoint."""
    return _PATH.fullmatch(path) is not None
