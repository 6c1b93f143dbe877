"""Requests by the byte: what is no HTTP gets an answer all the same, and nobody waits for what can't come."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.harness import Arbstr, ProxyHarness
from tests.support.patience import PATIENCE_S
from tests.support.provider import DONE, Move, chunk, completion, error_reply, json_reply, sse_reply

BODY = b'{"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}'
POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
GET = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(BODY)


@dataclass(frozen=True, slots=True)
class Talk:
    """A client's connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def head(self) -> bytes:
        """The head of the next answer."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def rest(self) -> bytes:
        """Everything until arbstr hangs up."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.read()


@asynccontextmanager
async def talk_with(arbstr: Arbstr, data: bytes) -> AsyncIterator[Talk]:
    """A new connection, with these bytes sent."""
    address = urlsplit(arbstr.url)
    talk = Talk(*await asyncio.open_connection(address.hostname, address.port))
    talk.writer.write(data)
    try:
        yield talk
    finally:
        talk.writer.close()
        with contextlib.suppress(ConnectionError):
            await talk.writer.wait_closed()


def error_in(answer: bytes) -> dict[str, Any]:
    """The error in an answer, of which there must be one only."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"\r\nX-Arbstr-Request-Id: " in head
    error: dict[str, Any] = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET / HTTP/9.7\r\n\r\n",
        b"\r\n\r\nNOT A REQUEST\r\n\r\n",
        POST + b"Content-Type: application/json\r\n" + LENGTH + b"\r\n" + BODY,
        POST + b"Content-Length: many\r\n\r\n" + BODY,
        POST + LENGTH + b"Transfer-Encoding: chunked\r\n\r\n",
        POST + b"X\x1b]0;title\x07: y\r\n\r\n",
    ],
    ids=["tls", "version", "words", "content type twice", "length", "two framings", "escape"],
)
async def test_what_is_no_http_is_one_line_of_the_log(harness: ProxyHarness, data: bytes) -> None:
    arbstr = await harness.start()
    async with talk_with(arbstr, data) as talk:
        answer = await talk.rest()
        assert answer.startswith(b"HTTP/1.1 400 ")
        error = error_in(answer)
        assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_parameter")
        assert "malformed HTTP" in error["message"]
        assert "rejected malformed HTTP" in arbstr.log
        assert "Traceback" not in arbstr.log
        assert "\x1b" not in arbstr.log + answer.decode(errors="replace")


@pytest.mark.parametrize(
    "long",
    [
        [b"Authorization: Bearer " + b"x" * 70_000 + b"\r\n\r\n"],
        [b"Authorization: Bearer " + b"x" * 70_000],
        [b"X-Long-%d: %b\r\n" % (number, b"x" * 60_000) for number in range(5)],
        [b"x" * 70_000 + b": y\r\n\r\n"],
    ],
    ids=["one", "without an end", "many", "a name"],
)
async def test_headers_that_are_too_long_are_refused_by_name(harness: ProxyHarness, long: list[bytes]) -> None:
    arbstr = await harness.start()
    async with talk_with(arbstr, POST + b"".join(long)) as talk:
        answer = await talk.rest()
        assert answer.startswith(b"HTTP/1.1 431 ")
        error = error_in(answer)
        assert (error["type"], error["code"]) == ("invalid_request_error", "headers_too_large")
        assert "bytes" in error["message"]
        assert b"xxxx" not in answer


@pytest.mark.parametrize("size", [10_000, 60_000])
async def test_long_tokens_pass(harness: ProxyHarness, size: int) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start(server={"auth_token": "t" * size})
    token = b"Authorization: Bearer " + b"t" * size + b"\r\n"
    async with talk_with(arbstr, POST + token + b"Connection: close\r\n" + LENGTH + b"\r\n" + BODY) as talk:
        assert (await talk.rest()).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(
    "data",
    [GET + b"Connection: close\r\n\r\n", b"nonsense\r\n\r\n", POST + b"X: " + b"x" * 400_000, POST + b"\r\n"],
    ids=["answer", "no HTTP", "too long", "refusal"],
)
async def test_no_answer_says_what_arbstr_is_made_of(harness: ProxyHarness, data: bytes) -> None:
    arbstr = await harness.start()
    async with talk_with(arbstr, data) as talk:
        head = (await talk.head()).lower()
        assert b"\r\nserver: arbstr\r\n" in head
        assert b"aiohttp" not in head
        assert b"python" not in head


@pytest.mark.parametrize(
    "before", [b"\r\n", b"GET / HTTP/1.1\r\n\0", b"POST / HTTP/1.1\r\nX", b"GET ", b"GET / HTTP/1.1\r\n " + b"x" * 9000]
)
async def test_what_is_no_http_is_not_repeated_for_it_may_hold_a_token(harness: ProxyHarness, before: bytes) -> None:
    arbstr = await harness.start(server={"auth_token": "client-token-0123456789"})
    async with talk_with(arbstr, before + b"\0Authorization: Bearer client-token-0123456789\r\n\r\n") as talk:
        answer = await talk.rest()
        assert "malformed HTTP" in error_in(answer)["message"]
        assert b"0123456789" not in answer
        assert "0123456789" not in arbstr.log


async def test_a_body_that_turns_into_garbage_is_refused_at_once(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha")
    arbstr = await harness.start()
    async with talk_with(arbstr, POST + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"mod\r\n') as talk:
        await arbstr.catch_up()  # and so it waits for the rest of that body
        talk.writer.write(b"nonsense\r\n" + GET + b"\r\n")
        answer = await talk.rest()
        assert answer.startswith(b"HTTP/1.1 415 ")
        assert (
            "does not match its headers" in error_in(answer)["message"]
        )  # the only answer: nothing after the garbage is believed
        assert not alpha.requests
        assert [row["error"]["status"] for row in await arbstr.rows(1)] == [415]
        assert "Traceback" not in arbstr.log


@pytest.mark.parametrize("encoding", [b"gzip", b"deflate"])
@pytest.mark.parametrize("path", [b"/v1/chat/completions", b"/v1/cost"])
async def test_a_body_that_is_not_packed_as_it_says_is_refused_and_no_fault(
    harness: ProxyHarness, encoding: bytes, path: bytes
) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start()
    head = (
        POST.replace(b"/v1/chat/completions", path)
        + b"Content-Encoding: "
        + encoding
        + b"\r\nConnection: close\r\n"
        + LENGTH
    )
    async with talk_with(arbstr, head + b"\r\n" + BODY) as talk:
        answer = await talk.rest()
        assert answer.startswith(b"HTTP/1.1 415 ")
        assert "is not valid" in error_in(answer)["message"]
        assert "Traceback" not in arbstr.log


async def test_a_client_that_waits_for_leave_to_send_its_body_gets_it(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start()
    async with talk_with(arbstr, POST + LENGTH + b"Connection: close\r\nExpect: 100-Continue\r\n\r\n") as talk:
        assert await talk.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        talk.writer.write(BODY)
        assert (await talk.rest()).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_body_that_is_refused_anyway_is_not_asked_for(harness: ProxyHarness) -> None:
    arbstr = await harness.start(server={"max_request_mb": 0.001})
    head = POST + b"Content-Length: 9000000\r\nConnection: close\r\nExpect: 100-continue\r\n\r\n"
    async with talk_with(arbstr, head) as talk:
        assert (await talk.head()).startswith(b"HTTP/1.1 413 ")


async def test_an_expectation_that_nobody_knows_is_passed_over(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start()
    async with talk_with(arbstr, POST + LENGTH + b"Connection: close\r\nExpect: banana\r\n\r\n" + BODY) as talk:
        assert (await talk.rest()).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_body_that_stops_coming_is_given_up_and_frees_its_place(
    harness: ProxyHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arbstr.server.request_body.SILENCE_S", 0.05)
    await harness.add_provider("alpha")
    arbstr = await harness.start(server={"max_in_flight": 1})
    async with talk_with(arbstr, POST + LENGTH + b"\r\n" + BODY[:10]) as talk:
        answer = await talk.head()
        assert answer.startswith(b"HTTP/1.1 408 ")
    assert [row["error"]["status"] for row in await arbstr.rows(1)] == [408]
    assert (await arbstr.chat()).status == 200


async def test_the_page_of_a_configured_origin_may_ask_before_it_sends(harness: ProxyHarness) -> None:
    arbstr = await harness.start(server={"allowed_origins": ["https://page.test"], "auth_token": "a-token-of-ours"})
    asking = {"Origin": "https://page.test", "Access-Control-Request-Method": "POST"}
    answer = await arbstr.get("/v1/chat/completions", method="OPTIONS", headers=asking)
    assert answer.status == 204
    assert answer.headers["Access-Control-Allow-Origin"] == "https://page.test"
    asking |= {"Access-Control-Request-Headers": "authorization,x-stainless-os"}
    answer = await arbstr.get("/v1/chat/completions", method="OPTIONS", headers=asking)
    assert answer.headers["Access-Control-Allow-Headers"] == "authorization,x-stainless-os"
    stranger = asking | {"Origin": "https://other.test"}
    answer = await arbstr.get("/v1/chat/completions", method="OPTIONS", headers=stranger)
    assert answer.refusal == (403, "permission_error", "forbidden_origin")


async def test_a_star_configures_every_origin(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start(server={"allowed_origins": ["*"]})
    answer = await arbstr.chat(headers={"Origin": "https://anywhere.test"})
    assert answer.status == 200
    assert answer.headers["Access-Control-Allow-Origin"] in ("*", "https://anywhere.test")


async def test_the_page_of_a_configured_origin_may_read_every_kind_of_answer(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", json_reply(completion()), sse_reply(chunk("Hel"), DONE), error_reply(400))
    arbstr = await harness.start(server={"allowed_origins": ["https://page.test"]})
    page = {"Origin": "https://page.test"}
    answers = [
        await arbstr.chat(headers=page),
        await arbstr.chat(headers=page, stream=True),
        await arbstr.chat(headers=page),
        await arbstr.chat(headers=page, model="unheard-of"),
        await arbstr.get("/v1/models", headers=page),
        await arbstr.get("/nowhere", headers=page),
    ]
    assert [answer.status for answer in answers] == [200, 200, 400, 404, 200, 404]
    assert {answer.headers.get("Access-Control-Allow-Origin") for answer in answers} == {"https://page.test"}


async def test_a_connection_serves_request_after_request(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start()
    async with talk_with(arbstr, (POST + LENGTH + b"\r\n" + BODY) * 2 + GET + b"Connection: close\r\n\r\n") as talk:
        assert (await talk.rest()).count(b"HTTP/1.1 200 OK\r\n") == 3


async def test_an_old_client_is_served_and_hung_up_on(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start()
    async with talk_with(arbstr, (POST + LENGTH + b"\r\n").replace(b"HTTP/1.1", b"HTTP/1.0") + BODY) as talk:
        answer = await talk.rest()
        assert answer.startswith(b"HTTP/1.0 200 OK\r\n")


async def test_a_stream_that_is_over_keeps_nobody_waiting_on_its_connection(
    harness: ProxyHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the provider takes to end what it has said everything in."""
    monkeypatch.setattr("arbstr.engine.upstream.response.TAIL_S", PATIENCE_S * 3)
    await harness.add_provider("alpha", sse_reply(chunk("Hel"), DONE, Move.NEVER), json_reply(completion()))
    arbstr = await harness.start()
    streaming = BODY[:-1] + b', "stream": true}'
    first = POST + b"Content-Length: %d\r\n\r\n%b" % (len(streaming), streaming)
    async with talk_with(arbstr, first + GET + b"Connection: close\r\n\r\n") as talk:
        assert (await talk.rest()).count(b"HTTP/1.1 200 OK\r\n") == 2


