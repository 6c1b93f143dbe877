"""arbstr from outside: a whole proxy in this process, providers that follow a script, clients on real sockets.

alpha = await harness.add_provider("alpha", error_reply(500), json_reply(completion("Hello")))
arbstr = await harness.start()
answer = await arbstr.chat()
assert answer.headers["X-Arbstr-Retries"] == "1/alpha"
assert (await arbstr.row(answer))["success"]
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aiohttp
from multidict import CIMultiDictProxy

from arbstr.config.schema import Config, Provider
from arbstr.config.settings import Settings
from arbstr.events import Event, RequestFinished
from arbstr.logs.ring import LogRing
from arbstr.monitoring.local_source import LocalSource
from arbstr.places import Place
from arbstr.runtime.compose import Proxy, running
from arbstr.types import RequestRecord
from tests.support.patience import PATIENCE_S
from tests.support.provider import MODEL, Part, Script, ScriptedProvider, sse_reply

SEPARATOR = b"\n\n"
CHAT_PATH = "/v1/chat/completions"
FINAL_EVENT = re.compile(rb'data: \{"id":"chatcmpl-[0-9a-f-]{36}","object":"chat.completion.chunk",[^{]*"arbstr":\{')


class ProxyHarness:
    """Providers and an arbstr that buys from them, all ended with the test."""

    def __init__(self, database: Place) -> None:
        self._database = str(database) if isinstance(database, Path) else database
        self._stack = AsyncExitStack()
        self.providers: list[Provider] = []
        self.sections: dict[str, Any] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End everything; what it wrote stays."""
        await self._stack.aclose()

    async def add_provider(
        self, name: str, *script: Script, listing: Script | None = None, **fields: Any
    ) -> ScriptedProvider:
        """A provider named so, configured after those before it; `fields` are its configuration's."""
        provider = await self._stack.enter_async_context(ScriptedProvider(*script, listing=listing))
        self.add_provider_at(name, provider.url, **fields)
        return provider

    def add_provider_at(self, name: str, url: str, **fields: Any) -> None:
        """A provider at some address, whether or not anything listens there."""
        given = {"models": (MODEL,), "api_key": key_of(name), "input_rate": 10, "output_rate": 30, "base_fee": 1}
        self.providers.append(Provider(name=name, url=url, **(given | fields)))

    async def start(self, **sections: Any) -> Arbstr:
        """An arbstr with these sections in its configuration. Unless they say otherwise it waits for no backoff, and
        no number of failures opens a breaker."""
        ring, self.sections = LogRing(), sections
        proxy = await self._stack.enter_async_context(running(self.settings(), ring, self.settings))
        session = await self._stack.enter_async_context(aiohttp.ClientSession())
        return Arbstr(proxy, session, ring)

    def settings(self) -> Settings:
        """What arbstr is started with, and reloads: today's providers and sections."""
        sections = self.sections
        patient = {"retry": {"backoff": 0}, "breaker": {"failure_threshold": 1_000_000}}
        given = sections | {name: {**fields, **sections.get(name, {})} for name, fields in patient.items()}
        config = Config.model_validate({**given, "providers": tuple(self.providers)})
        return Settings(config, None, "127.0.0.1", 0, self._database, "arbstr=debug,aiohttp=debug")

    async def play_stream(self, *parts: Part, **fields: Any) -> tuple[Arbstr, Answer]:
        """The answer to a stream request (`fields` are its body's) when the only provider's body is this."""
        await self.add_provider("alpha", sse_reply(*parts))
        arbstr = await self.start()
        return arbstr, await arbstr.chat(**{"stream": True, **fields})


