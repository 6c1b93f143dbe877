"""What nodes answer about a key's money and about themselves, as recorded and as malformed as it comes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import httpx
import pytest

from arbstr.market.balance_reading import parse_balance, read_balance, read_version
from arbstr.market.fetching import FetchFailed
from arbstr.redaction import Secret
from arbstr.sanitize import MARK
from arbstr.types import Balance
from tests.support.engine_builders import provider
from tests.support.recordings import recording

KEY = Secret("sk-0123456789abcdef")
NODE = provider("node", kind="routstr", api_key=KEY)
NOW_MS = 1_800_000_000_000
FULL = Balance("known", 1_000_000, 0, 0, 0, NOW_MS)


def answering(reply: httpx.Response, asked: list[httpx.Request] | None = None) -> httpx.MockTransport:
    def answer(request: httpx.Request) -> httpx.Response:
        (asked if asked is not None else []).append(request)
        return reply

    return httpx.MockTransport(answer)


def recorded(name: str) -> httpx.Response:
    exchange = recording(name)
    return httpx.Response(exchange.status, content=exchange.body)


async def test_a_recorded_balance_is_read_with_the_key() -> None:
    asked: list[httpx.Request] = []
    assert await read_balance(answering(recorded("balance_info"), asked), NODE, NOW_MS) == FULL
    assert (asked[0].method, str(asked[0].url)) == ("GET", f"{NODE.url}/balance/info")
    assert asked[0].headers["Authorization"] == f"Bearer {KEY.reveal()}"


async def test_what_is_reserved_has_been_taken_off_what_is_free() -> None:
    read = await read_balance(answering(recorded("balance_info_while_reserved")), NODE, NOW_MS)
    assert (read.free_msats, read.reserved_msats, read.spent_msats, read.requests) == (398_725, 365, 910, 3)


@pytest.mark.parametrize(("name", "state"), [("err_info_bad_key", "bad_key"), ("err_expired_key", "expired")])
async def test_a_key_that_the_node_refuses_has_no_figures(name: str, state: Any) -> None:
    assert await read_balance(answering(recorded(name)), NODE, NOW_MS) == Balance(state)


@pytest.mark.parametrize(("date_s", "state"), [(NOW_MS // 1000 - 1, "expired"), (NOW_MS // 1000 + 1, "known")])
def test_a_key_past_its_date_has_expired_although_its_balance_is_stated(date_s: int, state: Any) -> None:
    said = {"balance": 5000, "reserved": 0, "validity_date": date_s}
    read = parse_balance(said, NOW_MS)
    assert read is not None
    assert (read.state, read.free_msats) == (state, 5000)


async def test_a_child_key_may_spend_its_parents_balance_up_to_its_own_limit() -> None:
    said = json.loads(recording("child_key_info").body)
    daily, once = (parse_balance({**said, "balance_limit_reset": reset}, NOW_MS) for reset in ("daily", None))
    assert daily is not None
    assert once is not None
    assert (daily.free_msats, once.free_msats) == (398_635, 2000)
    spent = parse_balance({**said, "balance_limit_reset": None, "total_spent": 2500}, NOW_MS)
    assert spent is not None
    assert spent.free_msats == 0


@pytest.mark.parametrize(
    "said",
    [None, [], "10", {}, {"balance": "10"}, {"balance": 1.5}, {"balance": True}, {"balance": None}, {"reserved": 1}],
    ids=repr,
)
def test_an_answer_without_a_balance_is_none(said: Any) -> None:
    assert parse_balance(said, NOW_MS) is None


@pytest.mark.parametrize("odd", ["x", -1, None, 1.5, [], False, 10**30], ids=repr)
def test_odd_figures_beside_a_balance_do_no_harm(odd: Any) -> None:
    said = {"balance": 1_000_000, "reserved": odd, "total_spent": odd, "total_requests": odd}
    read = parse_balance(said | {"validity_date": None, "balance_limit": None}, NOW_MS)
    assert read is not None
    assert replace(read, reserved_msats=0, spent_msats=0, requests=0) == FULL
    figures = (read.reserved_msats, read.spent_msats, read.requests)
    assert all(figure is not None and 0 <= figure < 2**63 for figure in figures)


def test_a_debt_is_nothing_to_spend() -> None:
    read = parse_balance({"balance": -5}, NOW_MS)
    assert read is not None
    assert read.free_msats == 0


@pytest.mark.parametrize("status", [301, 404, 422, 500])
async def test_an_answer_that_says_nothing_of_the_key_is_a_failure(status: int) -> None:
    with pytest.raises(FetchFailed, match=str(status)):
        await read_balance(answering(httpx.Response(status, json={"balance": 5})), NODE, NOW_MS)


async def test_an_answer_that_is_no_balance_is_a_failure() -> None:
    with pytest.raises(FetchFailed, match="no balance"):
        await read_balance(answering(httpx.Response(200, text="<p>hello</p>")), NODE, NOW_MS)


async def test_a_version_is_asked_for_without_the_key() -> None:
    asked: list[httpx.Request] = []
    assert await read_version(answering(recorded("info"), asked), NODE) == "0.4.5+g8bd7d7e"
    assert str(asked[0].url) == f"{NODE.url}/info"
    assert "Authorization" not in asked[0].headers


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ({"version": 4}, None),
        ({"version": ""}, None),
        ([], None),
        ({"version": "1\x1b[2J"}, f"1{MARK}[2J"),
    ],
)
async def test_a_version_is_a_harmless_text_or_none(said: Any, version: str | None) -> None:
    assert await read_version(answering(httpx.Response(200, json=said)), NODE) == version
