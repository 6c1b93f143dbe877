"""Commands about a request: they can be pasted, and hold neither a prompt nor a secret."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace

import pytest

from arbstr.ledger.model import Entry
from tui.model.commands import ask_for, repeat

ENTRY = Entry(
    id=1,
    request_id="0190",
    timestamp="2025-03-14T14:02:11Z",
    at_ms=0,
    model="gpt-4o",
    provider="alpha",
    policy=None,
    streaming=False,
    success=True,
    input_tokens=10,
    output_tokens=20,
    cost_msats=1,
    provider_cost_msats=1,
    latency_ms=1,
    stream_duration_ms=None,
    error_status=None,
    error_message=None,
)
ADDRESS = "http://127.0.0.1:8080"


def test_a_row_is_asked_for_by_its_id() -> None:
    assert ask_for(ADDRESS, "0190") == "curl http://127.0.0.1:8080/v1/requests/0190"


def test_whatever_an_id_is_it_is_one_word_for_the_shell() -> None:
    assert len(shlex.split(ask_for(ADDRESS, "a; rm -rf $(HOME) 'x"))) == 2


@pytest.mark.parametrize(
    ("dialect", "path", "asked"),
    [
        ("chat", "/v1/chat/completions", "messages"),
        ("responses", "/v1/responses", "input"),
        ("messages", "/v1/messages", "max_tokens"),
        ("embeddings", "/v1/embeddings", "input"),
        ("completions", "/v1/completions", "prompt"),
    ],
)
def test_a_request_like_it_is_sent_in_its_dialect(dialect: str, path: str, asked: str) -> None:
    words = shlex.split(repeat(ADDRESS, replace(ENTRY, dialect=dialect, streaming=True)) or "")
    assert words[1] == ADDRESS + path
    body = json.loads(words[-1])
    assert body["model"] == "gpt-4o"
    assert body["stream"] is True
    assert asked in body


def test_a_request_like_it_names_its_policy_and_survives_hostile_names() -> None:
    words = shlex.split(repeat(ADDRESS, replace(ENTRY, policy="co'de", model="x'; rm\x1b[2J")) or "")
    assert "X-Arbstr-Policy: co'de" in words
    assert json.loads(words[-1])["model"] == "x'; rm\x1b[2J"
    assert "\x1b" not in words[-1]


def test_what_was_only_passed_through_cannot_be_sent_again() -> None:
    assert repeat(ADDRESS, replace(ENTRY, dialect="images/generations")) is None
