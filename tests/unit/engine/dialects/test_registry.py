"""Which dialects there are is said in several places, all alike."""

from __future__ import annotations

from typing import get_args

from arbstr.config.schema import DialectName
from arbstr.engine.dialects.registry import DIALECTS, NAMES
from arbstr.server.api import ENDPOINTS


def test_a_provider_can_be_configured_to_speak_every_dialect_and_no_other() -> None:
    assert set(get_args(DialectName)) == NAMES


def test_every_dialect_is_described_under_its_name() -> None:
    described = {endpoint.name: endpoint.path for endpoint in ENDPOINTS}
    for dialect in DIALECTS:
        assert described[dialect.name] == f"/v1/{dialect.path}"
