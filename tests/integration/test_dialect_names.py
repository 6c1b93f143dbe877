"""What a request is called, in each dialect: paths without version, policies in them, aliases, sessions."""

from __future__ import annotations

import json

import pytest

from tests.integration.test_dialects import ask
from tests.support.dialects import ALL, Speech
from tests.support.harness import ProxyHarness
from tests.support.provider import MODEL, json_reply

MODERATIONS = Speech("moderations", "/v1/moderations", {"input": "Say hello."}, {"results": []})
SPEECHES = (*ALL, MODERATIONS)


@pytest.fixture(params=SPEECHES, ids=lambda speech: speech.name)
def speech(request: pytest.FixtureRequest) -> Speech:
    """Each dialect, and a path that is passed through."""
    found: Speech = request.param
    return found


@pytest.mark.parametrize("path", ["/policy/code%20%26%20more/v1{}", "/policy/code%20%26%20more{}"])
async def test_a_path_may_name_a_policy_and_lack_the_version(harness: ProxyHarness, speech: Speech, path: str) -> None:
    alpha = await harness.add_provider("alpha", json_reply(speech.answer))
    arbstr = await harness.start(policies={"rules": [{"name": "code & more"}, {"name": "other"}]})
    path = path.format(speech.path.removeprefix("/v1"))
    answer = await arbstr.send(speech.request(), path=path)
    assert (answer.status, answer.headers["X-Arbstr-Policy"]) == (200, "code & more")
    assert alpha.requests[0].path == speech.path
    row = await arbstr.row(answer)
    assert (row["dialect"], row["policy"]) == (speech.name, "code & more")
    named = await arbstr.send(speech.request(), path=path, headers={"X-Arbstr-Policy": "other"})
    assert named.headers["X-Arbstr-Policy"] == "other"


async def test_an_alias_holds_in_every_dialect(harness: ProxyHarness, speech: Speech) -> None:
    alpha = await harness.add_provider("alpha", json_reply(speech.answer))
    arbstr = await harness.start(aliases={"claude-*": MODEL})
    answer = await ask(arbstr, speech, model="Claude-Sonnet-4-5")
    assert alpha.requests[0].json["model"] == MODEL
    assert json.loads(answer.body) == speech.answer
    row = await arbstr.row(answer)
    assert (row["model"], row["served_model"]) == ("Claude-Sonnet-4-5", MODEL)


@pytest.mark.parametrize("header", ["x-session-id", "X-Claude-Code-Session-Id", "session_id"])
async def test_a_session_has_its_requests_of_all_dialects(harness: ProxyHarness, header: str) -> None:
    await harness.add_provider("alpha", *(json_reply(speech.answer) for speech in SPEECHES for _ in range(2)))
    arbstr = await harness.start()
    for speech in SPEECHES:
        await ask(arbstr, speech, headers={header: "mine"})
        await ask(arbstr, speech, headers={header: "theirs"})
    rows = await arbstr.rows(2 * len(SPEECHES))
    mine = {row["session"] for row in rows[1::2]}
    assert len(mine) == 1
    (session,) = mine
    assert session not in {row["session"] for row in rows[::2]}
    for speech in SPEECHES:
        query = f"dialect={speech.name}&session={session}"
        page = (await arbstr.get(f"/v1/requests?{query}")).json
        assert [(row["dialect"], row["session"]) for row in page["data"]] == [(speech.name, session)]
        assert (await arbstr.get(f"/v1/stats?{query}")).json["counts"]["total"] == 1
    for query in ("session=mine", "session=0000000000000000", "dialect=nobodys", "client=nobody"):
        assert (await arbstr.get(f"/v1/requests?{query}")).json["data"] == [], query
        assert (await arbstr.get(f"/v1/stats?{query}")).json["empty"] is True, query
