"""The first steps that the log names at the start."""

from __future__ import annotations

import json
import shlex

import pytest

from arbstr.config.clients import ClientSettings
from arbstr.config.schema import Config, Server
from arbstr.redaction import Secret
from arbstr.runtime.first_steps import first_steps

URL = "http://127.0.0.1:8080"


def test_they_name_the_base_url_the_models_and_a_request_for_one_of_them() -> None:
    base, curl = first_steps(URL, Config(), ["it's odd", "gpt-4o"])
    assert base == f"base URL for clients: {URL}/v1; models: it's odd, gpt-4o"
    command = shlex.split(curl.removeprefix("to try it: "))
    assert command[:4] == ["curl", f"{URL}/v1/chat/completions", "-H", "Content-Type: application/json"]
    assert json.loads(command[-1])["model"] == "it's odd"


@pytest.mark.parametrize(("host", "named"), [("0.0.0.0", "127.0.0.1"), ("[::]", "[::1]"), ("10.0.0.1", "10.0.0.1")])
def test_the_address_is_one_that_can_be_called(host: str, named: str) -> None:
    base, curl = first_steps(f"http://{host}:8080", Config(), [])
    assert base.startswith(f"base URL for clients: http://{named}:8080/v1;")
    assert f"curl http://{named}:8080/v1/" in curl


def test_of_many_models_some_are_named() -> None:
    base, _ = first_steps(URL, Config(), [f"m-{number}" for number in range(20)])
    assert base.endswith("m-7 and 12 more")


def test_models_that_are_not_known_yet_are_asked_for() -> None:
    base, curl = first_steps(URL, Config(), [])
    assert base.endswith("as providers list them, at /v1/models")
    assert '"model": "MODEL"' in curl


def test_a_key_that_is_needed_comes_from_a_variable() -> None:
    owned = Config(server=Server(auth_token=Secret("let-me-in-please")))
    assert '-H "Authorization: Bearer $ARBSTR_TOKEN"' in first_steps(URL, owned, [])[1]
    shared = Config(clients=(ClientSettings(name="bob", key_sha256="0" * 64),))
    assert '-H "Authorization: Bearer $ARBSTR_KEY"' in first_steps(URL, shared, [])[1]
