"""Errors that are not the client's: arbstr's own and its providers'; status, type, code, words and row."""

from __future__ import annotations

import asyncio
import json

import pytest

from arbstr.engine.circuit_breaker import CircuitBreakers
from arbstr.engine.routing.router import Router
from arbstr.engine.upstream.response import UpstreamStream
from tests.support.harness import ProxyHarness
from tests.support.patience import SHORT_S
from tests.support.provider import (
    DONE,
    Move,
    Part,
    chunk,
    completion,
    error_reply,
    event,
    head,
    json_reply,
    reply,
    sse_reply,
)

# 500


async def test_internal_error(harness: ProxyHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(self: Router, request: object, client: object) -> None:
        raise RuntimeError("details of arbstr's inside")

    monkeypatch.setattr(Router, "route", stumble)
    await harness.add_provider("alpha")
    arbstr = await harness.start()
    answer = await arbstr.chat()
    message = await arbstr.refused(answer, 500, "server_error", "internal_error")
    assert answer.headers["X-Arbstr-Request-Id"] in message
    assert "inside" not in answer.body.decode()
    assert "details of arbstr's inside" in arbstr.log  # with its traceback
    assert answer.headers["X-Arbstr-Request-Id"] in arbstr.log


async def test_internal_error_of_an_endpoint_without_rows(
    harness: ProxyHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(self: CircuitBreakers, name: str) -> None:
        raise RuntimeError("details of arbstr's inside")

    await harness.add_provider("alpha")
    arbstr = await harness.start()
    monkeypatch.setattr(CircuitBreakers, "view", stumble)
    answer = await arbstr.get("/providers")
    assert answer.refusal == (500, "server_error", "internal_error")
    assert answer.headers["X-Arbstr-Request-Id"] in answer.error["message"]
    assert "inside" not in answer.body.decode()
    assert "details of arbstr's inside" in arbstr.log


async def test_arbstrs_own_errors_say_how_long_they_took(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", error_reply(500))
    arbstr = await harness.start(retry={"max_retries": 0})
    for answer in (await arbstr.chat(), await arbstr.chat(model="unheard-of"), await arbstr.send(b"nonsense")):
        row = await arbstr.row(answer)
        assert answer.headers["X-Arbstr-Latency-Ms"] == str(row["timing"]["latency_ms"])


async def test_internal_error_within_a_stream(harness: ProxyHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    async def stumble(self: UpstreamStream, patience_s: float) -> bytes:
        raise RuntimeError("details of arbstr's inside")

    monkeypatch.setattr(UpstreamStream, "read", stumble)
    await harness.add_provider("alpha", sse_reply(chunk("Hel"), Move.NEVER))
    arbstr = await harness.start()
    answer = await arbstr.chat(stream=True)
    assert answer.events[0] == chunk("Hel").strip()
    error = json.loads(answer.events[-1].removeprefix(b"data: "))["error"]
    assert (error["type"], error["code"]) == ("server_error", "internal_error")
    assert b"inside" not in answer.body
    assert b"[DONE]" not in answer.body
    assert (await arbstr.row(answer))["error"]["status"] == 500


# 502, 504

UNUSABLE: list[list[Part]] = [reply(b"<h1>Hi</h1>"), json_reply([1]), json_reply({"error": {"message": "x"}})]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_all_providers_failed(harness: ProxyHarness, stream: bool) -> None:
    await harness.add_provider("alpha", error_reply(500, "the disk is full"))
    await harness.add_provider("beta", [Move.RESET])
    await harness.add_provider("gamma", reply(b"<h1>Hi</h1>"))
    arbstr = await harness.start()
    answer = await arbstr.chat(stream=stream)
    message = await arbstr.refused(answer, 502, "upstream_error", "all_providers_failed")
    assert "'alpha' was tried 3 times, last: HTTP 500: the disk is full" in message
    assert "'beta' was tried 3 times" in message
    assert "'gamma' was tried once" in message
    assert answer.headers["X-Arbstr-Retries"] == "3/alpha, 3/beta, 1/gamma"
    assert answer.headers["X-Arbstr-Provider"] == "gamma"
    assert (await arbstr.row(answer))["provider"] == "gamma"


@pytest.mark.parametrize("unusable", UNUSABLE, ids=["HTML", "a list", "an error"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_bad_upstream_response(harness: ProxyHarness, unusable: list[Part], stream: bool) -> None:
    await harness.add_provider("alpha", unusable)
    await harness.add_provider("beta", unusable)
    arbstr = await harness.start()
    answer = await arbstr.chat(stream=stream)
    message = await arbstr.refused(answer, 502, "upstream_error", "bad_upstream_response")
    assert "'alpha' was tried once" in message
    assert "'beta' was tried once" in message


async def test_bad_upstream_response_of_a_stream_that_begins_with_an_error(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", sse_reply(event({"error": {"message": "out of coffee"}})))
    arbstr = await harness.start()
    answer = await arbstr.chat(stream=True)
    message = await arbstr.refused(answer, 502, "upstream_error", "bad_upstream_response")
    assert "out of coffee" in message


async def test_a_bad_response_beside_another_failure_is_all_providers_failed(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", reply(b"<h1>Hi</h1>"))
    await harness.add_provider("beta", error_reply(402))
    arbstr = await harness.start()
    assert (await arbstr.chat()).error["code"] == "all_providers_failed"


# Where all refuse alike: their status


async def test_a_model_that_no_provider_has_after_all_is_not_found(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", error_reply(400, "no such model", kind="invalid_model"))
    await harness.add_provider("beta", reply(b"<h1>Not Found</h1>", status=404, content_type="text/html"), models=())
    arbstr = await harness.start()
    answer = await arbstr.chat()
    message = await arbstr.refused(answer, 404, "invalid_request_error", "model_not_found")
    assert "'alpha' was tried once, last: HTTP 400: no such model" in message
    assert "'beta' was tried once, last: HTTP 404 (not JSON; check the provider's url)" in message
    assert "listed: gpt-4o" in message
    assert answer.headers["X-Arbstr-Retries"] == "1/alpha, 1/beta"


async def test_a_balance_too_low_everywhere(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", error_reply(402, "9 sats needed"))
    await harness.add_provider("beta", error_reply(402))
    arbstr = await harness.start()
    message = await arbstr.refused(await arbstr.chat(), 402, "upstream_error", "insufficient_balance")
    assert "'alpha' was tried once, last: HTTP 402: 9 sats needed" in message


@pytest.mark.parametrize(("asked_s", "given_s"), [((60, 40), "40"), ((60, None), "60"), ((None, None), "1")])
async def test_rate_limits_everywhere_say_when_the_first_provider_takes_requests_again(
    harness: ProxyHarness, asked_s: tuple[int | None, int | None], given_s: str
) -> None:
    for name, seconds in zip(("alpha", "beta"), asked_s, strict=True):
        await harness.add_provider(name, error_reply(429, **({} if seconds is None else {"Retry_After": str(seconds)})))
    arbstr = await harness.start()
    answer = await arbstr.chat()
    await arbstr.refused(answer, 429, "rate_limit_error", "rate_limited")
    assert answer.headers["Retry-After"] == given_s


async def test_a_rate_limit_beside_another_failure_is_all_providers_failed(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", error_reply(429, Retry_After="60"))
    await harness.add_provider("beta", error_reply(402))
    await harness.add_provider("gamma", error_reply(404))
    arbstr = await harness.start()
    assert (await arbstr.chat()).refusal == (502, "upstream_error", "all_providers_failed")


# What may have been paid for is not to be repeated by clients that do so by themselves

MAY_HAVE_COST: dict[str, list[Part]] = {
    "a timeout": [Move.NEVER],
    "closed without a response": [Move.CLOSE],
    "broke off in its head": [b"HTTP/1.1 200 OK\r\nContent-", Move.CLOSE],
    "broke off in its body": [head(200, ("Content-Length", "99")), b"{", Move.CLOSE],
    "unusable": reply(b"<h1>Hi</h1>"),
    "an event stream that says nothing": sse_reply(DONE),
}


@pytest.mark.parametrize("replied", MAY_HAVE_COST.values(), ids=MAY_HAVE_COST)
@pytest.mark.parametrize(
    "second", [error_reply(500), error_reply(409, x_should_retry="true")], ids=["failed", "the client's fault"]
)
async def test_an_error_after_what_may_have_been_paid_asks_not_to_repeat(
    harness: ProxyHarness, replied: list[Part], second: list[Part]
) -> None:
    await harness.add_provider("alpha", replied, timeouts={"first_byte": SHORT_S})
    await harness.add_provider("beta", second)
    arbstr = await harness.start()
    answer = await arbstr.chat(stream=True)
    assert answer.status in (409, 502)
    assert answer.headers.getall("X-Should-Retry") == ["false"]


@pytest.mark.parametrize("status", [401, 402, 404, 429, 500, 503])
async def test_an_error_that_cost_nothing_may_be_repeated(harness: ProxyHarness, status: int) -> None:
    await harness.add_provider("alpha", error_reply(status))
    arbstr = await harness.start()
    answer = await arbstr.chat()
    assert answer.status >= 400
    assert "X-Should-Retry" not in answer.headers


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_upstream_timeout(harness: ProxyHarness, stream: bool) -> None:
    await harness.add_provider("alpha", [Move.NEVER], timeouts={"first_byte": SHORT_S})
    await harness.add_provider(
        "beta", [head(200, ("Content-Length", "9")), Move.NEVER], timeouts={"first_byte": SHORT_S}
    )
    arbstr = await harness.start()
    answer = await arbstr.chat(stream=stream)
    message = await arbstr.refused(answer, 504, "upstream_error", "upstream_timeout")
    assert "'alpha' was tried once" in message
    assert f"{SHORT_S} s" in message
    assert answer.headers["X-Arbstr-Retries"] == "1/alpha, 1/beta"


async def test_a_timeout_beside_another_failure_is_all_providers_failed(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", [Move.NEVER], timeouts={"first_byte": SHORT_S})
    await harness.add_provider("beta", error_reply(401))
    arbstr = await harness.start()
    assert (await arbstr.chat()).refusal == (502, "upstream_error", "all_providers_failed")


# 503


async def test_no_healthy_provider(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", error_reply(429, Retry_After="30"))
    arbstr = await harness.start()
    await arbstr.chat()
    answer = await arbstr.chat()
    message = await arbstr.refused(answer, 503, "upstream_error", "no_healthy_provider")
    assert "alpha" in message
    assert 1 <= int(answer.headers["Retry-After"]) <= 37
    assert (await arbstr.row(answer))["model"] == "gpt-4o"


async def test_no_healthy_provider_when_all_are_out_of_rotation(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start()
    arbstr.source.set_in_rotation("alpha", in_rotation=False)
    answer = await arbstr.chat()
    await arbstr.refused(answer, 503, "upstream_error", "no_healthy_provider")
    assert int(answer.headers["Retry-After"]) >= 1
    arbstr.source.set_in_rotation("alpha", in_rotation=True)
    assert (await arbstr.chat()).status == 200


async def test_overloaded(harness: ProxyHarness) -> None:
    go_on = asyncio.Event()
    alpha = await harness.add_provider("alpha", [go_on, *json_reply(completion())])
    arbstr = await harness.start(server={"max_in_flight": 2})
    tasks = [await arbstr.start_chat() for _ in range(2)]
    await alpha.asked(2)
    answer = await arbstr.chat()
    message = await arbstr.refused(answer, 503, "upstream_error", "overloaded")
    assert "2" in message
    assert int(answer.headers["Retry-After"]) >= 1
    go_on.set()
    assert {(await task).status for task in tasks} == {200}
    assert (await arbstr.chat()).status == 200


async def test_a_provider_at_its_own_limit_is_passed_over(harness: ProxyHarness) -> None:
    go_on = asyncio.Event()
    alpha = await harness.add_provider("alpha", [go_on, *json_reply(completion())], max_in_flight=1)
    await harness.add_provider("beta")
    arbstr = await harness.start()
    task = await arbstr.start_chat()
    await alpha.asked()
    assert (await arbstr.chat()).headers["X-Arbstr-Provider"] == "beta"
    go_on.set()
    assert (await task).headers["X-Arbstr-Provider"] == "alpha"