def key_of(name: str) -> str:
    """A provider's key."""
    return f"sk-{name}-0123456789abcdef-secret"


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer as a client got it."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error in it, which has OpenAI's shape and no more."""
        document = self.json
        assert set(document) == {"error"}
        error: dict[str, Any] = document["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return error

    @property
    def refusal(self) -> tuple[int, str, str]:
        """Status, type and code of an error."""
        return self.status, self.error["type"], self.error["code"]

    @property
    def events(self) -> list[bytes]:
        """The events of a stream, each without its empty line."""
        assert self.body.endswith(SEPARATOR)
        return self.body.removesuffix(SEPARATOR).split(SEPARATOR)

    @property
    def trailer(self) -> dict[str, Any]:
        """arbstr's own event at a stream's end, between the provider's `[DONE]` and the last one."""
        done, event, last = self.events[-3:]
        assert done == last == b"data: [DONE]"
        document = json.loads(event.removeprefix(b"data: "))
        trailer: dict[str, Any] = document.pop("arbstr")
        assert list(document) == ["id", "object", "created", "model", "choices"]
        assert (document["object"], document["choices"]) == ("chat.completion.chunk", [])
        return trailer

    @property
    def provider_events(self) -> bytes:
        """What a stream brought before arbstr's own event."""
        found = FINAL_EVENT.search(self.body)
        assert found is not None
        return self.body[: found.start()]

    @property
    def stream_error(self) -> dict[str, Any]:
        """The error at the end of a stream that has no proper end."""
        assert b"[DONE]" not in self.body
        assert FINAL_EVENT.search(self.body) is None
        document = json.loads(self.events[-1].removeprefix(b"data: "))
        assert set(document) == {"error"}
        error: dict[str, Any] = document["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert (error["type"], error["code"], error["param"]) == ("upstream_error", "bad_upstream_response", None)
        return error


@dataclass(slots=True)
class Stream:
    """An answer that a client reads as it comes."""

    response: aiohttp.ClientResponse
    seen: bytearray = field(default_factory=bytearray)

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """The response's headers."""
        return self.response.headers

    async def until(self, text: bytes) -> bytes:
        """Read until this has come; everything so far."""
        async with asyncio.timeout(PATIENCE_S):
            while text not in self.seen:
                data = await self.response.content.readany()
                assert data, f"ended without {text!r}: {bytes(self.seen)!r}"
                self.seen += data
        return bytes(self.seen)

    async def during(self, seconds: float) -> None:
        """Read what comes in this time; the stream must not end in it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while data := await self.response.content.readany():
                    self.seen += data
                raise AssertionError("it ended")

    async def rest(self) -> Answer:
        """Read to the end; the whole answer."""
        async with asyncio.timeout(PATIENCE_S):
            self.seen += await self.response.content.read()
        return Answer(self.response.status, self.response.headers, bytes(self.seen))

    def leave(self) -> None:
        """Close the connection."""
        self.response.close()


class Arbstr:
    """A running arbstr and a client of it."""

    def __init__(self, proxy: Proxy, session: aiohttp.ClientSession, ring: LogRing) -> None:
        self.proxy = proxy
        self.url = proxy.url
        self.session = session
        self.source: LocalSource = proxy.source
        self.ring = ring
        self._mailbox = self.source.subscribe()
        self._events: list[Event] = []

    # Asking

    async def chat(self, content: Any = "hi", *, headers: Mapping[str, str] | None = None, **fields: Any) -> Answer:
        """A chat request and its whole answer; `fields` are the body's."""
        return await self.send(json.dumps(body(content, **fields)).encode(), headers=headers)

    async def send(self, data: bytes, *, headers: Mapping[str, str] | None = None, path: str = CHAT_PATH) -> Answer:
        """These bytes as a chat request, labelled as JSON, and the answer."""
        async with self.open(data, headers=headers, path=path) as stream:
            return await stream.rest()

    @asynccontextmanager
    async def stream(
        self, content: Any = "hi", *, headers: Mapping[str, str] | None = None, **fields: Any
    ) -> AsyncIterator[Stream]:
        """A chat request with `stream: true`, its answer to be read as it comes."""
        data = json.dumps(body(content, **{"stream": True, **fields})).encode()
        async with self.open(data, headers=headers) as stream:
            yield stream

    @asynccontextmanager
    async def open(
        self, data: bytes, *, headers: Mapping[str, str] | None = None, path: str = CHAT_PATH
    ) -> AsyncIterator[Stream]:
        """These bytes as a chat request, the answer to be read as it comes."""
        labelled = {"Content-Type": "application/json", **(headers or {})}
        async with asyncio.timeout(PATIENCE_S):
            response = await self.session.post(f"{self.url}{path}", data=data, headers=labelled)
        async with response:
            yield Stream(response)

    async def get(self, path: str, *, method: str = "GET", headers: Mapping[str, str] | None = None) -> Answer:
        """Any other endpoint's answer."""
        async with self.session.request(method, self.url + path, headers=headers) as response:
            return Answer(response.status, response.headers, await response.read())

    async def start_chat(self, content: Any = "hi", **fields: Any) -> asyncio.Task[Answer]:
        """A chat request under way; cancelling the task closes the connection."""
        return asyncio.create_task(self.chat(content, **fields))

    async def catch_up(self) -> None:
        """Return when arbstr has noticed what happened on its connections until now: it has answered others since."""
        for _ in range(3):
            await self.get("/v1/models")

    # Looking

    @property
    def events(self) -> list[Event]:
        """Everything published so far."""
        new, missed = self._mailbox.drain()
        assert missed == 0
        self._events += new
        return self._events

    def stop_watching(self) -> None:
        """Listen to no events from now on: arbstr runs as it does without a dashboard."""
        self.source.unsubscribe(self._mailbox)

    @property
    def log(self) -> str:
        """Everything logged so far, whatever its level."""
        return "\n".join(line.text for line in self.ring.since())

    async def finished(self, count: int = 1) -> list[RequestRecord]:
        """Wait until so many requests have finished; their records, in the order in which they did."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                records = [event.record for event in self.events if isinstance(event, RequestFinished)]
                if len(records) >= count:
                    return records
                await self._mailbox.wait()

    async def row(self, answer: Answer | None = None) -> dict[str, Any]:
        """The ledger's row of an answered request, or of the only one, as the endpoint shows it."""
        if answer is None:
            (record,) = await self.finished()
            request_id = record.request_id
        else:
            request_id = answer.headers["X-Arbstr-Request-Id"]
            records = await self.finished()
            while request_id not in {record.request_id for record in records}:
                records = await self.finished(len(records) + 1)
        async with asyncio.timeout(PATIENCE_S):
            while (found := await self.get(f"/v1/requests/{request_id}")).status == 404:
                pass  # a busy machine may take longer to write it than a reader waits
        row: dict[str, Any] = found.json
        return row

    async def refused(self, answer: Answer, status: int, kind: str, code: str) -> str:
        """Check an error and its row; its message."""
        assert answer.refusal == (status, kind, code)
        assert answer.headers["Content-Type"].startswith("application/json")
        row = await self.row(answer)
        assert not row["success"]
        assert row["error"]["status"] == status
        message: str = answer.error["message"]
        assert row["error"]["message"] == message
        return message

    async def rows(self, count: int | None = None) -> list[dict[str, Any]]:
        """Every row of the ledger, newest first; with a count, once there are so many."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                rows: list[dict[str, Any]] = (await self.get("/v1/requests?per_page=100")).json["data"]
                if count is None or len(rows) >= count:
                    return rows


def body(content: Any = "hi", **fields: Any) -> dict[str, Any]:
    """A chat request's body: one user message unless `messages` are given."""
    return {"model": MODEL, "messages": [{"role": "user", "content": content}], **fields}


def tokens_of(row: dict[str, Any]) -> tuple[int | None, int | None]:
    """The tokens of a row, in and out."""
    return row["tokens"]["input"], row["tokens"]["output"]
