"""What a provider's answer, or the lack of one, is taken for."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
import respx

from arbstr.config.schema import Provider, Timeouts
from arbstr.engine.dialects.chat import CHAT
from arbstr.engine.upstream.caller import UpstreamCaller
from arbstr.engine.upstream.response import UpstreamResponse, UpstreamStream
from arbstr.engine.upstream.spoken import SpokenDialects
from arbstr.errors import AttemptError
from arbstr.redaction import Redactor, Secret
from arbstr.types import InferenceRequest, Usage

KEY = "sk-very-secret-key-0123456789"
URL = "http://provider.test/v1/chat/completions"
COMPLETION = {
    "id": "c",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5},
}
EVENTS = b'data: {"choices":[{"delta":{"content":"hi"},"finish_reason":null}]}\n\ndata: [DONE]\n\n'


def provider(**timeouts: float) -> Provider:
    return Provider(name="alpha", url="http://provider.test/v1/", api_key=Secret(KEY), timeouts=Timeouts(**timeouts))


def chat(*, stream: bool = False) -> InferenceRequest:
    return InferenceRequest("r", "gpt-4o", stream, False, None, 2, "hi", None, b'{"model":"gpt-4o"}')


@pytest.fixture
def mock() -> respx.MockRouter:
    return respx.MockRouter(assert_all_called=False)


@pytest.fixture
def upstream(mock: respx.MockRouter) -> UpstreamCaller:
    transport = httpx.MockTransport(mock.async_handler)
    return UpstreamCaller(
        transport, Redactor([Secret(KEY)]), keepalive_s=15, spoken=SpokenDialects([], clock=time.monotonic)
    )


async def ask(
    upstream: UpstreamCaller, *, stream: bool = False, **timeouts: float
) -> UpstreamResponse | UpstreamStream:
    headers = [("OpenAI-Beta", "x"), ("X-Trace", "7")]
    return await upstream.send(provider(**timeouts), chat(stream=stream), CHAT, headers)


async def failure(upstream: UpstreamCaller, *, stream: bool = False, **timeouts: float) -> AttemptError:
    with pytest.raises(AttemptError) as caught:
        await ask(upstream, stream=stream, **timeouts)
    return caught.value


async def test_the_body_goes_up_as_it_is_with_the_providers_key(
    upstream: UpstreamCaller, mock: respx.MockRouter
) -> None:
    route = mock.post(URL).respond(json=COMPLETION)
    await ask(upstream)
    sent = route.calls.last.request
    assert sent.content == b'{"model":"gpt-4o"}'
    assert sent.headers["authorization"] == f"Bearer {KEY}"
    assert sent.headers["content-type"] == "application/json"
    assert sent.headers["accept-encoding"] == "identity"
    assert sent.headers["openai-beta"] == "x"
    assert "x-trace" not in sent.headers


async def test_an_answer_brings_usage_and_charge(upstream: UpstreamCaller, mock: respx.MockRouter) -> None:
    body = json.dumps({**COMPLETION, "cost": {"total_msats": 455}}).encode()
    mock.post(URL).respond(content=body, headers={"content-type": "application/json", "x-request-id": "q"})
    answer = await ask(upstream)
    assert isinstance(answer, UpstreamResponse)
    assert answer.body == body
    assert answer.usage == Usage(10, 5)
    assert answer.charged_msats == 455
    assert ("x-request-id", "q") in answer.headers


async def test_a_charge_may_stand_in_the_header_alone(upstream: UpstreamCaller, mock: respx.MockRouter) -> None:
    mock.post(URL).respond(json=COMPLETION, headers={"x-routstr-cost-msats": "77"})
    answer = await ask(upstream)
    assert isinstance(answer, UpstreamResponse)
    assert answer.charged_msats == 77


async def test_of_headers_that_come_twice_the_first_counts_in_whatever_case(
    upstream: UpstreamCaller, mock: respx.MockRouter
) -> None:
    headers = [
        ("X-ROUTSTR-Cost-MSATS", "77"),
        ("x-routstr-cost-msats", "99"),
        ("CONTENT-Type", "Application/JSON"),
        ("content-type", "text/plain"),
    ]
    mock.post(URL).mock(return_value=httpx.Response(200, headers=headers, content=json.dumps(COMPLETION)))
    answer = await ask(upstream)
    assert isinstance(answer, UpstreamResponse)
    assert answer.charged_msats == 77
    labels = [value for name, value in answer.headers if name.lower() == "content-type"]
    assert labels == ["Application/JSON", "text/plain"]


async def test_what_is_between_hops_or_arbstrs_own_does_not_come_down(
    upstream: UpstreamCaller, mock: respx.MockRouter
) -> None:
    headers = {
        "set-cookie": "a=b",
        "x-arbstr-provider": "liar",
        "access-control-allow-origin": "*",
        "keep-alive": "timeout=5",
        "x-ratelimit-remaining": "3",
        "x-echo": f"your key {KEY}",
    }
    mock.post(URL).respond(json=COMPLETION, headers=headers)
    answer = await ask(upstream)
    assert {name.lower() for name, _ in answer.headers} == {"content-type", "x-ratelimit-remaining", "x-echo"}
    assert dict(answer.headers)["x-echo"] == "your key sk-ver...***"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_a_passing_trouble_may_be_tried_again(
    upstream: UpstreamCaller, mock: respx.MockRouter, status: int
) -> None:
    mock.post(URL).respond(status, json={"error": {"message": "busy"}})
    error = await failure(upstream)
    assert (error.kind, error.status, error.retryable, error.counts_for_breaker) == ("status", status, True, True)
    assert str(error) == f"HTTP {status}: busy"


@pytest.mark.parametrize("status", [301, 302, 307, 401, 402, 403, 408, 425, 501, 505, 599])
async def test_what_will_not_pass_is_left_for_the_next_provider(
    upstream: UpstreamCaller, mock: respx.MockRouter, status: int
) -> None:
    mock.post(URL).respond(status, headers={"location": "http://elsewhere.test"})
    error = await failure(upstream)
    assert (error.kind, error.status, error.retryable, error.counts_for_breaker) == (
        "status",
        status,
        False,
        status != 402,
    )


@pytest.mark.parametrize("status", [400, 404])
@pytest.mark.parametrize("error", [{"type": "invalid_model"}, {"code": "model_not_found"}])
async def test_a_model_it_does_not_know_after_all_is_nobodys_fault(
    upstream: UpstreamCaller, mock: respx.MockRouter, status: int, error: dict[str, str]
) -> None:
    mock.post(URL).respond(status, json={"error": {"message": "no such model", **error}})
    failed = await failure(upstream)
    assert (failed.kind, failed.retryable, failed.counts_for_breaker) == ("stale_catalogue", False, False)


@pytest.mark.parametrize("status", [400, 409, 413, 418, 422])
async def test_an_error_about_the_request_passes_with_keys_masked(
    upstream: UpstreamCaller, mock: respx.MockRouter, status: int
) -> None:
    mock.post(URL).respond(status, content=b'{"error": {"message": "bad, %b"} }' % KEY.encode())
    answer = await ask(upstream)
    assert isinstance(answer, UpstreamResponse)
    assert answer.status == status
    assert answer.body == b'{"error": {"message": "bad, sk-ver...***"} }'
    assert answer.client_error is not None
    assert KEY not in answer.client_error


@pytest.mark.parametrize(
    ("header", "body", "seconds"),
    [
        ({"retry-after": "7"}, {}, 7),
        ({}, {"error": {"details": {"retry_after_seconds": 20.0}}}, 20),
        ({}, {}, None),
    ],
)
async def test_a_provider_says_how_long_to_wait(
    upstream: UpstreamCaller,
    mock: respx.MockRouter,
    header: dict[str, str],
    body: dict[str, Any],
    seconds: float | None,
) -> None:
    mock.post(URL).respond(429, json=body, headers=header)
    assert (await failure(upstream)).retry_after_s == seconds


@pytest.mark.parametrize(
    ("raised", "kind", "retryable", "may_cost"),
    [
        (httpx.ConnectError("refused"), "connect", True, False),
        (httpx.ConnectTimeout("slow"), "timeout", True, False),
        (httpx.PoolTimeout("full"), "timeout", True, False),
        (httpx.ReadTimeout("silent"), "timeout", False, True),
        (httpx.WriteTimeout("stuck"), "timeout", False, True),
        (httpx.ReadError("reset"), "connect", True, True),
        (httpx.RemoteProtocolError("not HTTP"), "connect", True, True),
        (httpx.UnsupportedProtocol("gopher"), "connect", False, False),
    ],
)
async def test_a_broken_connection_and_a_silent_one_are_different_failures(
    upstream: UpstreamCaller, mock: respx.MockRouter, raised: Exception, kind: str, retryable: bool, may_cost: bool
) -> None:
    mock.post(URL).mock(side_effect=raised)
    error = await failure(upstream)
    assert (error.kind, error.retryable, error.counts_for_breaker) == (kind, retryable, True)
    assert error.may_be_billed is may_cost  # where the provider had the request


async def test_no_answer_in_time_is_a_timeout(upstream: UpstreamCaller, mock: respx.MockRouter) -> None:
    async def never(request: httpx.Request) -> httpx.Response:
        await request.aread()
        await asyncio.Event().wait()
        raise AssertionError

    mock.post(URL).mock(side_effect=never)
    error = await failure(upstream, first_byte=0.01)
    assert (error.kind, error.retryable, error.may_be_billed) == ("timeout", False, True)


@pytest.mark.parametrize(
    "content",
    [b"<html>hello</html>", b"", b"[1]", b'"text"', b'{"choices": [', b'{"error": {"message": "out of coffee"}}'],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_200_that_can_not_be_used_is_a_failure(
    upstream: UpstreamCaller, mock: respx.MockRouter, content: bytes, stream: bool
) -> None:
    mock.post(URL).respond(200, content=content)
    error = await failure(upstream, stream=stream)
    assert (error.kind, error.status, error.retryable) == ("bad_response", 200, False)


class Body(httpx.AsyncByteStream):
    """A response body in parts; an exception among them is raised in its turn."""

    def __init__(self, *parts: bytes | Exception) -> None:
        self._parts = parts
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            if isinstance(part, Exception):
                raise part
            yield part

    async def aclose(self) -> None:
        self.closed = True


SSE = {"content-type": "text/event-stream"}


def streaming(body: Body, headers: dict[str, str]) -> Callable[[httpx.Request], httpx.Response]:
    return lambda request: httpx.Response(200, headers=headers, stream=body)


@pytest.mark.parametrize("headers", [SSE, {}, {"content-type": "text/plain"}])
async def test_a_stream_begins_with_its_first_event(
    upstream: UpstreamCaller, mock: respx.MockRouter, headers: dict[str, str]
) -> None:
    mock.post(URL).mock(side_effect=streaming(Body(EVENTS[:20], EVENTS[20:80], EVENTS[80:]), headers))
    answer = await ask(upstream, stream=True)
    assert isinstance(answer, UpstreamStream)
    out = answer.prefix
    while (more := await answer.read(5)) is not None:
        out += more
    assert out == EVENTS
    assert answer.observer.done


@pytest.mark.parametrize(
    "parts",
    [
        (b'data: {"error": {"message": "no"}}\n\n',),
        (b": hello\n\n", b'data: {"error": "no"}\n\n'),
        (b'event: error\ndata: {"message": "no"}\n\n',),
        (),
        (b": only a comment\n\n",),
        (httpx.RemoteProtocolError("cut"),),
        (b"data: {", httpx.ReadError("reset")),
    ],
)
async def test_a_stream_that_begins_with_no_answer_is_a_failure(
    upstream: UpstreamCaller, mock: respx.MockRouter, parts: tuple[bytes | Exception, ...]
) -> None:
    body = Body(*parts)
    mock.post(URL).mock(side_effect=streaming(body, SSE))
    error = await failure(upstream, stream=True)
    assert (error.kind, error.retryable) == ("bad_response", False)
    assert body.closed


async def test_json_in_answer_to_a_stream_request_passes(upstream: UpstreamCaller, mock: respx.MockRouter) -> None:
    mock.post(URL).respond(json=COMPLETION)
    answer = await ask(upstream, stream=True)
    assert isinstance(answer, UpstreamResponse)
    assert answer.usage == Usage(10, 5)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("status", [200, 429, 500, 422])
async def test_what_judging_an_answer_raises_is_a_failed_attempt(
    upstream: UpstreamCaller, mock: respx.MockRouter, status: int, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumbles(document: object) -> None:
        raise OverflowError("too large")

    for judge in ("upstream.verdict.error_of", "dialects.chat.Chat.has_substance"):
        monkeypatch.setattr(f"arbstr.engine.{judge}", lambda *given: stumbles(given))
    mock.post(URL).respond(status, content=EVENTS if stream and status == 200 else b"{}")
    error = await failure(upstream, stream=stream)
    assert (error.kind, error.retryable, str(error)) == (
        "bad_response",
        False,
        "an unreadable response (OverflowError)",
    )


async def test_what_reading_a_stream_raises_is_a_failed_attempt(
    upstream: UpstreamCaller, mock: respx.MockRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    mock.post(URL).mock(side_effect=streaming(Body(EVENTS[:80], EVENTS[80:]), SSE))
    answer = await ask(upstream, stream=True)
    assert isinstance(answer, UpstreamStream)

    def stumbles(data: bytes = b"") -> bytes:
        raise OverflowError("too large")

    monkeypatch.setattr(answer.observer, "feed", stumbles)
    monkeypatch.setattr(answer.observer, "end", stumbles)
    with pytest.raises(AttemptError, match="unreadable"):
        await answer.read(5)
    assert answer.end() == b""


async def test_a_stream_that_breaks_says_so(upstream: UpstreamCaller, mock: respx.MockRouter) -> None:
    mock.post(URL).mock(side_effect=streaming(Body(EVENTS[:80], httpx.ReadError("reset")), SSE))
    answer = await ask(upstream, stream=True)
    assert isinstance(answer, UpstreamStream)
    with pytest.raises(AttemptError, match="the connection broke"):
        await answer.read(5)


async def test_a_providers_words_come_without_control_bytes_and_short(
    upstream: UpstreamCaller, mock: respx.MockRouter
) -> None:
    mock.post(URL).respond(500, json={"error": {"message": "\x1b[2J" + "x" * 1000}})
    message = str(await failure(upstream))
    assert "\x1b" not in message
    assert len(message) < 400


@pytest.mark.parametrize(
    ("status", "answer", "expected"),
    [
        (401, {"detail": "Unauthorized"}, "HTTP 401: Unauthorized"),
        (402, {"detail": {"error": {"message": "balance too low"}}}, "HTTP 402: balance too low"),
        (401, {"detail": [1]}, "HTTP 401"),
        (200, {"error": {"message": "balance too low"}}, "HTTP 200 without an answer: balance too low"),
    ],
)
async def test_a_provider_is_heard_wherever_it_puts_its_words(
    upstream: UpstreamCaller, mock: respx.MockRouter, status: int, answer: dict[str, object], expected: str
) -> None:
    mock.post(URL).respond(status, json=answer)
    assert str(await failure(upstream)) == expected


@pytest.mark.parametrize(("message", "shown"), [("Busy.", "Busy"), (" Please wait... ", "Please wait"), ("...", "")])
async def test_a_providers_words_bring_no_full_stop_of_their_own(
    upstream: UpstreamCaller, mock: respx.MockRouter, message: str, shown: str
) -> None:
    mock.post(URL).respond(500, json={"error": {"message": message, "code": "busy"}})
    assert str(await failure(upstream)) == f"HTTP 500: {shown or 'busy'}"


@pytest.mark.parametrize("field", ["message", "type", "code"])
@pytest.mark.parametrize("status", [400, 503])
async def test_an_error_of_any_types_is_an_error(
    upstream: UpstreamCaller, mock: respx.MockRouter, status: int, field: str
) -> None:
    body = b'{"error": {"message": "no", "%b": %b%b}}' % (field.encode(), b"[" * 1000, b"]" * 1000)
    mock.post(URL).respond(status, content=body)
    if status == 400:
        answer = await ask(upstream)
        assert isinstance(answer, UpstreamResponse)
        assert answer.body == body
    else:
        assert (await failure(upstream)).status == status


@pytest.mark.parametrize(("status", "retryable"), [(500, True), (429, True), (401, False), (302, False), (400, False)])
async def test_an_error_with_an_endless_body_is_still_that_error(
    upstream: UpstreamCaller, mock: respx.MockRouter, status: int, retryable: bool
) -> None:
    body = Body(*[b"x" * 100_000] * 15, AssertionError("read too far"))
    mock.post(URL).mock(side_effect=lambda request: httpx.Response(status, stream=body))
    error = await failure(upstream)
    assert (error.kind, error.status, error.retryable) == ("status", status, retryable)
    assert body.closed


async def test_half_a_surrogate_pair_in_an_answer_is_the_models_not_the_providers_fault(
    upstream: UpstreamCaller, mock: respx.MockRouter
) -> None:
    body = json.dumps({**COMPLETION, "x": "\ud83d"}).encode()
    mock.post(URL).respond(content=body, headers={"content-type": "application/json"})
    answer = await ask(upstream)
    assert isinstance(answer, UpstreamResponse)
    assert (answer.body, answer.usage) == (body, Usage(10, 5))


@pytest.mark.parametrize("document", [{"error": {}}, {"error": {}, "choices": []}])
async def test_an_empty_error_without_choices_is_an_error(
    upstream: UpstreamCaller, mock: respx.MockRouter, document: dict[str, object]
) -> None:
    mock.post(URL).respond(json=document)
    assert (await failure(upstream)).kind == "bad_response"
