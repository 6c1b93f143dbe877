"""Every error arbstr gives: its status, type and code, what its message says, and its row."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest

from arbstr.engine.router import Router
from arbstr.engine.upstream import StreamAnswer
from tests.provider import (
    Move,
    Part,
    chunk,
    error_reply,
    event,
    head,
    json_reply,
    reply,
    sse_reply,
)
from tests.proxy.world import Answer, Arbstr, World, body

RULES = {
    "rules": [
        {"name": "code", "allowed_models": ["claude-3.5-sonnet"]},
        {"name": "thrift", "max_sats_per_1k_output": 5},
    ]
}


async def refused(arbstr: Arbstr, answer: Answer, status: int, kind: str, code: str) -> str:
    """Check an error and its row; its message."""
    assert answer.told == (status, kind, code)
    assert answer.headers["Content-Type"].startswith("application/json")
    row = await arbstr.row(answer)
    assert not row["success"]
    assert row["error"]["status"] == status
    message: str = answer.error["message"]
    assert row["error"]["message"] == message
    return message


async def invalid(world: World, code: str, param: str | None, document: Any, **headers: str) -> str:
    """The message of a 400; `document` is what is sent, as JSON or in bytes."""
    alpha = await world.sells("alpha")
    arbstr = await world.opens(policies=RULES)
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    answer = await arbstr.send(data, headers={name.replace("_", "-"): value for name, value in headers.items()})
    message = await refused(arbstr, answer, 400, "invalid_request_error", code)
    assert answer.error["param"] == param
    assert not alpha.requests
    return message


# 400


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"  ", "empty"),
        (b"nonsense", "line 1, column 1"),
        (b'{"model": "gpt-4o",\n "messages": [}', "line 2"),
        (b'{"model": "gpt-4o"', "line 1"),
        (b"[]", "an empty list"),
        (b'"gpt-4o"', "a string"),
        (b"7", "a number"),
        (b"null", "null"),
        (b'{"model": "gpt-4o", "temperature": NaN}', "not valid JSON"),
        (b'{"model": "gpt-4o", "temperature": -Infinity}', "not valid JSON"),
        (b'{"model": "\xff\xfe"}', "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"model": "gpt-4o"} trailing', "line 1"),
    ],
)
async def test_invalid_json(world: World, data: bytes, says: str) -> None:
    assert says in await invalid(world, "invalid_json", None, data)


@pytest.mark.parametrize("model", [{}, {"model": None}, {"model": ""}])
async def test_missing_model(world: World, model: dict[str, Any]) -> None:
    document = {"messages": [{"role": "user", "content": "hi"}], **model}
    assert "'model'" in await invalid(world, "missing_model", "model", document)


@pytest.mark.parametrize(
    ("messages", "param", "says"),
    [
        (None, "messages", "is missing"),
        ([], "messages", "empty list"),
        ("hi", "messages", "a string"),
        ({"role": "user"}, "messages", "an object"),
        ([7], "messages[0]", "a number"),
        ([{"role": "user", "content": "hi"}, {"content": "hi"}], "messages[1].role", "role"),
        ([{"role": 7}], "messages[0].role", "role"),
    ],
)
async def test_invalid_messages(world: World, messages: Any, param: str, says: str) -> None:
    message = await invalid(world, "invalid_messages", param, {**body(), "messages": messages})
    assert says in message
    assert "messages" in message


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("model", 7, "a number"),
        ("model", ["gpt-4o"], "a list"),
        ("model", "x" * 1000, "300"),
        ("model", "gpt\n4o", "printable"),
        ("stream", "yes", "a string"),
        ("stream", 1, "a number"),
        ("stream_options", [], "list"),
        ("stream_options", "include_usage", "a string"),
        ("max_tokens", "100", "a string"),
        ("max_tokens", 0, "0"),
        ("max_tokens", -5, "-5"),
        ("max_tokens", 1.5, "1.5"),
        ("max_tokens", True, "True"),
        ("max_completion_tokens", {}, "an object"),
    ],
)
async def test_invalid_parameter(world: World, field: str, value: Any, says: str) -> None:
    message = await invalid(world, "invalid_parameter", field, {**body(), field: value})
    assert f"'{field}'" in message
    assert says in message


async def test_invalid_parameter_within_stream_options(world: World) -> None:
    document = {**body(), "stream": True, "stream_options": {"include_usage": "yes"}}
    assert "a string" in await invalid(world, "invalid_parameter", "stream_options.include_usage", document)


async def test_unknown_policy(world: World) -> None:
    message = await invalid(world, "unknown_policy", "X-Arbstr-Policy", body(), X_Arbstr_Policy="cod")
    assert "'cod'" in message
    assert "code" in message
    assert "thrift" in message


async def test_model_not_allowed(world: World) -> None:
    message = await invalid(world, "model_not_allowed", "model", body(), X_Arbstr_Policy="code")
    assert "'code'" in message
    assert "'gpt-4o'" in message
    assert "claude-3.5-sonnet" in message


async def test_no_provider_within_policy(world: World) -> None:
    message = await invalid(world, "no_provider_within_policy", "model", body(), X_Arbstr_Policy="thrift")
    assert "'thrift'" in message
    assert "alpha" in message


# 401, 403: strangers have no row


TOKEN = "a-token-of-some-length"


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x"]
)
async def test_invalid_api_key(world: World, authorization: str | None) -> None:
    alpha = await world.sells("alpha")
    arbstr = await world.opens(server={"auth_token": TOKEN})
    headers = {} if authorization is None else {"Authorization": authorization}
    for answer in (await arbstr.chat(headers=headers), await arbstr.get("/v1/models", headers=headers)):
        assert answer.told == (401, "authentication_error", "invalid_api_key")
        assert answer.headers["X-Arbstr-Request-Id"]
        assert TOKEN not in answer.body.decode()
    assert not alpha.requests
    assert not arbstr.events


@pytest.mark.parametrize("authorization", [f"Bearer {TOKEN}", f"bearer {TOKEN}", f"Bearer  {TOKEN}"])
async def test_the_right_token_passes_and_goes_no_further(world: World, authorization: str) -> None:
    alpha = await world.sells("alpha")
    arbstr = await world.opens(server={"auth_token": TOKEN})
    assert (await arbstr.chat(headers={"Authorization": authorization})).status == 200
    assert TOKEN not in str(alpha.requests[0].raw_headers)
    assert (await arbstr.get("/health")).status == 200  # which needs none


async def test_forbidden_host(world: World) -> None:
    await world.sells("alpha")
    arbstr = await world.opens()
    answer = await arbstr.chat(headers={"Host": "evil.test"})
    assert answer.told == (403, "permission_error", "forbidden_host")
    assert "evil.test" in answer.error["message"]
    assert not arbstr.events


async def test_forbidden_origin(world: World) -> None:
    await world.sells("alpha")
    arbstr = await world.opens()
    answer = await arbstr.chat(headers={"Origin": "http://evil.test"})
    assert answer.told == (403, "permission_error", "forbidden_origin")
    assert not arbstr.events


# 402


async def test_budget_exceeded(world: World) -> None:
    alpha = await world.sells("alpha")
    arbstr = await world.opens(budget={"max_sats_per_day": 1})
    answer = await arbstr.chat()
    message = await refused(arbstr, answer, 402, "budget_error", "budget_exceeded")
    assert "day" in message
    assert "1 sats" in message
    assert "resets at" in message
    assert not alpha.requests


async def test_budget_of_a_policy_exceeded(world: World) -> None:
    await world.sells("alpha")
    rule = {"name": "code", "keywords": ["code"], "max_sats_per_hour": 1}
    arbstr = await world.opens(policies={"rules": [rule]})
    message = await refused(arbstr, await arbstr.chat("code"), 402, "budget_error", "budget_exceeded")
    assert "'code'" in message
    assert "hour" in message
    assert (await arbstr.chat("hello")).status == 200


# 404, 405


async def test_model_not_found(world: World) -> None:
    await world.sells("alpha", models=("gpt-4o", "o3"))
    await world.sells("beta", models=("claude-3.5-sonnet",))
    arbstr = await world.opens()
    answer = await arbstr.chat(model="gpt-5")
    message = await refused(arbstr, answer, 404, "invalid_request_error", "model_not_found")
    assert answer.error["param"] == "model"
    for name in ("'gpt-5'", "gpt-4o", "o3", "claude-3.5-sonnet"):
        assert name in message
    assert (await arbstr.row(answer))["model"] == "gpt-5"


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/completions", "/v1/chat/completions/", "/v1/models/", "/%00", "/%ff"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_not_found(world: World, path: str, method: str) -> None:
    arbstr = await world.opens()
    answer = await arbstr.get(path, method=method)
    assert answer.told == (404, "invalid_request_error", "not_found")
    assert answer.headers["X-Arbstr-Request-Id"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/chat/completions", "POST"),
        ("PUT", "/v1/chat/completions", "POST"),
        ("DELETE", "/v1/models", "GET, HEAD"),
        ("POST", "/health", "GET, HEAD"),
        ("PATCH", "/v1/stats", "GET, HEAD"),
    ],
)
async def test_method_not_allowed(world: World, method: str, path: str, allowed: str) -> None:
    arbstr = await world.opens()
    answer = await arbstr.get(path, method=method)
    assert answer.told == (405, "invalid_request_error", "method_not_allowed")
    assert answer.headers["Allow"] == allowed
    assert answer.headers["X-Arbstr-Request-Id"]
    assert method in answer.error["message"]


# 413, 415


async def test_request_too_large(world: World) -> None:
    alpha = await world.sells("alpha")
    arbstr = await world.opens(server={"max_request_mb": 0.001})
    answer = await arbstr.chat("x" * 2000)
    message = await refused(arbstr, answer, 413, "invalid_request_error", "request_too_large")
    assert "1,048 bytes" in message
    assert not alpha.requests


async def test_request_too_large_without_a_length(world: World) -> None:
    await world.sells("alpha")
    arbstr = await world.opens(server={"max_request_mb": 0.001})

    async def parts() -> Any:
        for _ in range(10):
            yield b"x" * 1000

    async with arbstr.session.post(
        arbstr.url + "/v1/chat/completions", data=parts(), headers={"Content-Type": "application/json"}
    ) as response:
        answer = Answer(response.status, response.headers, await response.read())
    await refused(arbstr, answer, 413, "invalid_request_error", "request_too_large")


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "json", ""]
)
async def test_unsupported_media_type(world: World, media_type: str) -> None:
    await world.sells("alpha")
    arbstr = await world.opens()
    answer = await arbstr.chat(headers={"Content-Type": media_type})
    message = await refused(arbstr, answer, 415, "invalid_request_error", "unsupported_media_type")
    assert "application/json" in message


@pytest.mark.parametrize(
    "media_type", ["application/json; charset=utf-8", "Application/JSON", "application/vnd.api+json"]
)
async def test_other_spellings_of_json_pass(world: World, media_type: str) -> None:
    await world.sells("alpha")
    arbstr = await world.opens()
    assert (await arbstr.chat(headers={"Content-Type": media_type})).status == 200


async def test_a_body_that_is_not_compressed_as_it_says(world: World) -> None:
    await world.sells("alpha")
    arbstr = await world.opens()
    answer = await arbstr.chat(headers={"Content-Encoding": "gzip"})
    assert answer.status in (400, 415)
    assert answer.error["type"] == "invalid_request_error"


# 429


async def test_rate_limited(world: World) -> None:
    await world.sells("alpha")
    arbstr = await world.opens(server={"rate_limit_rps": 0.5})
    assert (await arbstr.chat()).status == 200
    answer = await arbstr.chat()
    message = await refused(arbstr, answer, 429, "rate_limit_error", "rate_limited")
    assert "0.5" in message
    assert answer.headers["Retry-After"] == "2"


# 500


async def test_internal_error(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(self: Router, request: object) -> None:
        raise RuntimeError("details of arbstr's inside")

    monkeypatch.setattr(Router, "route", stumble)
    await world.sells("alpha")
    arbstr = await world.opens()
    answer = await arbstr.chat()
    message = await refused(arbstr, answer, 500, "server_error", "internal_error")
    assert answer.headers["X-Arbstr-Request-Id"] in message
    assert "inside" not in answer.body.decode()
    assert "details of arbstr's inside" in arbstr.log  # with its traceback
    assert answer.headers["X-Arbstr-Request-Id"] in arbstr.log


async def test_internal_error_within_a_stream(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def stumble(self: StreamAnswer, patience_s: float) -> bytes:
        raise RuntimeError("details of arbstr's inside")

    monkeypatch.setattr(StreamAnswer, "read", stumble)
    await world.sells("alpha", sse_reply(chunk("Hel"), Move.NEVER))
    arbstr = await world.opens()
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
async def test_all_providers_failed(world: World, stream: bool) -> None:
    await world.sells("alpha", error_reply(500, "the disk is full"))
    await world.sells("beta", [Move.RESET])
    await world.sells("gamma", reply(b"<h1>Hi</h1>"))
    arbstr = await world.opens()
    answer = await arbstr.chat(stream=stream)
    message = await refused(arbstr, answer, 502, "upstream_error", "all_providers_failed")
    assert "'alpha' was tried 3 times, last: HTTP 500: the disk is full" in message
    assert "'beta' was tried 3 times" in message
    assert "'gamma' was tried once" in message
    assert answer.headers["X-Arbstr-Retries"] == "3/alpha, 3/beta, 1/gamma"
    assert answer.headers["X-Arbstr-Provider"] == "gamma"
    assert (await arbstr.row(answer))["provider"] == "gamma"


@pytest.mark.parametrize("unusable", UNUSABLE, ids=["HTML", "a list", "an error"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_bad_upstream_response(world: World, unusable: list[Part], stream: bool) -> None:
    await world.sells("alpha", unusable)
    await world.sells("beta", unusable)
    arbstr = await world.opens()
    answer = await arbstr.chat(stream=stream)
    message = await refused(arbstr, answer, 502, "upstream_error", "bad_upstream_response")
    assert "'alpha' was tried once" in message
    assert "'beta' was tried once" in message


async def test_bad_upstream_response_of_a_stream_that_begins_with_an_error(world: World) -> None:
    await world.sells("alpha", sse_reply(event({"error": {"message": "out of coffee"}})))
    arbstr = await world.opens()
    answer = await arbstr.chat(stream=True)
    message = await refused(arbstr, answer, 502, "upstream_error", "bad_upstream_response")
    assert "out of coffee" in message


async def test_one_other_failure_makes_it_all_providers_failed(world: World) -> None:
    await world.sells("alpha", reply(b"<h1>Hi</h1>"))
    await world.sells("beta", error_reply(402))
    arbstr = await world.opens()
    assert (await arbstr.chat()).error["code"] == "all_providers_failed"


async def test_a_stale_catalogue_everywhere_is_all_providers_failed(world: World) -> None:
    await world.sells("alpha", error_reply(400, "no such model", kind="invalid_model"))
    arbstr = await world.opens()
    message = await refused(arbstr, await arbstr.chat(), 502, "upstream_error", "all_providers_failed")
    assert "no such model" in message


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_upstream_timeout(world: World, stream: bool) -> None:
    await world.sells("alpha", [Move.NEVER], timeouts={"first_byte": 0.02})
    await world.sells("beta", [head(200, ("Content-Length", "9")), Move.NEVER], timeouts={"first_byte": 0.02})
    arbstr = await world.opens()
    answer = await arbstr.chat(stream=stream)
    message = await refused(arbstr, answer, 504, "upstream_error", "upstream_timeout")
    assert "'alpha' was tried once" in message
    assert "0.02 s" in message
    assert answer.headers["X-Arbstr-Retries"] == "1/alpha, 1/beta"


async def test_one_other_failure_makes_it_no_timeout(world: World) -> None:
    await world.sells("alpha", [Move.NEVER], timeouts={"first_byte": 0.02})
    await world.sells("beta", error_reply(401))
    arbstr = await world.opens()
    assert (await arbstr.chat()).told == (502, "upstream_error", "all_providers_failed")


# 503


async def test_no_healthy_provider(world: World) -> None:
    await world.sells("alpha", error_reply(401))
    arbstr = await world.opens(breaker={"failure_threshold": 1, "open_for": 30})
    await arbstr.chat()
    answer = await arbstr.chat()
    message = await refused(arbstr, answer, 503, "upstream_error", "no_healthy_provider")
    assert "alpha" in message
    assert 1 <= int(answer.headers["Retry-After"]) <= 37
    assert (await arbstr.row(answer))["model"] == "gpt-4o"


async def test_no_healthy_provider_when_all_are_out_of_rotation(world: World) -> None:
    await world.sells("alpha")
    arbstr = await world.opens()
    arbstr.source.set_in_rotation("alpha", in_rotation=False)
    answer = await arbstr.chat()
    await refused(arbstr, answer, 503, "upstream_error", "no_healthy_provider")
    assert int(answer.headers["Retry-After"]) >= 1
    arbstr.source.set_in_rotation("alpha", in_rotation=True)
    assert (await arbstr.chat()).status == 200


async def test_overloaded(world: World) -> None:
    go_on = asyncio.Event()
    alpha = await world.sells("alpha", [go_on, *json_reply({"choices": []})])
    arbstr = await world.opens(server={"max_in_flight": 2})
    tasks = [await arbstr.asks() for _ in range(2)]
    await alpha.asked(2)
    answer = await arbstr.chat()
    message = await refused(arbstr, answer, 503, "upstream_error", "overloaded")
    assert "2" in message
    assert int(answer.headers["Retry-After"]) >= 1
    go_on.set()
    assert {(await task).status for task in tasks} == {200}
    assert (await arbstr.chat()).status == 200


async def test_a_provider_at_its_own_limit_is_passed_over(world: World) -> None:
    go_on = asyncio.Event()
    alpha = await world.sells("alpha", [go_on, *json_reply({"choices": []})], max_in_flight=1)
    await world.sells("beta")
    arbstr = await world.opens()
    task = await arbstr.asks()
    await alpha.asked()
    assert (await arbstr.chat()).headers["X-Arbstr-Provider"] == "beta"
    go_on.set()
    assert (await task).headers["X-Arbstr-Provider"] == "alpha"


async def test_the_log_level_for_a_clients_mistake_is_no_error(world: World) -> None:
    arbstr = await world.opens()
    await arbstr.send(b"nonsense")
    await arbstr.get("/nowhere")
    assert all(line.level < logging.ERROR for line in arbstr.ring.since())
