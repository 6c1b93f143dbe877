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


SYSTEM = {"role": "system", "content": "You are helpful."}
QUESTION = {"role": "user", "content": "What is a satoshi?"}
ANSWER = {"role": "assistant", "content": "A hundred millionth of a bitcoin."}


def session(document: Any, dialect: str = "chat") -> str | None:
    return SESSIONS.of([], document, dialect)


@pytest.mark.parametrize(
    ("dialect", "first", "later"),
    [
        (
            "chat",
            {"messages": [SYSTEM, QUESTION]},
            {"messages": [SYSTEM, QUESTION, ANSWER, {"role": "user", "content": "Why?"}], "tools": [{}]},
        ),
        ("chat", {"messages": [ANSWER, QUESTION]}, {"messages": [ANSWER, QUESTION, ANSWER, QUESTION]}),
        (
            "chat",
            {"messages": [QUESTION]},
            {"messages": [QUESTION | {"content": [{"type": "text", "text": "What is a satoshi?"}]}, ANSWER, QUESTION]},
        ),
        (
            "responses",
            {"instructions": "Be brief.", "input": "What is a satoshi?"},
            {"instructions": "Be brief.", "input": [QUESTION, {"type": "reasoning"}, ANSWER, QUESTION]},
        ),
        (
            "messages",
            {"system": [{"type": "text", "text": "Be brief.", "cache_control": {}}], "messages": [QUESTION]},
            {"system": "Be brief.", "messages": [QUESTION, ANSWER, QUESTION], "model": "other"},
        ),
    ],
)
def test_a_conversation_without_a_name_is_recognised_by_its_opening(dialect: str, first: Any, later: Any) -> None:
    assert session(first, dialect) is not None
    assert session(first, dialect) == session(later, dialect)
    other = {"role": "user", "content": "What is a bitcoin?"}
    assert session(first | {"messages": [other], "input": [other]}, dialect) != session(first, dialect)


def test_long_openings_differ_by_their_beginnings_lengths_and_ends() -> None:
    book = "It was a dark and stormy night. " * 30_000
    texts = (book, f"Once, {book}", f"{book} The end.", book[:-32], "short")
    assert len({session({"messages": [{"role": "user", "content": text}]}) for text in texts}) == len(texts)


@pytest.mark.parametrize("dialect", ["embeddings", "completions", "images/generations"])
def test_what_is_no_conversation_has_no_opening(dialect: str) -> None:
    assert session({"input": "a text", "prompt": "a text"}, dialect) is None


@pytest.mark.parametrize(
    "document",
    [
        {"messages": []},
        {"messages": "nonsense"},
        {"messages": [None, 5, {"role": ["user"]}, {"role": "user", "content": {"text": "x"}}]},
        {"messages": [{"role": "user", "content": [None, 7, {"text": 5, "type": None}]}]},
        {"system": 5, "instructions": {}, "input": 7.5},
    ],
)
def test_an_opening_may_be_any_json(document: Any) -> None:
    found = session(document)
    assert found is None or len(found) == 16


def test_other_names_and_other_keys_make_other_sessions() -> None:
    named = {SESSIONS.of([], {"prompt_cache_key": name}) for name in ("one", "two", "\ud800")}
    assert len(named) == 3
    assert Sessions(b"another key").of([], {"prompt_cache_key": "one"}) not in named


def test_two_clients_sessions_are_apart_whatever_they_call_them() -> None:
    document = {"prompt_cache_key": "one"}
    assert len({SESSIONS.of([], document, client=client) for client in ("alice", "bob", None)}) == 3
    assert SESSIONS.of([], document, client="alice") == SESSIONS.of([], document, client="alice")


def test_without_a_key_there_is_no_session() -> None:
    assert Sessions().of([("X-Session-Id", "one")], {}) is None
