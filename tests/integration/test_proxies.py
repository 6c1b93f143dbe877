"""What the environment and a provider's table say about proxies."""

from __future__ import annotations

from typing import Any

import pytest

from arbstr.config.proxies import NO_PROXIES, environment_proxies, parse_proxy
from arbstr.config.schema import Config, Provider
from arbstr.config.settings import proxy_lines
from arbstr.redaction import Redactor

FAR = "https://api.example.com/v1"


def way(environ: dict[str, str], url: str = FAR) -> str | None:
    """The proxy for a URL as text, None for the direct way."""
    problems: list[str] = []
    found = environment_proxies(environ, problems).proxy_for(url)
    assert problems == []
    return found and str(found[0])


# --- URLs


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("socks5h://127.0.0.1:9050", "socks5h://127.0.0.1:9050"),
        ("socks5://tor.lan", "socks5://tor.lan:1080"),
        ("http://proxy.lan:3128/", "http://proxy.lan:3128"),
        ("HTTP://proxy.lan", "http://proxy.lan:80"),
        ("http://[::1]:3128", "http://[::1]:3128"),
        ("http://user:pa%3Ass@proxy.lan:3128", "http://[REDACTED]@proxy.lan:3128"),
        ("socks5h://user@proxy.lan", "socks5h://[REDACTED]@proxy.lan:1080"),
    ],
)
def test_a_proxy_is_shown_without_its_credentials(text: str, shown: str) -> None:
    proxy = parse_proxy(text)
    assert str(proxy) == f"{proxy}" == shown
    assert "pa" not in repr(proxy).replace("proxy", "")


@pytest.mark.parametrize(
    "text",
    [
        "https://u:hunter22@proxy.lan",
        "socks4://u:hunter22@proxy.lan",
        "ftp://u:hunter22@proxy.lan",
        "u:hunter22@proxy.lan:3128",
        "http://u:hunter22@",
        "http://u:hunter22@proxy.lan:0",
        "http://u:hunter22@proxy.lan:99999",
        "http://u:hunter22@proxy.lan:x",
        "http://u:hunter22@proxy.lan/path",
        "http://u:hunter22@proxy.lan?q",
        "http://u:hunter22@pro xy.lan",
        "http://u:hunter22@proxy.lan\n",
        "http://u:hunter22%0D%0A@proxy.lan",
        "http://u:hunter22ü@proxy.lan",
        "socks5h://u:" + "hunter22" * 40 + "@proxy.lan",
        "http://a%3Ab:hunter22@proxy.lan",
        "http://[u:hunter22@proxy.lan",
        "",
    ],
)
def test_what_is_no_proxys_url_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(is not a (supported )?proxy|has )") as caught:
        parse_proxy(text)
    assert "hunter22" not in str(caught.value)


def test_a_proxys_password_is_a_secret_as_it_is_and_as_it_is_sent() -> None:
    provider = Provider(name="alpha", url=FAR, proxy=parse_proxy("http://user:hunter22hunter22@proxy.lan"))
    redactor = Redactor(Config(providers=(provider,)).secrets())
    said = redactor.text("hunter22hunter22, dXNlcjpodW50ZXIyMmh1bnRlcjIy, user")
    assert said == "hunter...***, dXNlcj...***, user"
    assert "hunter22hunter22" not in repr(provider)
    assert "hunter22hunter22" not in provider.model_dump_json()


# --- the environment


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_a_proxy_for_https_is_found_under_each_name(name: str) -> None:
    assert way({name: "http://proxy.lan:3128"}) == "http://proxy.lan:3128"


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_a_proxy_for_http_is_found_under_each_name(name: str) -> None:
    assert way({name: "proxy.lan:3128"}, "http://api.example.com/v1") == "http://proxy.lan:3128"


def test_each_scheme_has_its_own() -> None:
    both = {"HTTP_PROXY": "http://one.lan", "HTTPS_PROXY": "socks5h://two.lan", "ALL_PROXY": "http://three.lan"}
    assert way(both) == "socks5h://two.lan:1080"
    assert way(both, "http://api.example.com/v1") == "http://one.lan:80"
    assert way({"HTTP_PROXY": "http://one.lan"}) is None


def test_the_lower_case_wins_even_if_it_is_empty() -> None:
    assert way({"https_proxy": "http://one.lan", "HTTPS_PROXY": "http://two.lan"}) == "http://one.lan:80"
    assert way({"https_proxy": "", "HTTPS_PROXY": "http://two.lan"}) is None


