"""What fails at every provider, and what arbstr refuses itself: status, headers, one row, in each dialect's shape."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest

from tests.integration.test_dialects import ask, error_of
from tests.support.dialects import ALL, MESSAGES, RESPONSES, Speech
from tests.support.harness import Answer, Arbstr, ProxyHarness, key_of
from tests.support.provider import MODEL, Reply, error_reply, json_reply

TRANSLATED = (RESPONSES, MESSAGES)


class Ending(NamedTuple):
    """What every provider answers, and what the client gets for it. `kind` is Anthropic's type for it."""

    reply: Reply
    status: int
    code: str
    kind: str
    charged: bool = False


ENDINGS = {
    "401": Ending(error_reply(401, "bad key"), 502, "all_providers_failed", "api_error"),
    "402": Ending(error_reply(402, "no money"), 402, "insufficient_balance", "billing_error"),
    "404": Ending(error_reply(404, f"model {MODEL} not found"), 404, "model_not_found", "not_found_error"),
    "429": Ending(error_reply(429, "slow", Retry_After="30"), 429, "rate_limited", "rate_limit_error"),
    "500": Ending(error_reply(500, "oops"), 502, "all_providers_failed", "api_error"),
    "200": Ending(json_reply({"error": {"message": "oops"}}), 502, "bad_upstream_response", "api_error", charged=True),
}


@pytest.fixture(params=ENDINGS)
def ending(request: pytest.FixtureRequest) -> Ending:
    """Each way to fail at every provider."""
    return ENDINGS[request.param]


async def check(arbstr: Arbstr, answer: Answer, speech: Speech, status: int, code: str, kind: str) -> None:
    """Check an error's status and shape, and its row."""
    error = error_of(answer, speech)
    assert answer.status == status
    assert error["type" if speech is MESSAGES else "code"] == (kind if speech is MESSAGES else code)
    (row,) = await arbstr.rows(1)
    assert row["request_id"] == answer.headers["X-Arbstr-Request-Id"]
    assert (row["dialect"], row["success"], row["error"]["status"]) == (speech.name, False, status)
    assert row["error"]["message"] == error["message"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("speech", ALL, ids=lambda speech: speech.name)
async def test_what_fails_alike_everywhere_ends_in_that_status(
    harness: ProxyHarness, speech: Speech, ending: Ending, stream: bool
) -> None:
    await harness.add_provider("alpha", ending.reply, input_rate=1)
    await harness.add_provider("beta", ending.reply, input_rate=2)
    arbstr = await harness.start(retry={"max_retries": 0})
    answer = await ask(arbstr, speech, stream=stream)
    await check(arbstr, answer, speech, ending.status, ending.code, ending.kind)
    assert answer.headers["X-Arbstr-Retries"] == "1/alpha, 1/beta"
    assert answer.headers.get("Retry-After") == ("30" if ending.status == 429 else None)
    assert answer.headers.get("X-Should-Retry") == ("false" if ending.charged else None)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("speech", TRANSLATED, ids=lambda speech: speech.name)
async def test_so_does_what_was_translated(harness: ProxyHarness, speech: Speech, ending: Ending, stream: bool) -> None:
    await harness.add_provider("alpha", ending.reply, dialects=["chat"])
    arbstr = await harness.start(retry={"max_retries": 0})
    answer = await ask(arbstr, speech, stream=stream)
    await check(arbstr, answer, speech, ending.status, ending.code, ending.kind)


@pytest.mark.parametrize("spoken", [{"dialects": ["chat"]}, {}], ids=["translated", "as it came"])
@pytest.mark.parametrize("speech", TRANSLATED, ids=lambda speech: speech.name)
async def test_a_key_in_a_refusal_is_masked(harness: ProxyHarness, speech: Speech, spoken: dict[str, Any]) -> None:
    key = key_of("alpha")
    await harness.add_provider("alpha", error_reply(400, f"no such field, {key}"), **spoken)
    arbstr = await harness.start()
    answer = await ask(arbstr, speech)
    assert answer.status == 400
    assert "no such field" in answer.json["error"]["message"]
    assert key not in answer.body.decode() + json.dumps(await arbstr.row(answer))


@pytest.mark.parametrize("speech", TRANSLATED, ids=lambda speech: speech.name)
async def test_a_404_about_what_the_request_refers_to_is_the_clients(harness: ProxyHarness, speech: Speech) -> None:
    """It says nothing about the endpoint or the model: both are asked again."""
    refusal = error_reply(404, "File not found: file_011CNha8iCJc")
    models = (MODEL, "gpt-4o-mini")
    alpha = await harness.add_provider("alpha", *[refusal] * 3, json_reply(speech.answer), models=models)
    arbstr = await harness.start()
    for model in (*models, MODEL):
        answer = await ask(arbstr, speech, model=model)
        assert (answer.status, answer.body) == (404, refusal[1])
    assert (await ask(arbstr, speech)).status == 200
    assert [asked.path for asked in alpha.requests] == [speech.path] * 4


STRICT = {"name": "strict", "keywords": ["hello"], "max_sats_per_1k_output": 1}


@pytest.mark.parametrize(
    ("sections", "status", "code", "kind"),
    [
        ({"budget": {"max_sats_per_day": 0.01}}, 402, "budget_exceeded", "billing_error"),
        ({"server": {"max_request_mb": 0.001}}, 413, "request_too_large", "request_too_large"),
        ({"policies": {"rules": [STRICT]}}, 400, "no_provider_within_policy", "invalid_request_error"),
    ],
    ids=["budget", "size", "policy"],
)
@pytest.mark.parametrize("speech", ALL, ids=lambda speech: speech.name)
async def test_what_arbstr_refuses_by_its_limits(
    harness: ProxyHarness, speech: Speech, sections: dict[str, Any], status: int, code: str, kind: str
) -> None:
    alpha = await harness.add_provider("alpha", json_reply(speech.answer))
    arbstr = await harness.start(**sections)
    await check(arbstr, await ask(arbstr, speech, x_unknown="x" * 2000), speech, status, code, kind)
    assert alpha.requests == []


@pytest.mark.parametrize("speech", ALL, ids=lambda speech: speech.name)
async def test_one_request_too_many_a_second(harness: ProxyHarness, speech: Speech) -> None:
    await harness.add_provider("alpha", json_reply(speech.answer))
    arbstr = await harness.start(server={"rate_limit_rps": 0.5})
    assert (await ask(arbstr, speech)).status == 200
    answer = await ask(arbstr, speech)
    kind = error_of(answer, speech)["type"]
    assert (answer.status, kind, answer.headers["Retry-After"]) == (429, "rate_limit_error", "2")
    assert {row["dialect"] for row in await arbstr.rows(2)} == {speech.name}


@pytest.mark.parametrize("path", ["/policy/nobodys/v1{}", "/policy/nobodys{}"])
@pytest.mark.parametrize("speech", ALL, ids=lambda speech: speech.name)
async def test_a_policy_in_a_path_that_nobody_has(harness: ProxyHarness, speech: Speech, path: str) -> None:
    await harness.add_provider("alpha", json_reply(speech.answer))
    arbstr = await harness.start()
    answer = await arbstr.send(speech.request(), path=path.format(speech.path.removeprefix("/v1")))
    await check(arbstr, answer, speech, 400, "unknown_policy", "invalid_request_error")
