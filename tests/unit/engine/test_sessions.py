"""Sessions: what clients call their conversations, as hashes that tell nobody what that was."""

from __future__ import annotations

from typing import Any

import pytest

from arbstr.engine.sessions import Sessions
from arbstr.types import HeaderList

SESSIONS = Sessions(b"a key of 16 bytes")
NAMED = SESSIONS.of([("X-Session-Id", "one")], {})


@pytest.mark.parametrize(
    ("headers", "document"),
    [
        ([("x-session-id", "one")], {}),
        ([("X-SESSION-ID", " one ")], {}),
        ([("X-Claude-Code-Session-Id", "one")], {}),
        ([("session_id", "one")], {}),
        ([("session_id", "two"), ("X-Claude-Code-Session-Id", "three"), ("X-Session-Id", "one")], {}),
        ([("X-Session-Id", ""), ("session_id", "one")], {}),
        ([("Accept", "*/*")], {"prompt_cache_key": "one"}),
        ([], {"metadata": {"user_id": "one"}}),
        ([("session_id", "one")], {"prompt_cache_key": "two", "metadata": {"user_id": "three"}}),
        ([], {"prompt_cache_key": "one", "metadata": {"user_id": "three"}}),
        ([], {"prompt_cache_key": 7, "metadata": {"user_id": "one"}}),
    ],
)
def test_the_first_name_that_is_there_is_the_sessions(headers: HeaderList, document: Any) -> None:
    assert SESSIONS.of(headers, document) == NAMED
    assert NAMED is not None
    assert len(NAMED) == 16
    assert int(NAMED, 16) >= 0


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"metadata": None, "prompt_cache_key": None},
        {"metadata": "one"},
        {"metadata": {"user_id": ["one"]}},
        {"prompt_cache_key": ""},
    ],
)
def test_without_a_name_there_is_no_session(document: Any) -> None:
    assert SESSIONS.of([("X-Session-Id", " ")], document) is None


def test_other_names_and_other_keys_make_other_sessions() -> None:
    named = {SESSIONS.of([], {"prompt_cache_key": name}) for name in ("one", "two", "\ud800")}
    assert len(named) == 3
    assert Sessions(b"another key").of([], {"prompt_cache_key": "one"}) not in named


def test_without_a_key_there_is_no_session() -> None:
    assert Sessions().of([("X-Session-Id", "one")], {}) is None
