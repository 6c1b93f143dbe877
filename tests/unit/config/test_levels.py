"""How much is logged, as it is written."""

from __future__ import annotations

import logging

import pytest

from arbstr.config.levels import parse_levels


@pytest.mark.parametrize(
    ("spec", "levels"),
    [
        ("info", {"": logging.INFO, "aiosqlite": logging.WARNING}),
        ("WARNING", {"": logging.WARNING}),
        ("off", {"": logging.CRITICAL + 1}),
        (
            "arbstr=debug,aiohttp=warning",
            {"": logging.INFO, "arbstr": logging.DEBUG, "aiohttp": logging.WARNING, "aiosqlite": logging.WARNING},
        ),
        ("error, arbstr.requests = info", {"": logging.ERROR, "arbstr.requests": logging.INFO}),
    ],
)
def test_a_level_is_for_all_or_for_one_logger(spec: str, levels: dict[str, int]) -> None:
    assert parse_levels(spec) == levels


@pytest.mark.parametrize("spec", ["", "loud", "arbstr=", "arbstr=loud", "info,", "10", "a=b=c"])
def test_an_unknown_level_is_refused_with_those_there_are(spec: str) -> None:
    with pytest.raises(ValueError, match="the levels are debug, info, warning, error, critical, off"):
        parse_levels(spec)


def test_a_level_needs_a_loggers_name_before_its_sign() -> None:
    with pytest.raises(ValueError, match="no logger name"):
        parse_levels("=debug")


@pytest.mark.parametrize("spec", ["debug", "info", "arbstr=debug,debug"])
def test_the_databases_every_statement_is_not_logged_by_the_way(spec: str) -> None:
    assert parse_levels(spec)["aiosqlite"] == logging.WARNING


@pytest.mark.parametrize("spec", ["debug,aiosqlite=debug", "aiosqlite=debug", "aiosqlite=DEBUG,error"])
def test_a_logger_that_is_named_has_the_level_that_is_named(spec: str) -> None:
    assert parse_levels(spec)["aiosqlite"] == logging.DEBUG


def test_nothing_is_more_talkative_than_the_rest_by_itself() -> None:
    assert parse_levels("error") == {"": logging.ERROR}