@pytest.mark.parametrize(
    ("header", "status", "comes_with"),
    [
        (b"", 200, b"X-Arbstr-Provider: alpha"),
        (b"Origin: https://app.test\r\n", 200, b"Access-Control-Allow-Origin: https://app.test"),
        (b"Origin: https://evil.test\r\n", 403, b"Content-Type: application/json"),
        (b"X-Arbstr-Policy: thrifty\r\n", 200, b"X-Arbstr-Policy: thrifty"),
        (b"X-Arbstr-Policy: unheard-of\r\n", 400, b"Content-Type: application/json"),
        (b"Content-Encoding: gzip\r\n", 415, b"Content-Type: application/json"),
        (b"Authorization: Bearer of-nobody\r\n", 401, b"Content-Type: application/json"),
    ],
)
async def test_a_head_sent_again_has_the_same_effect(
    harness: ProxyHarness, header: bytes, status: int, comes_with: bytes
) -> None:
    alpha = await harness.add_provider("alpha")
    server = {"auth_token": "client-token-0123456789", "allowed_origins": ["https://app.test"]}
    arbstr = await harness.start(server=server, policies={"rules": [{"name": "thrifty"}]})
    token = b"" if header.startswith(b"Auth") else b"Authorization: Bearer client-token-0123456789\r\n"
    names = []
    for name in (b"one", b"another", b"a third"):
        body = BODY.replace(b"Hello", name)
        sent = b"%b%b%bContent-Length: %d\r\nConnection: keep-alive\r\n\r\n%b" % (POST, token, header, len(body), body)
        async with talk_with(arbstr, sent) as talk:
            head = await talk.head()
            assert head.startswith(b"HTTP/1.1 %d " % status)
            assert comes_with in head
            names.append(name.decode())
    asked = [request.json["messages"][0]["content"] for request in alpha.requests]
    assert asked == (names if status == 200 else [])


async def test_requests_with_the_same_session_header_are_of_one_session(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start()
    for session in (b"one", b"one", b"other"):
        async with talk_with(arbstr, POST + b"X-Session-Id: " + session + b"\r\n" + LENGTH + b"\r\n" + BODY) as talk:
            await talk.head()
    first, second, third = [record.session for record in await arbstr.finished(3)]
    assert first is not None
    assert first == second != third
