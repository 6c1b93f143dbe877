"""Nodes by their version."""

from __future__ import annotations

import pytest

from arbstr.engine.node_version import is_newer


@pytest.mark.parametrize("version", ["0.4.5+g8bd7d7e", "0.4.7", "v0.4.7", "0.4", "0.3.99", "0.4.6-e2ee"])
def test_up_to_0_4_7_a_node_is_an_older_one(version: str) -> None:
    assert not is_newer(version)


@pytest.mark.parametrize("version", ["0.4.8", "v0.4.10-beta", "0.5", "1.0.0+g1"])
def test_after_0_4_7_it_is_a_newer_one(version: str) -> None:
    assert is_newer(version)


@pytest.mark.parametrize("version", [None, "", "unknown", "x0.4.8", "9" * 30])
def test_one_that_does_not_say_is_taken_for_an_older_one(version: str | None) -> None:
    assert not is_newer(version)
