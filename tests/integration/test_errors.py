"""Errors that are the client's: status, type and code, what the message says, and the row."""

from __future__ import annotations

import gzip
import json
import logging
import zlib
from typing import Any

import pytest

from tests.support.harness import Answer, ProxyHarness, body

RULES = {
    "rules": [
        {"name": "code", "allowed_models": ["claude-3.5-sonnet"]},
        {"name": "thrift", "max_sats_per_1k_output": 5},
    ]
}


async def invalid(harness: ProxyHarness, code: str, param: str | None, document: Any, **headers: str) -> str:
    """The message of a 400; `document` is what is sent, as JSON or in bytes."""
    alpha = await harness.add_provider("alpha")
    arbstr = await harness.start(policies=RULES)
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    answer = await arbstr.send(data, headers={name.replace("_", "-"): value for name, value in headers.items()})
    message = await arbstr.refused(answer, 400, "invalid_request_error", code)
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
async def test_invalid_json(harness: ProxyHarness, data: bytes, says: str) -> None:
    assert says in await invalid(harness, "invalid_json", None, data)


@pytest.mark.parametrize("model", [{}, {"model": None}, {"model": ""}])
async def test_missing_model(harness: ProxyHarness, model: dict[str, Any]) -> None:
    document = {"messages": [{"role": "user", "content": "hi"}], **model}
    assert "'model'" in await invalid(harness, "missing_model", "model", document)


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
async def test_invalid_messages(harness: ProxyHarness, messages: Any, param: str, says: str) -> None:
    message = await invalid(harness, "invalid_messages", param, {**body(), "messages": messages})
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
async def test_invalid_parameter(harness: ProxyHarness, field: str, value: Any, says: str) -> None:
    message = await invalid(harness, "invalid_parameter", field, {**body(), field: value})
    assert f"'{field}'" in message
    assert says in message


async def test_invalid_parameter_within_stream_options(harness: ProxyHarness) -> None:
    document = {**body(), "stream": True, "stream_options": {"include_usage": "yes"}}
    assert "a string" in await invalid(harness, "invalid_parameter", "stream_options.include_usage", document)


async def test_unknown_policy(harness: ProxyHarness) -> None:
    message = await invalid(harness, "unknown_policy", "X-Arbstr-Policy", body(), X_Arbstr_Policy="cod")
    assert "'cod'" in message
    assert "code" in message
    assert "thrift" in message


async def test_model_not_allowed(harness: ProxyHarness) -> None:
    message = await invalid(harness, "model_not_allowed", "model", body(), X_Arbstr_Policy="code")
    assert "'code'" in message
    assert "'gpt-4o'" in message
    assert "claude-3.5-sonnet" in message


async def test_no_provider_within_policy(harness: ProxyHarness) -> None:
    message = await invalid(harness, "no_provider_within_policy", "model", body(), X_Arbstr_Policy="thrift")
    assert "'thrift'" in message
    assert "alpha" in message


# 401, 403: strangers have no row


TOKEN = "a-token-of-some-length"


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x"]
)
async def test_invalid_api_key(harness: ProxyHarness, authorization: str | None) -> None:
    alpha = await harness.add_provider("alpha")
    arbstr = await harness.start(server={"auth_token": TOKEN})
    headers = {} if authorization is None else {"Authorization": authorization}
    for answer in (await arbstr.chat(headers=headers), await arbstr.get("/v1/models", headers=headers)):
        assert answer.refusal == (401, "authentication_error", "invalid_api_key")
        assert answer.headers["X-Arbstr-Request-Id"]
        assert TOKEN not in answer.body.decode()
    assert not alpha.requests
    assert not arbstr.events


@pytest.mark.parametrize(
    "path",
    ["/v1/models", "/providers", "/v1/stats", "/v1/requests", "/v1/requests/some-id", "/openapi.json", "/nowhere"],
)
async def test_every_endpoint_but_health_wants_the_token(harness: ProxyHarness, path: str) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start(server={"auth_token": TOKEN})
    assert (await arbstr.get(path)).refusal == (401, "authentication_error", "invalid_api_key")
    assert (await arbstr.get(path, headers={"Authorization": f"Bearer {TOKEN}"})).status in (200, 404)


