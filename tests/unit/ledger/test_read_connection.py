"""What only ledgers in SQLite have: indexes by name, rows of other programs. Answers: tests/integration/ledger."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from arbstr.ledger import read_view
from arbstr.ledger.model import Filter
from arbstr.ledger.read_connection import ReadConnection
from arbstr.ledger.write_connection import WriteConnection
from tests.support.ledger_builders import insert, record, write


@pytest.mark.parametrize("most", [1000, 2], ids=["few", "too many to be kept"])
async def test_a_page_of_a_text_that_may_be_an_id_searches_all_ids_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(read_view, "_MOST_IDS", most)
    ids = [f"{n:08x}-0000-4000-8000-00000000abcd" for n in range(5)]
    rows = [record(request_id=each, cost_msats=n) for n, each in enumerate(ids)] + [record(), record()]
    searches: list[str] = []
    await write(tmp_path / "arbstr.db", rows)
    with closing(ReadConnection(tmp_path / "arbstr.db")) as questions:
        questions._connection.set_trace_callback(searches.append)
        page = questions.page(Filter(texts=("ABCD",)), "cost_sats", "desc", 1, 20)
    assert [entry.request_id for entry in page.entries] == ids[::-1]
    assert page.total == 5
    if most == 1000:
        assert sum("requests_by_correlation" in search for search in searches) == 1


async def test_ids_of_other_programs_are_searched_whatever_they_look_like(tmp_path: Path) -> None:
    path = tmp_path / "arbstr.db"
    await write(path, [record()])
    with closing(ReadConnection(path)) as questions:
        assert questions.count(Filter(texts=("_zz%",))) == 0
    insert(path, correlation_id="Req_ZZ%", model="plain")
    for _ in range(2):  # loose, then adopted
        with closing(ReadConnection(path)) as questions:
            assert questions.count(Filter(texts=("_zz%",))) == 1
            assert questions.count(Filter(texts=("_zz%", "plain"))) == 1
        connection, _ = await WriteConnection.open(path)
        while await connection.absorb():
            pass
        await connection.close()
