"""Conversations in the ledger: grouped, found again, and never under the names that clients give them."""

from __future__ import annotations

from pathlib import Path

from tests.support.harness import ProxyHarness


def files_in(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


NAME = "user_0d1e_account_secret-name"


async def test_requests_of_one_session_are_grouped_over_restarts(harness: ProxyHarness, tmp_path: Path) -> None:
    await harness.add_provider("alpha")
    first = await harness.start()
    named = await first.row(await first.chat(headers={"X-Session-Id": NAME}))
    session = named["session"]
    assert len(session) == 16
    unnamed = (await first.row(await first.chat("another matter")))["session"]
    again = await harness.start()
    row = await again.row(await again.chat(metadata={"user_id": NAME}))
    assert row["session"] == session
    sessions = (await again.get("/v1/stats?group_by=session")).json["sessions"]
    assert {name: group["counts"]["total"] for name, group in sessions.items()} == {session: 2, unnamed: 1}
    assert (await again.get(f"/v1/requests?session={session.upper()}")).json["total"] == 2
    assert (await again.get("/v1/requests?session=0000000000000000")).json["data"] == []


async def test_a_refused_request_has_its_session_too(harness: ProxyHarness) -> None:
    await harness.add_provider("alpha", models=("other",))
    arbstr = await harness.start()
    answer = await arbstr.chat(prompt_cache_key=NAME)
    assert answer.status == 404
    assert (await arbstr.row(answer))["session"] is not None


async def test_a_clients_name_for_a_session_is_nowhere_on_the_disk(harness: ProxyHarness, tmp_path: Path) -> None:
    await harness.add_provider("alpha")
    arbstr = await harness.start()
    await arbstr.row(await arbstr.chat(headers={"session_id": NAME}, prompt_cache_key=NAME))
    assert not [path for path in files_in(tmp_path) if NAME.encode() in path.read_bytes()]
