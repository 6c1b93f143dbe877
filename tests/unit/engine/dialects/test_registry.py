"""Which dialects there are is said in several places, all alike."""

from __future__ import annotations

from typing import get_args

import pytest

from arbstr.config.schema import DialectName
from arbstr.engine.dialects.registry import DIALECTS, NAMES, dialect_at
from arbstr.server.api import ENDPOINTS


def test_a_provider_can_be_configured_to_speak_every_dialect_and_no_other() -> None:
    assert set(get_args(DialectName)) == NAMES


def test_every_dialect_is_described_under_its_name() -> None:
    described = {endpoint.name: endpoint.path for endpoint in ENDPOINTS}
    for dialect in DIALECTS:
        assert described[dialect.name] == f"/v1/{dialect.path}"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/messages", "messages"),
        ("/messages?beta=true", "messages"),
        ("/v1/messages/count_tokens", "messages"),
        ("/v1/messages/batches", "messages"),
        ("/policy/a%2Fb/v1/messages", "messages"),
        ("/policy/messages/v1/chat/completions", "chat"),
        ("/policy/messages", "chat"),
        ("/v1/messagesx", "chat"),
        ("/v1/threads/1/messages", "chat"),
        ("/v1/responses", "chat"),
    ],
)
def test_errors_are_anthropics_at_its_paths_and_openais_at_all_others(path: str, name: str) -> None:
    assert dialect_at(path).name == name
