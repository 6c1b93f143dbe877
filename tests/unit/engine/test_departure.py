"""Whether an answer is read on although its client has left: where that costs less."""

from __future__ import annotations

from typing import Any

import pytest

from arbstr.engine.departure import is_drained
from tests.support.engine_builders import provider


@pytest.mark.parametrize(
    ("settings", "version", "drained"),
    [
        ({}, None, True),
        ({"kind": "openai"}, "0.5.0", True),
        ({"kind": "routstr"}, None, True),
        ({"kind": "routstr"}, "0.4.5+g8bd7d7e", True),
        ({"kind": "routstr"}, "0.4.7", True),
        ({"kind": "routstr"}, "0.4.8", False),
        ({"kind": "routstr", "on_client_gone": "drain"}, "0.5.0", True),
        ({"kind": "routstr", "on_client_gone": "cancel"}, "0.4.5", False),
    ],
)
def test_newer_nodes_charge_only_what_they_have_sent_so_their_answers_are_given_up(
    settings: dict[str, Any], version: str | None, drained: bool
) -> None:
    assert is_drained(provider("node", **settings), version) is drained
