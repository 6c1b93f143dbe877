"""When a provider fails: who is asked again, who is asked instead, and what `X-Arbstr-Retries` says of it."""

from __future__ import annotations

import asyncio
import json

import pytest

from arbstr.events import AttemptFailed
from tests.support.failures import FAILS_TO_OPEN, LEFT, PASSING
from tests.support.harness import Answer, Arbstr, ProxyHarness
from tests.support.patience import PATIENCE_S, SHORT_S
from tests.support.provider import (
    Move,
    Part,
    chunk,
    chunked,
    completion,
    error_reply,
    head,
    json_reply,
    reply,
    sse_reply,
    stream_events,
)

NOBODY = "http://127.0.0.1:9/v1"  # an address where nobody listens
GOOD = json_reply(completion("Hello"))
GOOD_STREAM = sse_reply(*stream_events("Hello"))


def retries(answer: Answer) -> str | None:
    return answer.headers.get("X-Arbstr-Retries")


def provider(answer: Answer) -> str | None:
    return answer.headers.get("X-Arbstr-Provider")


def waits_ms(arbstr: Arbstr) -> list[int | None]:
    """After each failed attempt, how long until the same provider was asked again; None where it was not."""
    return [event.retry_in_ms for event in arbstr.events if isinstance(event, AttemptFailed)]


