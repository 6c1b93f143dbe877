"""The endpoints keep to their own description, whatever is asked: a real arbstr, fuzzed from `/openapi.json`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from arbstr.ledger.params import LISTING, STATS
from arbstr.server.openapi import describe
from tests.support.effort import examples
from tests.support.processes import started

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@contextmanager
def serving() -> Iterator[str]:
    """The address of an arbstr with fake providers."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ARBSTR", "DATABASE"))}
    command = [sys.executable, "-m", "arbstr", "serve", "--mock", "-l", "127.0.0.1:0"]
    with started(command, stderr=subprocess.PIPE, env=inherited) as process:
        assert process.stderr is not None
        found = re.search(r"http://[\d.:]+", process.stderr.readline())
        assert found
        yield found[0]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving() as address:
        for _ in range(3):
            body = b'{"model":"gpt-4o","messages":[{"role":"user","content":"hello"}]}'
            headers = {"Content-Type": "application/json"}
            with urllib.request.urlopen(urllib.request.Request(f"{address}/v1/chat/completions", body, headers)):
                pass
        yield address


@pytest.fixture(scope="module")
def described(address: str) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{address}/openapi.json")


schema = schemathesis.pytest.from_fixture("described").exclude(path="/v1/events")  # which does not end


@schema.parametrize()
@settings(
    max_examples=min(examples(3), 100),  # of each operation, beside those for each of its parameters
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
def test_answers_are_as_described(case: schemathesis.Case[Any]) -> None:
    checks = CHECKS if case.operation.path.endswith("completions") else [*CHECKS, negative_data_rejection]
    case.call_and_validate(checks=checks)


def test_every_parameter_that_is_read_is_described() -> None:
    paths = describe()["paths"]
    for path, names in (("/v1/stats", STATS), ("/v1/requests", LISTING)):
        assert [parameter["name"] for parameter in paths[path]["get"]["parameters"]] == list(names)
