"""Where arbstr listens: how it is written, and who can reach it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.config.address import Address, parse_address


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        ("0.0.0.0:65535", "0.0.0.0", 65535),
        ("localhost:0", "localhost", 0),
        ("my-host.lan:80", "my-host.lan", 80),
        ("[::1]:8080", "::1", 8080),
        ("[fe80::1%eth0]:80", "fe80::1%eth0", 80),
        (":9000", "127.0.0.1", 9000),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, host: str, port: int) -> None:
    assert parse_address(text) == Address(host, port)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "lacks a port"),
        ("8080", "lacks a port"),
        ("localhost", "lacks a port"),
        ("127.0.0.1:", "no valid port"),
        ("127.0.0.1:65536", "from 0 to 65535"),
        ("127.0.0.1:-1", "no valid port"),
        ("127.0.0.1:8o80", "no valid port"),
        ("127.0.0.1:²", "no valid port"),
        ("127.0.0.1:" + "9" * 5000, "no valid port"),
        ("::1:8080", "IPv6 address in brackets"),
        ("http://127.0.0.1:8080", "no scheme"),
        ("[::1]", "lacks a port"),
        ("[nope]:80", "no valid IPv6"),
        ("*:80", "0.0.0.0:8080 for every network"),
        ("a b:80", "no valid host"),
        ("-a:80", "no valid host"),
    ],
)
def test_what_is_no_address_is_refused_with_the_remedy(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_address(text)


@pytest.mark.parametrize("text", ["127.0.0.1:80", "[::1]:80", "h:1"])
def test_an_address_shows_as_it_is_written(text: str) -> None:
    assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("LocalHost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.2", False),
        ("::ffff:192.168.1.2", False),
        ("localhost.example.com", False),
    ],
)
def test_only_loopback_is_out_of_reach_of_other_machines(host: str, loopback: bool) -> None:
    assert Address(host, 80).is_loopback is loopback


@given(st.text(max_size=30))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        address = parse_address(text)
    except ValueError:
        return
    assert 0 <= address.port <= 65535
    assert address.host
