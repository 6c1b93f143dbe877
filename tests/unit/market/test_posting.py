"""What is posted is taken once the receiver says so, whatever it goes on to say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator

import httpx
import pytest

from arbstr.market import posting
from arbstr.market.posting import post
from arbstr.redaction import Redactor, Secret

URL = "https://hooks.example/services/t0ken-in-the-path"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posting, "REST_S", 0.0)


class Rest(httpx.AsyncByteStream):
    """The body of an answer: `chunks`, then nothing more for ever, or the end."""

    def __init__(self, chunks: Iterable[bytes] = (), *, hangs: bool = False) -> None:
        self._chunks = chunks
        self._hangs = hangs
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk
        if self._hangs:
            await asyncio.Future()

    async def aclose(self) -> None:
        self.closed = True


async def said(status: int = 200, rest: Rest | None = None, fault: Exception | None = None) -> str | None:
    def take(request: httpx.Request) -> httpx.Response:
        if fault is not None:
            raise fault
        return httpx.Response(status, stream=rest or Rest())

    transport = httpx.MockTransport(take)
    return await post(transport, Redactor([Secret(URL)]), URL, b"{}", {}, within_s=10.0)


@pytest.mark.parametrize(("status", "problem"), [(200, None), (204, None), (307, "HTTP 307"), (500, "HTTP 500")])
async def test_a_status_tells_whether_it_was_taken(status: int, problem: str | None) -> None:
    assert await said(status) == problem


def endless() -> Iterator[bytes]:
    while True:
        yield b"x" * 65_536


@pytest.mark.parametrize("rest", [Rest(endless()), Rest(hangs=True)], ids=["endless", "silent"])
async def test_an_answer_without_end_is_broken_off(rest: Rest) -> None:
    assert await said(rest=rest) is None
    assert rest.closed


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        (httpx.ConnectError("refused"), "refused"),
        (httpx.ReadError(""), "ReadError"),
        (httpx.ConnectError(f"no route to {URL}"), "no route to "),
        (ValueError(f"{URL} is odd"), "ValueError"),
    ],
)
async def test_a_fault_is_said_without_the_url(fault: Exception, problem: str) -> None:
    found = await said(fault=fault)
    assert found is not None
    assert found.startswith(problem)
    assert "t0ken" not in found