def test_a_cgi_scripts_http_proxy_is_its_clients_word() -> None:
    environ = {"HTTP_PROXY": "http://evil.lan", "REQUEST_METHOD": "GET"}
    assert way(environ, "http://api.example.com/v1") is None
    assert way(environ | {"http_proxy": "http://good.lan"}, "http://api.example.com/v1") == "http://good.lan:80"


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.9.9.9", "localhost", "LOCALHOST", "localhost.", "[::1]", "[::ffff:127.0.0.1]"),
        *("a.localhost", "abcdef.onion", "ABC.ONION", "abc.onion."),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_loopback_and_onion_never_go_through_the_environments(scheme: str, host: str) -> None:
    assert way({"ALL_PROXY": "socks5h://127.0.0.1:9050"}, f"{scheme}://{host}:8000/v1") is None


@pytest.mark.parametrize(
    ("no_proxy", "url", "direct"),
    [
        ("*", FAR, True),
        ("api.example.com", FAR, True),
        ("example.com", FAR, True),
        (".example.com", FAR, True),
        ("*.example.com", FAR, True),
        ("other.com, EXAMPLE.com", FAR, True),
        ("other.com example.com", FAR, True),
        ("ample.com", FAR, False),
        ("api.example.com.evil", FAR, False),
        ("com.", FAR, True),
        ("", FAR, False),
        (",", FAR, False),
        (".", FAR, False),
        ("api.example.com:443", FAR, True),
        ("api.example.com:8443", FAR, False),
        ("api.example.com:8443", "https://api.example.com:8443/v1", True),
        ("10.0.0.0/8", "http://10.1.2.3/v1", True),
        ("10.0.0.0/8", "http://11.1.2.3/v1", False),
        ("10.1.2.3", "http://10.1.2.3:8000/v1", True),
        ("10.1.2.3:9", "http://10.1.2.3:8000/v1", False),
        ("fd00::/8", "http://[fd00::7]:8000/v1", True),
        ("[fd00::7]", "http://[fd00::7]:8000/v1", True),
        ("[fd00::7]:8000", "http://[fd00::7]:8000/v1", True),
        ("fd00::7", "http://[fd00::8]:8000/v1", False),
        ("10.0.0.0/8", FAR, False),
    ],
)
@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_hosts_that_no_proxy_names_are_reached_directly(name: str, no_proxy: str, url: str, direct: bool) -> None:
    assert (way({"ALL_PROXY": "http://proxy.lan", name: no_proxy}, url) is None) == direct


@pytest.mark.parametrize("value", ["https://u:hunter22@proxy.lan", '"http://u:hunter22@proxy.lan"', "http://\x07"])
def test_a_proxy_that_can_not_be_used_is_reported_once_by_the_variables_name(value: str) -> None:
    problems: list[str] = []
    environment_proxies({"ALL_PROXY": value}, problems)
    (problem,) = problems
    assert problem.startswith("ALL_PROXY ")
    assert "hunter22" not in problem


def test_line_ends_around_a_value_are_dropped() -> None:
    assert way({"HTTPS_PROXY": "http://proxy.lan:3128\r\n", "NO_PROXY": "other.com\n"}) == "http://proxy.lan:3128"


# --- what is said at the start


def provider(name: str, url: str = FAR, **fields: Any) -> Provider:
    return Provider(name=name, url=url, **fields)


def test_the_start_says_who_is_reached_through_which_proxy_and_why() -> None:
    config = Config(
        providers=(
            provider("alpha"),
            provider("beta", proxy=parse_proxy("socks5h://u:hunter22@127.0.0.1:9050")),
            provider("gamma", "http://127.0.0.1:1234/v1"),
            provider("delta"),
        )
    )
    proxies = environment_proxies({"HTTPS_PROXY": "http://u:hunter22@proxy.lan:3128"}, [])
    assert proxy_lines(config, proxies) == [
        "through the proxy http://[REDACTED]@proxy.lan:3128, from HTTPS_PROXY: alpha, delta",
        "through the proxy socks5h://[REDACTED]@127.0.0.1:9050, from the configuration: beta",
    ]
    assert proxy_lines(Config(providers=(provider("alpha"),)), NO_PROXIES) == []
