"""What arbstr really answers fits what `/openapi.json` says of it, field by field."""

from __future__ import annotations

import json
import re
from typing import Any, get_args

import jsonschema_rs
import pytest

from arbstr.ledger.model import GroupBy
from tests.support.harness import Answer, Arbstr, ProxyHarness
from tests.support.provider import completion, error_reply, json_reply, sse_reply, stream_events

GROUPS = [f"/v1/stats?group_by={group_by}" for group_by in get_args(GroupBy)]
PATHS = ["/", "/health", "/providers", "/v1/models", "/v1/stats", "/v1/requests", "/openapi.json", *GROUPS]


async def busy(harness: ProxyHarness) -> Arbstr:
    """An arbstr that has seen an answer, a stream with a fallback, a failure of every provider, and a refusal."""
    failing = (error_reply(500), error_reply(500))
    answers = json_reply(completion()), sse_reply(*stream_events("a"))
    own = [{"id": "gpt-4o", "output_rate": 40}]
    await harness.add_provider("alpha", answers[0], *failing, models=own)
    await harness.add_provider("beta", answers[1], error_reply(500), input_rate=20, output_rate=60)
    rule = {"name": "code", "keywords": ["code"], "max_sats_per_1k_output": 1000}
    arbstr = await harness.start(retry={"backoff": 0, "max_retries": 0}, policies={"rules": [rule]})
    for fields in ({"content": "code"}, {"stream": True}, {}, {"model": "nonsense"}):
        await arbstr.row(await arbstr.chat(**fields))
    return arbstr


async def described(arbstr: Arbstr) -> dict[str, Any]:
    document: dict[str, Any] = (await arbstr.get("/openapi.json")).json
    return document


def check(document: Any, shape: dict[str, Any], description: dict[str, Any]) -> None:
    """Validate a body. Raises `jsonschema_rs.ValidationError`, naming the field."""
    jsonschema_rs.Draft202012Validator({**shape, "components": description["components"]}).validate(document)


def shape_of(description: dict[str, Any], template: str, answer: Answer, method: str = "get") -> dict[str, Any]:
    response = description["paths"][template][method]["responses"][str(answer.status)]
    shape: dict[str, Any] = response["content"]["application/json"]["schema"]
    return shape


@pytest.mark.parametrize("path", PATHS)
async def test_answers_fit_their_description(harness: ProxyHarness, path: str) -> None:
    arbstr = await busy(harness)
    description, answer = await described(arbstr), await arbstr.get(path)
    assert answer.status == 200
    check(answer.json, shape_of(description, path.partition("?")[0], answer), description)


async def test_every_request_in_full_fits_its_description(harness: ProxyHarness) -> None:
    arbstr = await busy(harness)
    description, rows = await described(arbstr), await arbstr.rows(4)
    assert [row["success"] for row in rows] == [False, False, True, True]
    for row in rows:
        answer = await arbstr.get(f"/v1/requests/{row['request_id']}")
        check(answer.json, shape_of(description, "/v1/requests/{request_id}", answer), description)


async def test_a_model_and_an_empty_window_fit_their_descriptions(harness: ProxyHarness) -> None:
    arbstr = await busy(harness)
    description = await described(arbstr)
    model = await arbstr.get("/v1/models/gpt-4o")
    check(model.json, shape_of(description, "/v1/models/{model}", model), description)
    empty = await arbstr.get("/v1/stats?since=2001-01-01T00:00:00Z&until=2001-01-02T00:00:00Z")
    assert empty.json["empty"]
    check(empty.json, shape_of(description, "/v1/stats", empty), description)


async def test_what_a_request_would_cost_fits_its_description(harness: ProxyHarness) -> None:
    arbstr = await busy(harness)
    asked = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}
    async with arbstr.session.post(f"{arbstr.url}/v1/cost", json=asked) as response:
        answer = Answer(response.status, response.headers, await response.read())
    description = await described(arbstr)
    check(answer.json, shape_of(description, "/v1/cost", answer, "post"), description)


@pytest.mark.parametrize("path", ["/v1/stats?range=nonsense", "/v1/models/nonsense", "/v1/requests/nonsense"])
async def test_errors_fit_their_description(harness: ProxyHarness, path: str) -> None:
    arbstr = await busy(harness)
    description, answer = await described(arbstr), await arbstr.get(path)
    templates = {"/v1/models/nonsense": "/v1/models/{model}", "/v1/requests/nonsense": "/v1/requests/{request_id}"}
    template = templates.get(path, path.partition("?")[0])
    check(answer.json, shape_of(description, template, answer), description)


async def test_the_cost_event_of_a_stream_fits_its_description(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", sse_reply(*stream_events("a")))
    arbstr = await harness.start()
    event = (await arbstr.chat(stream=True)).events[-2]
    check(
        json.loads(event.removeprefix(b"data: ")), {"$ref": "#/components/schemas/CostEvent"}, await described(arbstr)
    )


async def test_a_body_with_an_undescribed_field_does_not_fit(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start()
    health = {**(await arbstr.get("/health")).json, "undescribed": 1}
    with pytest.raises(jsonschema_rs.ValidationError, match="undescribed"):
        check(health, {"$ref": "#/components/schemas/Health"}, await described(arbstr))


async def test_every_endpoint_is_described_and_none_that_does_not_exist(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start()
    served = re.findall(r"([A-Z]+) (/[^ ,…]*)", (await arbstr.get("/nowhere")).error["message"].rstrip("."))
    paths = (await described(arbstr))["paths"]
    listed = [(method.upper(), path) for path, methods in paths.items() for method in methods]
    assert sorted((method, re.sub(r"\{.*", "", path)) for method, path in listed) == sorted(served)
    assert set((await arbstr.get("/")).json["endpoints"]) == {f"{method} {path}" for method, path in listed}