async def test_a_first_success_has_no_retries_header(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start()
    answer = await arbstr.chat()
    assert (answer.status, provider(answer), retries(answer)) == (200, "alpha", None)


# Asked again, then left


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("failure", PASSING.values(), ids=PASSING)
async def test_passing_trouble_is_retried_twice_and_then_the_next_provider_asked(
    harness: ProxyHarness, failure: list[Part], stream: bool
) -> None:
    alpha = await harness.add_provider("alpha", failure)
    beta = await harness.add_provider("beta", GOOD_STREAM if stream else GOOD)
    arbstr = await harness.start()
    answer = await arbstr.chat(stream=stream)
    assert (answer.status, provider(answer), retries(answer)) == (200, "beta", "3/alpha")
    assert (len(alpha.requests), len(beta.requests)) == (3, 1)
    assert (await arbstr.row(answer))["provider"] == "beta"


async def test_a_refused_connection_is_retried_too(harness: ProxyHarness) -> None:
    harness.add_provider_at("alpha", NOBODY)
    await harness.add_provider("beta")
    arbstr = await harness.start()
    answer = await arbstr.chat()
    assert (provider(answer), retries(answer)) == ("beta", "3/alpha")


async def test_a_name_that_does_not_resolve_is_retried_too(harness: ProxyHarness) -> None:
    harness.add_provider_at("alpha", "http://no-such-host.invalid/v1")
    await harness.add_provider("beta")
    arbstr = await harness.start()
    answer = await arbstr.chat()
    assert (provider(answer), retries(answer)) == ("beta", "3/alpha")


async def test_a_retry_may_succeed(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", error_reply(503), error_reply(429), GOOD)
    beta = await harness.add_provider("beta")
    arbstr = await harness.start()
    answer = await arbstr.chat()
    assert (answer.status, provider(answer), retries(answer)) == (200, "alpha", "2/alpha")
    assert len(alpha.requests) == 3
    assert not beta.requests


async def test_failed_attempts_are_counted_by_provider_in_order(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", error_reply(500))
    await harness.add_provider("beta", error_reply(503), error_reply(401))
    await harness.add_provider("gamma")
    arbstr = await harness.start()
    answer = await arbstr.chat()
    assert (provider(answer), retries(answer)) == ("gamma", "3/alpha, 2/beta")


async def test_an_error_answer_counts_failed_attempts_by_provider(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", error_reply(500))
    await harness.add_provider("beta", error_reply(402))
    arbstr = await harness.start()
    answer = await arbstr.chat()
    assert (answer.status, provider(answer), retries(answer)) == (502, "beta", "3/alpha, 1/beta")


@pytest.mark.parametrize("count", [0, 1, 4])
async def test_max_retries_are_further_tries_on_the_same_provider(harness: ProxyHarness, count: int) -> None:
    alpha = await harness.add_provider("alpha", error_reply(500))
    await harness.add_provider("beta")
    arbstr = await harness.start(retry={"max_retries": count})
    answer = await arbstr.chat()
    assert retries(answer) == f"{count + 1}/alpha"
    assert len(alpha.requests) == count + 1


async def test_every_attempt_sends_the_same_body_with_that_providers_key(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", error_reply(500), api_key="sk-of-alpha-0123456789")
    beta = await harness.add_provider("beta", api_key="sk-of-beta-0123456789")
    arbstr = await harness.start()
    await arbstr.chat("the same")
    assert len({asked.body for asked in [*alpha.requests, *beta.requests]}) == 1
    assert {asked.headers["authorization"] for asked in alpha.requests} == {"Bearer sk-of-alpha-0123456789"}
    assert beta.requests[0].headers["authorization"] == "Bearer sk-of-beta-0123456789"


# Waiting


async def test_backoff_doubles(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", error_reply(500))
    arbstr = await harness.start(retry={"max_retries": 3, "backoff": 0.008})
    await arbstr.chat()
    *waits, last = waits_ms(arbstr)
    assert last is None
    for wait_ms, least_ms in zip(waits, [8, 16, 32], strict=True):
        assert wait_ms is not None
        assert least_ms <= wait_ms <= least_ms * 1.25


async def test_retry_after_is_waited_for_instead_of_a_shorter_backoff(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", error_reply(429, Retry_After="0.02"), GOOD)
    arbstr = await harness.start(retry={"backoff": 0.001})
    assert retries(await arbstr.chat()) == "1/alpha"
    assert waits_ms(arbstr) == [20]


async def test_a_provider_that_asks_for_more_than_ten_seconds_is_left_at_once(harness: ProxyHarness) -> None:
    refusal = {"error": {"message": "later", "details": {"retry_after_seconds": 20.0}}}
    alpha = await harness.add_provider("alpha", json_reply(refusal, status=429))
    await harness.add_provider("beta")
    arbstr = await harness.start()
    answer = await arbstr.chat()
    assert (provider(answer), retries(answer)) == ("beta", "1/alpha")
    assert len(alpha.requests) == 1


@pytest.mark.parametrize(
    "refusal",
    [
        error_reply(429, retry_after_ms="20"),
        error_reply(429, x_ms_retry_after_ms="20", Retry_After="7"),
        json_reply([{"error": {"code": 429, "details": [{"@type": "RetryInfo", "retryDelay": "0.02s"}]}}], status=429),
    ],
    ids=["milliseconds", "Azure's milliseconds", "Google's RetryInfo"],
)
async def test_waits_in_milliseconds_and_in_googles_words_are_waited_for(
    harness: ProxyHarness, refusal: list[Part]
) -> None:
    await harness.add_provider("alpha", refusal, GOOD)
    arbstr = await harness.start(retry={"backoff": 0.001})
    assert retries(await arbstr.chat()) == "1/alpha"
    assert waits_ms(arbstr) == [20]


@pytest.mark.parametrize("header", ["9" * 400, "\x00"])
async def test_no_retry_after_is_too_absurd(harness: ProxyHarness, header: str) -> None:
    await harness.add_provider("alpha", error_reply(429, Retry_After=header))
    await harness.add_provider("beta")
    arbstr = await harness.start()
    answer = await arbstr.chat()
    assert (answer.status, provider(answer), retries(answer)) == (200, "beta", "3/alpha")


async def test_a_retry_after_that_makes_no_sense_is_as_none(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", error_reply(429, Retry_After="soon"), error_reply(429, Retry_After="-5"), GOOD)
    arbstr = await harness.start()
    assert retries(await arbstr.chat()) == "2/alpha"


# Never asked again: the next provider, at once


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("failure", LEFT.values(), ids=LEFT)
async def test_what_will_not_pass_is_not_retried(harness: ProxyHarness, failure: list[Part], stream: bool) -> None:
    alpha = await harness.add_provider("alpha", failure)
    await harness.add_provider("beta", GOOD_STREAM if stream else GOOD)
    arbstr = await harness.start()
    answer = await arbstr.chat(stream=stream)
    assert (answer.status, provider(answer), retries(answer)) == (200, "beta", "1/alpha")
    assert len(alpha.requests) == 1


async def test_a_redirect_is_not_followed(harness: ProxyHarness) -> None:
    elsewhere = await harness.add_provider("elsewhere", models=("other",))
    await harness.add_provider("alpha", error_reply(307, Location=elsewhere.url + "/chat/completions"))
    arbstr = await harness.start()
    assert (await arbstr.chat()).status == 502
    assert not elsewhere.requests


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_timeout_after_the_request_was_sent_is_not_retried(harness: ProxyHarness, stream: bool) -> None:
    """It may be charged."""
    alpha = await harness.add_provider("alpha", [Move.NEVER], timeouts={"first_byte": SHORT_S})
    await harness.add_provider("beta", GOOD_STREAM if stream else GOOD)
    arbstr = await harness.start()
    answer = await arbstr.chat(stream=stream)
    assert (provider(answer), retries(answer)) == ("beta", "1/alpha")
    async with asyncio.timeout(PATIENCE_S):
        await alpha.requests[0].left.wait()


async def test_a_whole_answer_is_given_first_byte_in_all(harness: ProxyHarness) -> None:
    """A provider that dribbles its answer does not get more time by that."""
    dribbles: list[Part] = [
        head(200, ("Content-Length", "1000"), ("Content-Type", "application/json")),
        b'{"choices"',
        Move.NEVER,
    ]
    await harness.add_provider("alpha", dribbles, timeouts={"first_byte": SHORT_S})
    await harness.add_provider("beta")
    arbstr = await harness.start()
    answer = await arbstr.chat()
    assert (provider(answer), retries(answer)) == ("beta", "1/alpha")


# Streams


@pytest.mark.parametrize("failure", FAILS_TO_OPEN.values(), ids=FAILS_TO_OPEN)
async def test_a_stream_that_does_not_begin_is_asked_for_elsewhere(harness: ProxyHarness, failure: list[Part]) -> None:
    alpha = await harness.add_provider("alpha", failure)
    await harness.add_provider("beta", GOOD_STREAM)
    arbstr = await harness.start()
    answer = await arbstr.chat(stream=True)
    assert (answer.status, provider(answer), retries(answer)) == (200, "beta", "1/alpha")
    assert b"coffee" not in answer.body
    assert answer.trailer["provider"] == "beta"
    assert len(alpha.requests) == 1


async def test_a_stream_whose_beginning_went_out_is_not_asked_for_elsewhere(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", sse_reply(chunk("Hel"), Move.RESET))
    beta = await harness.add_provider("beta", GOOD_STREAM)
    arbstr = await harness.start()
    answer = await arbstr.chat(stream=True)
    assert (answer.status, provider(answer)) == (200, "alpha")
    assert b"Hel" in answer.body
    assert not beta.requests


# The request's own fault


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("status", [400, 405, 406, 409, 410, 413, 415, 418, 422, 451])
async def test_an_error_about_the_request_passes_as_it_came(harness: ProxyHarness, status: int, stream: bool) -> None:
    text = b'{"error" :  {"message":"too h\xc3\xb6t", "type":"invalid_request_error", "param":"temperature"}}\n'
    await harness.add_provider("alpha", reply(text, status=status, headers=[("X-Request-Id", "r1")]))
    beta = await harness.add_provider("beta")
    arbstr = await harness.start()
    answer = await arbstr.chat(stream=stream)
    assert (answer.status, answer.body) == (status, text)
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Request-Id"] == "r1"
    assert (provider(answer), retries(answer)) == ("alpha", None)
    assert not beta.requests
    row = await arbstr.row(answer)
    assert (row["success"], row["error"]["status"]) == (False, status)
    assert "too höt" in row["error"]["message"]


FLAT: dict[str, dict[str, object]] = {
    "flat": {"message": "why"},
    "a detail": {"detail": "why"},
    "a list of details": {"detail": [{"loc": ["body"], "msg": "why"}]},
    "a list of errors": {"errors": [{"message": "why"}]},
    "a text": {"error": "why"},
    "an error object": {"object": "error", "message": "why", "code": 40001},
}


@pytest.mark.parametrize("document", FLAT.values(), ids=FLAT)
async def test_the_row_says_why_whatever_the_refusals_shape(harness: ProxyHarness, document: dict[str, object]) -> None:
    await harness.add_provider("alpha", json_reply(document, status=422))
    arbstr = await harness.start()
    answer = await arbstr.chat()
    assert (answer.status, answer.json) == (422, document)
    assert (await arbstr.row(answer))["error"] == {"status": 422, "message": "HTTP 422: why"}


async def test_a_client_error_that_is_no_json_passes(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", reply(b"<h1>Teapot</h1>", status=418, content_type="text/html"))
    arbstr = await harness.start()
    answer = await arbstr.chat()
    assert (answer.status, answer.body, answer.headers["Content-Type"]) == (418, b"<h1>Teapot</h1>", "text/html")


# Connections


async def test_a_kept_connection_that_was_closed_meanwhile_is_replaced_and_no_attempt(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", [*GOOD, Move.CLOSE], GOOD)
    arbstr = await harness.start()
    await arbstr.chat()
    answer = await arbstr.chat()
    assert (answer.status, retries(answer)) == (200, None)
    assert alpha.connections == 2
    assert len((await arbstr.row(answer))["attempts"]) == 1


async def test_a_kept_connection_that_is_closed_once_the_request_was_read_is_a_failed_attempt(
    harness: ProxyHarness,
) -> None:
    """The provider may have worked on it and charge for it: that is not to be hidden."""
    alpha = await harness.add_provider("alpha", [*GOOD, Move.CLOSE_ON_NEXT], GOOD)
    arbstr = await harness.start()
    await arbstr.chat()
    answer = await arbstr.chat()
    assert (answer.status, retries(answer)) == (200, "1/alpha")
    assert alpha.connections == 2
    failed, _ = (await arbstr.row(answer))["attempts"]
    assert (failed["failure"], failed["message"]) == ("connect", "connection failed: closed without a response")


async def test_a_length_beside_chunks_is_read_and_bought_once(harness: ProxyHarness) -> None:
    twice = [head(200, ("Content-Length", "7"), ("Transfer-Encoding", "chunked"), ("Content-Type", "application/json"))]
    alpha = await harness.add_provider(
        "alpha", [*twice, chunked(json.dumps(completion("Hello")).encode()), b"0\r\n\r\n"]
    )
    arbstr = await harness.start()
    for number in (1, 2):
        answer = await arbstr.chat()
        assert (answer.json["choices"][0]["message"]["content"], retries(answer)) == ("Hello", None)
        assert len(alpha.requests) == number


async def test_connections_are_kept(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha", GOOD, error_reply(429), GOOD_STREAM, error_reply(400), GOOD)
    arbstr = await harness.start()
    await arbstr.chat()
    await arbstr.chat(stream=True)
    await arbstr.chat()
    await arbstr.chat()
    assert len(alpha.requests) == 5
    assert alpha.connections == 1
