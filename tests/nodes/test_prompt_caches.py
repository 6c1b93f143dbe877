"""A conversation at real nodes goes on where its prompt is cached, as long as the charges show that it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.nodes.market import Node, rich
from tests.support.patience import PATIENCE_S
from tests.support.serve_process import ServeProcess, eventually

pytestmark = pytest.mark.nodes

MODEL = "claude-sonnet-4"  # its cached input costs a tenth; at node b all input costs less than at node a
AT_A = '[[policies.rules]]\nname = "at-a"\nproviders = ["a"]\n'


class Talk:
    """A conversation that grows with each request; a wish says what the API behind the nodes counts."""

    def __init__(self, arbstr: ServeProcess, nodes: list[Node]) -> None:
        self._arbstr = arbstr
        self._nodes = nodes
        self._messages = [{"role": "system", "content": "word " * 1600}]

    def go_on(self, wish: str, **headers: str) -> tuple[dict[str, Any], int]:
        """The row of the next request, and what it took at all nodes together, in msats."""
        before = sum(node.settled_msats() for node in self._nodes)
        self._messages.append({"role": "user", "content": f"Please. [[in=2000 out=10 {wish}]]"})
        body = {"model": MODEL, "messages": self._messages, "max_tokens": 10}
        url = f"{self._arbstr.url}/v1/chat/completions"
        answer = httpx.post(url, json=body, headers=headers, timeout=PATIENCE_S)
        assert answer.status_code == 200
        path = f"{self._arbstr.url}/v1/requests/{answer.headers['x-arbstr-request-id']}"
        row = eventually(lambda: (found := httpx.get(path, timeout=10)).status_code == 200 and found).json()
        return row, before - sum(node.settled_msats() for node in self._nodes)


@contextmanager
def talking(tmp_path: Path) -> Iterator[Talk]:
    nodes = [rich("a"), rich("b")]
    (tmp_path / "config.toml").write_text(AT_A + "".join(node.provider(MODEL) for node in nodes))
    (tmp_path / "config.toml").chmod(0o600)
    with ServeProcess(tmp_path, "-c", "config.toml") as arbstr:
        yield Talk(arbstr, nodes)


def test_a_conversation_stays_at_the_node_that_has_it_cached_and_the_charge_shows_why(tmp_path: Path) -> None:
    with talking(tmp_path) as talk:
        first, took = talk.go_on("", **{"X-Arbstr-Policy": "at-a"})
        assert (first["provider"], first["cache"]["predicted_tokens"]) == ("a", 0)
        row, took_then = talk.go_on("cached=1900")
    assert row["provider"] == "a"
    assert row["routing"]["reuse"]["previous_provider"] == "a"
    assert row["tokens"]["cached"] == 1900
    assert row["cache"]["predicted_tokens"] == pytest.approx(1900, rel=0.1)
    assert round(row["cost"]["sats"] * 1000) == took_then < took / 2
    assert row["cache"]["saved_sats"] == pytest.approx((took - took_then) / 1000, rel=0.01)
    assert row["cache"]["switching_sats"] == 0


def test_a_node_that_stops_finding_the_conversation_is_left_for_the_cheaper_one(tmp_path: Path) -> None:
    with talking(tmp_path) as talk:
        talk.go_on("", **{"X-Arbstr-Policy": "at-a"})
        went = [talk.go_on("cached=0")[0]["provider"] for _ in range(12)]
    assert (went[0], went[-1]) == ("a", "b")
