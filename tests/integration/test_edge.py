"""What crosses the edge besides requests: first visits, base URLs that lack something, and those who are refused."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from arbstr.server import app
from tests.support.harness import Answer, Arbstr, ProxyHarness

TOKEN = "client-token-0123456789"


async def test_a_first_visit_says_what_this_is_and_how_to_point_a_client_at_it(harness: ProxyHarness) -> None:
    arbstr = await harness.start(server={"auth_token": TOKEN})
    for path in ("/", "/health"):
        assert (await arbstr.get(path)).status in (200, 503)
    welcome = (await arbstr.get("/")).json
    assert welcome["base_url"] == f"{arbstr.url}/v1"
    assert welcome["base_url"] in welcome["how"]
    assert "POST /v1/chat/completions" in welcome["endpoints"]
    assert (await arbstr.get("/", method="HEAD")).status == 200
    assert (await arbstr.get("/", method="POST")).status in (401, 405)


async def test_a_browser_gets_it_as_text(harness: ProxyHarness) -> None:
    arbstr = await harness.start()
    browser = await arbstr.get("/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert browser.headers["Content-Type"].startswith("text/plain")
    assert f"OPENAI_BASE_URL={arbstr.url}/v1," in browser.body.decode()
    assert "POST /v1/chat/completions" in browser.body.decode()
    for accepted in ("*/*", "application/json", "application/json, text/html"):
        assert (await arbstr.get("/", headers={"Accept": accepted})).json["name"] == "arbstr"


async def test_what_passes_through_is_listed_too(harness: ProxyHarness) -> None:
    arbstr = await harness.start(server={"passthrough": ["images/*", "rerank", "v2/rank"]})
    listed = [f"/v1/{path}" for path in ("images/{path}", "rerank", "v2/rank")]
    assert [path for path in listed if f"POST {path}" in (await arbstr.get("/")).json["endpoints"]] == listed
    described = (await arbstr.get("/openapi.json")).json["paths"]
    assert [path for path in listed if "post" in described[path]] == listed
    assert "/v1/audio/{path}" not in described


RULES = {"rules": [{"name": "mini only", "allowed_models": ["gpt-4o-mini"]}, {"name": "any"}]}


async def post(arbstr: Arbstr, path: str, body: dict[str, Any], **headers: str) -> Answer:
    async with arbstr.session.post(f"{arbstr.url}{path}", json=body, headers=headers) as response:
        return Answer(response.status, response.headers, await response.read())


@pytest.mark.parametrize("version", ["/v1", ""], ids=["with version", "without"])
async def test_a_path_names_a_policy_where_a_client_sends_no_headers(harness: ProxyHarness, version: str) -> None:
    await harness.add_provider("alpha", models=("gpt-4o", "gpt-4o-mini"))
    arbstr = await harness.start(policies=RULES, aliases={"fast": "gpt-4o-mini"})
    base = f"/policy/mini%20only{version}"
    answer = await post(arbstr, f"{base}/chat/completions", BODY | {"model": "fast"})
    assert (answer.status, answer.headers["X-Arbstr-Policy"]) == (200, "mini only")
    assert (await arbstr.row(answer))["policy"] == "mini only"
    refused = await post(arbstr, f"{base}/chat/completions", BODY)
    assert refused.refusal == (400, "invalid_request_error", "model_not_allowed")
    assert (await post(arbstr, f"{base}/cost", BODY)).refusal == refused.refusal
    models = (await arbstr.get(f"{base}/models")).json["data"]
    assert [model["id"] for model in models] == ["gpt-4o-mini", "fast"], "what the policy allows"
    for path in ("/models/gpt-4o", "/stats", "/requests"):
        assert (await arbstr.get(base + path)).status == 200


async def test_a_header_names_a_policy_before_a_path_does(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start(policies=RULES)
    answer = await post(arbstr, "/policy/mini%20only/v1/chat/completions", BODY, **{"X-Arbstr-Policy": "any"})
    assert answer.headers["X-Arbstr-Policy"] == "any"


async def test_a_path_that_names_no_policy_is_refused_and_a_post_has_its_row(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start(policies=RULES)
    unknown = (400, "invalid_request_error", "unknown_policy")
    for path in ("/v1/models", "/models/gpt-4o", "/v1/stats", "/health", "/"):
        answer = await arbstr.get(f"/policy/nonsense{path}")
        assert answer.refusal == unknown
        assert "mini only, any" in answer.error["message"]
    answer = await post(arbstr, "/policy/nonsense/v1/chat/completions", BODY)
    assert answer.refusal == unknown
    assert (await arbstr.row(answer))["error"]["status"] == 400
    assert (await arbstr.get("/policy/any/v1/nowhere")).refusal[0] == 404
    assert (await arbstr.get("/policy/any/v1/chat/completions")).refusal[0] == 405


async def test_the_page_below_a_policy_has_the_base_url_of_that_policy(harness: ProxyHarness) -> None:
    arbstr = await harness.start(policies=RULES)
    for path in ("/policy/mini%20only", "/policy/mini%20only/"):
        assert (await arbstr.get(path)).json["base_url"] == f"{arbstr.url}/policy/mini%20only/v1"


async def test_a_base_url_without_its_version_works(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start()
    for path in ("/models", "/models/gpt-4o", "/stats", "/requests"):
        answer = await arbstr.get(path)
        assert answer.status == 200
        assert set(answer.json) == set((await arbstr.get(f"/v1{path}")).json)
    async with arbstr.session.post(f"{arbstr.url}/chat/completions", json=BODY) as response:
        assert response.status == 200
    await arbstr.rows(1)
    async with arbstr.session.post(f"{arbstr.url}/cost", json=BODY) as response:
        assert response.status == 200


async def test_a_path_that_is_not_served_says_which_are(harness: ProxyHarness) -> None:
    arbstr = await harness.start()
    answer = await arbstr.get("/v1/assistants")
    assert answer.refusal == (404, "invalid_request_error", "not_found")
    assert "POST /v1/chat/completions" in answer.error["message"]


@pytest.mark.parametrize(
    ("path", "headers", "says"),
    [
        ("/health", {"Host": "evil.test"}, "refused GET /health from 127.0.0.1: 403 forbidden_host"),
        ("/health", {"Origin": "http://evil.test"}, "403 forbidden_origin: Origin http://evil.test is not allowed"),
        ("/v1/models", {}, "refused GET /v1/models from 127.0.0.1: 401 invalid_api_key"),
        ("/v1/models", {"Authorization": "Bearer wrong-9876543210"}, "401 invalid_api_key"),
        ("/nowhere%0a%1b", {"Authorization": f"Bearer {TOKEN}"}, "404 not_found: There is no endpoint /nowhere"),
        ("/?key=4242424242", {"Host": "evil.test"}, "refused GET / from"),
    ],
)
async def test_who_is_refused_leaves_one_line_in_the_log(
    harness: ProxyHarness, path: str, headers: dict[str, str], says: str
) -> None:
    arbstr = await harness.start(server={"auth_token": TOKEN})
    assert (await arbstr.get(path, headers=headers)).status >= 400
    lines = [line for line in arbstr.ring.since() if "refused" in line.text]
    assert len(lines) == 1
    assert lines[0].level == logging.INFO
    assert says in lines[0].text
    for secret in ("9876543210", "4242424242", TOKEN, "\x1b"):
        assert secret not in arbstr.log


async def test_a_flood_of_refusals_does_not_fill_the_log(
    harness: ProxyHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "_LINES_A_MINUTE", 3)
    arbstr = await harness.start()
    for _ in range(20):
        await arbstr.get("/nowhere")
    assert arbstr.log.count("refused GET /nowhere") == 3
    monkeypatch.setattr(app, "_MINUTE_S", 0.0)
    await arbstr.get("/elsewhere")
    assert "refused 17 more requests" in arbstr.log
    assert "refused GET /elsewhere" in arbstr.log


BODY = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
