"""Access control: Host and Origin headers, the token, and CORS."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request

from arbstr.config.clients import ClientSettings, digest_of
from arbstr.engine.clients import Clients, KnownClient
from arbstr.errors import ApiError
from arbstr.redaction import Secret
from arbstr.server.access import AccessControl


def access(
    host: str = "127.0.0.1", token: str | None = None, hosts: tuple[str, ...] = (), origins: tuple[str, ...] = ()
) -> AccessControl:
    return AccessControl(host, None if token is None else Secret(token), hosts, origins)


def verdict(access: AccessControl, path: str = "/v1/models", method: str = "GET", **headers: str) -> str:
    """`ok`, or the code of the refusal."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        access.check(make_mocked_request(method, path, headers=named))
    except ApiError as error:
        return error.code
    return "ok"


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080", "LOCALHOST", "[::1]:8080", "127.0.0.1"])
def test_arbstrs_own_addresses_are_allowed_hosts(host: str) -> None:
    assert verdict(access(), Host=host) == "ok"


@pytest.mark.parametrize(
    "host", ["evil.test", "evil.test:8080", "127.0.0.1.evil.test", "10.0.0.5:8080", "[::2]:80", ""]
)
def test_any_other_host_name_is_refused(host: str) -> None:
    assert verdict(access(), Host=host) == "forbidden_host"


def test_a_configured_host_name_is_answered() -> None:
    assert verdict(access(hosts=("Box.lan",)), Host="box.lan:8080") == "ok"


def test_listening_everywhere_answers_to_addresses_but_not_to_names() -> None:
    assert verdict(access("0.0.0.0"), Host="10.0.0.5:8080") == "ok"
    assert verdict(access("::"), Host="[fe80::1]:8080") == "ok"
    assert verdict(access("0.0.0.0"), Host="evil.test") == "forbidden_host"


def test_a_program_without_host_or_origin_passes() -> None:
    assert verdict(access()) == "ok"


@pytest.mark.parametrize("origin", ["http://evil.test", "null", "http://127.0.0.1:9999", "http://[", ""])
def test_a_foreign_page_is_refused(origin: str) -> None:
    assert verdict(access(), Host="127.0.0.1:8080", Origin=origin) == "forbidden_origin"


def test_a_page_of_arbstrs_own_address_is_not_foreign() -> None:
    assert verdict(access(), Host="127.0.0.1:8080", Origin="http://127.0.0.1:8080") == "ok"


def test_a_configured_origin_passes_and_may_read_the_answer() -> None:
    opened = access(origins=("https://app.test",))
    assert verdict(opened, Host="localhost", Origin="https://app.test") == "ok"
    request = make_mocked_request("GET", "/", headers={"Host": "localhost", "Origin": "https://app.test"})
    assert ("Access-Control-Allow-Origin", "https://app.test") in opened.cors_headers(request)
    assert verdict(opened, Host="localhost", Origin="https://other.test") == "forbidden_origin"


def test_without_configured_origins_there_are_no_cors_headers() -> None:
    request = make_mocked_request("GET", "/", headers={"Host": "localhost", "Origin": "http://localhost"})
    assert access().cors_headers(request) == []


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [
        ("Bearer right-token", "ok"),
        ("bearer right-token", "ok"),
        ("Bearer wrong-token", "invalid_api_key"),
        ("Basic right-token", "invalid_api_key"),
        ("right-token", "invalid_api_key"),
        ("Bearer right-tökén", "invalid_api_key"),
        ("", "invalid_api_key"),
    ],
)
def test_a_token_is_asked_for_once_it_is_set(authorization: str, expected: str) -> None:
    assert verdict(access(token="right-token"), Authorization=authorization) == expected


def test_health_needs_no_token_but_a_proper_host() -> None:
    assert verdict(access(token="right-token"), path="/health") == "ok"
    assert verdict(access(token="right-token"), path="/health", Host="evil.test") == "forbidden_host"


def test_metrics_open_with_the_token_or_with_their_own_and_that_opens_nothing_else() -> None:
    both = AccessControl("127.0.0.1", Secret("the-token"), (), (), metrics_token=Secret("for-metrics"))
    assert verdict(both, "/metrics") == "invalid_api_key"
    for token in ("the-token", "for-metrics"):
        assert verdict(both, "/metrics", Authorization=f"Bearer {token}") == "ok"
        assert verdict(both, "/metrics", X_Api_Key=token) == "ok"
    assert verdict(both, "/metrics", Authorization="Bearer for-metric") == "invalid_api_key"
    for path in ("/v1/stats", "/metrics/", "/metrics/x", "/policy/code/metrics"):
        assert verdict(both, path, Authorization="Bearer for-metrics") == "invalid_api_key"


def test_a_token_for_metrics_alone_leaves_the_rest_open() -> None:
    only = AccessControl("127.0.0.1", None, (), (), metrics_token=Secret("for-metrics"))
    assert verdict(only, "/metrics") == "invalid_api_key"
    assert verdict(only, "/metrics", Authorization="Bearer for-metrics") == "ok"
    assert verdict(only, "/v1/models") == "ok"


def test_metrics_without_any_token_are_open() -> None:
    assert verdict(access(), "/metrics") == "ok"


CLIENT_KEY = "sk-arbstr-0123456789"


def with_client(now_ms: int = 0, token: str | None = None, **fields: str) -> AccessControl:
    settings = ClientSettings(name="alice", key_sha256=digest_of(CLIENT_KEY), **fields)
    secret = None if token is None else Secret(token)
    return AccessControl("127.0.0.1", secret, (), (), clients=Clients([settings]), now_ms=lambda: now_ms)


def test_with_a_client_a_key_is_needed_everywhere_but_on_the_open_paths() -> None:
    both = with_client(token="the-token")
    for control in (both, with_client()):
        assert verdict(control) == verdict(control, Authorization="Bearer wrong") == "invalid_api_key"
        assert verdict(control, Authorization=f"Bearer {CLIENT_KEY}") == "ok"
        assert verdict(control, X_Api_Key=CLIENT_KEY) == "ok"
        assert verdict(control, "/health") == verdict(control, "/") == "ok"
        assert verdict(control, "/metrics") == "invalid_api_key"
    assert verdict(both, Authorization="Bearer the-token") == "ok"


def test_whose_a_key_is() -> None:
    control = with_client(token="the-token")

    def whose(**headers: str) -> KnownClient | None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return control.check(make_mocked_request("GET", "/v1/models", headers=named))

    client = whose(Authorization=f"Bearer {CLIENT_KEY}")
    assert client is not None
    assert client.name == "alice"
    assert whose(Authorization="Bearer the-token", X_Api_Key=CLIENT_KEY) is None
    assert whose(Authorization=f"Bearer {CLIENT_KEY}", X_Api_Key="the-token") is None


def test_a_key_ceases_to_be_good_at_the_instant_it_expires() -> None:
    expires = "1970-01-01T00:00:01Z"
    assert verdict(with_client(999, expires=expires), X_Api_Key=CLIENT_KEY) == "ok"
    assert verdict(with_client(1000, expires=expires), X_Api_Key=CLIENT_KEY) == "invalid_api_key"