async def test_the_cost_endpoint_wants_the_token(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start(server={"auth_token": TOKEN})
    assert (await arbstr.get("/v1/cost", method="POST")).refusal == (401, "authentication_error", "invalid_api_key")


@pytest.mark.parametrize("authorization", [f"Bearer {TOKEN}", f"bearer {TOKEN}", f"Bearer  {TOKEN}"])
async def test_the_right_token_passes_and_goes_no_further(harness: ProxyHarness, authorization: str) -> None:
    alpha = await harness.add_provider("alpha")
    arbstr = await harness.start(server={"auth_token": TOKEN})
    assert (await arbstr.chat(headers={"Authorization": authorization})).status == 200
    assert TOKEN not in str(alpha.requests[0].raw_headers)
    assert (await arbstr.get("/health")).status == 200  # which needs none


async def test_forbidden_host(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start()
    answer = await arbstr.chat(headers={"Host": "evil.test"})
    assert answer.refusal == (403, "permission_error", "forbidden_host")
    assert "evil.test" in answer.error["message"]
    assert not arbstr.events


async def test_forbidden_origin(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start()
    answer = await arbstr.chat(headers={"Origin": "http://evil.test"})
    assert answer.refusal == (403, "permission_error", "forbidden_origin")
    assert not arbstr.events


# 402


async def test_budget_exceeded(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha")
    arbstr = await harness.start(budget={"max_sats_per_day": 1})
    answer = await arbstr.chat()
    message = await arbstr.refused(answer, 402, "budget_error", "budget_exceeded")
    assert "day" in message
    assert "1 sats" in message
    assert "resets at" in message
    assert not alpha.requests


async def test_budget_of_a_policy_exceeded(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    rule = {"name": "code", "keywords": ["code"], "max_sats_per_hour": 1}
    arbstr = await harness.start(policies={"rules": [rule]})
    message = await arbstr.refused(await arbstr.chat("code"), 402, "budget_error", "budget_exceeded")
    assert "'code'" in message
    assert "hour" in message
    assert (await arbstr.chat("hello")).status == 200


# 404, 405


async def test_model_not_found(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", models=("gpt-4o", "o3"))
    await harness.add_provider("beta", models=("claude-3.5-sonnet",))
    arbstr = await harness.start()
    answer = await arbstr.chat(model="gpt-5")
    message = await arbstr.refused(answer, 404, "invalid_request_error", "model_not_found")
    assert answer.error["param"] == "model"
    for name in ("'gpt-5'", "gpt-4o", "o3", "claude-3.5-sonnet"):
        assert name in message
    assert (await arbstr.row(answer))["model"] == "gpt-5"


@pytest.mark.parametrize("path", ["/v1", "/v1/assistants", "/v1/chat/completions/", "/v1/models/", "/%00", "/%ff"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_not_found(harness: ProxyHarness, path: str, method: str) -> None:
    arbstr = await harness.start()
    answer = await arbstr.get(path, method=method)
    assert answer.refusal == (404, "invalid_request_error", "not_found")
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
async def test_method_not_allowed(harness: ProxyHarness, method: str, path: str, allowed: str) -> None:
    arbstr = await harness.start()
    answer = await arbstr.get(path, method=method)
    assert answer.refusal == (405, "invalid_request_error", "method_not_allowed")
    assert answer.headers["Allow"] == allowed
    assert answer.headers["X-Arbstr-Request-Id"]
    assert method in answer.error["message"]


# 413, 415


async def test_request_too_large(harness: ProxyHarness) -> None:
    alpha = await harness.add_provider("alpha")
    arbstr = await harness.start(server={"max_request_mb": 0.001})
    answer = await arbstr.chat("x" * 2000)
    message = await arbstr.refused(answer, 413, "invalid_request_error", "request_too_large")
    assert "1,048 bytes" in message
    assert not alpha.requests


async def test_request_too_large_without_a_length(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start(server={"max_request_mb": 0.001})

    async def parts() -> Any:
        for _ in range(10):
            yield b"x" * 1000

    async with arbstr.session.post(
        arbstr.url + "/v1/chat/completions", data=parts(), headers={"Content-Type": "application/json"}
    ) as response:
        answer = Answer(response.status, response.headers, await response.read())
    await arbstr.refused(answer, 413, "invalid_request_error", "request_too_large")


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "json", ""]
)
async def test_unsupported_media_type(harness: ProxyHarness, media_type: str) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start()
    answer = await arbstr.chat(headers={"Content-Type": media_type})
    message = await arbstr.refused(answer, 415, "invalid_request_error", "unsupported_media_type")
    assert "application/json" in message


@pytest.mark.parametrize(
    "media_type", ["application/json; charset=utf-8", "Application/JSON", "application/vnd.api+json"]
)
async def test_content_types_that_mean_json_pass(harness: ProxyHarness, media_type: str) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start()
    assert (await arbstr.chat(headers={"Content-Type": media_type})).status == 200


async def test_a_body_that_is_not_compressed_as_it_says(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start()
    answer = await arbstr.chat(headers={"Content-Encoding": "gzip"})
    assert answer.status in (400, 415)
    assert answer.error["type"] == "invalid_request_error"


@pytest.mark.parametrize("encoding", ["zstd", "br", "gzip, br", "x-unknown", "Z" * 300])
async def test_a_body_in_an_encoding_that_arbstr_does_not_read(harness: ProxyHarness, encoding: str) -> None:
    alpha = await harness.add_provider("alpha")
    arbstr = await harness.start()
    answer = await arbstr.chat(headers={"Content-Encoding": encoding})
    message = await arbstr.refused(answer, 415, "invalid_request_error", "unsupported_media_type")
    assert encoding.lower()[:30] in message
    assert "gzip" in message
    assert not alpha.requests


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "GZIP"])
async def test_a_compressed_body_is_read(harness: ProxyHarness, encoding: str) -> None:
    alpha = await harness.add_provider("alpha")
    arbstr = await harness.start()
    sent = json.dumps(body("hi" * 100_000)).encode()
    packed = zlib.compress(sent) if encoding == "deflate" else gzip.compress(sent)
    assert (await arbstr.send(packed, headers={"Content-Encoding": encoding})).status == 200
    assert alpha.requests[0].body == sent
    assert "content-encoding" not in {name.lower() for name in alpha.requests[0].headers}


async def test_a_compressed_body_that_unfolds_to_more_than_is_allowed(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start(server={"max_request_mb": 1})
    answer = await arbstr.send(gzip.compress(bytes(50_000_000)), headers={"Content-Encoding": "gzip"})
    await arbstr.refused(answer, 413, "invalid_request_error", "request_too_large")


async def test_a_compressed_body_that_ends_early(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start()
    packed = gzip.compress(json.dumps(body()).encode())[:-9]
    answer = await arbstr.send(packed, headers={"Content-Encoding": "gzip"})
    await arbstr.refused(answer, 415, "invalid_request_error", "unsupported_media_type")


# 429


async def test_rate_limited(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start(server={"rate_limit_rps": 0.5})
    assert (await arbstr.chat()).status == 200
    answer = await arbstr.chat()
    message = await arbstr.refused(answer, 429, "rate_limit_error", "rate_limited")
    assert "0.5" in message
    assert answer.headers["Retry-After"] == "2"


async def test_the_log_level_for_a_clients_mistake_is_no_error(harness: ProxyHarness) -> None:
    arbstr = await harness.start()
    await arbstr.send(b"nonsense")
    await arbstr.get("/nowhere")
    assert all(line.level < logging.ERROR for line in arbstr.ring.since())
