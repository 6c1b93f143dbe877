"""The configuration file: what it may say, where keys come from, and what is said when it is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from arbstr.config.clients import digest_of
from arbstr.config.loader import Loaded, convention_variable, load
from arbstr.config.schema import Config, Provider
from arbstr.config.section import Section
from arbstr.errors import ConfigError
from arbstr.redaction import Secret
from arbstr.sanitize import sanitize
from arbstr.types import Rates
from tests.support.effort import examples
from tests.support.paths import TOP

EXAMPLE = TOP / "config.example.toml"
SELLER = '[[providers]]\nname = "alpha"\nurl = "https://alpha.example/v1"\n'
RATED = SELLER + "input_rate = 10\n"
KEY = "sk-5ecret0123456789"


def reading(tmp_path: Path, text: str, environ: Mapping[str, str] | None = None, *, mock: bool = False) -> Loaded:
    path = tmp_path / "config.toml"
    path.write_text(text)
    path.chmod(0o600)
    return load(path, environ or {}, mock=mock)


def refused(tmp_path: Path, text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    """What is wrong with the file, without its name."""
    with pytest.raises(ConfigError) as caught:
        reading(tmp_path, text, environ)
    start = f"{tmp_path / 'config.toml'}: "
    assert all(problem.startswith(start) and "\n" not in problem for problem in caught.value.problems)
    return [problem.removeprefix(start) for problem in caught.value.problems]


def load_provider(tmp_path: Path, more: str, environ: Mapping[str, str] | None = None) -> Provider:
    return reading(tmp_path, SELLER + more, environ).config.providers[0]


# --- what a file may say


def test_a_provider_needs_only_a_name_and_a_url(tmp_path: Path) -> None:
    provider = load_provider(tmp_path, "")
    assert (provider.name, provider.url, provider.api_key, provider.key_source) == (
        "alpha",
        "https://alpha.example/v1",
        None,
        "none",
    )
    assert (provider.input_rate, provider.output_rate, provider.base_fee, provider.model_ids) == (0, 0, 0, ())
    assert provider.serves("anything")


def test_headers_of_the_clients_may_be_named_that_go_up(tmp_path: Path) -> None:
    assert load_provider(tmp_path, "").forward_headers == ()
    assert load_provider(tmp_path, 'forward_headers = ["X-Title", "user-agent"]').forward_headers == (
        "X-Title",
        "user-agent",
    )


@pytest.mark.parametrize("path", ["images/*", "audio/speech", "a-b_c/d.e", "moderations"])
def test_a_path_below_v1_can_be_passed_through(tmp_path: Path, path: str) -> None:
    config = reading(tmp_path, f'{SELLER}[server]\npassthrough = ["{path}"]\n').config
    assert config.server.passthrough == (path,)


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/images", "is not a path below /v1"),
        ("images/*/x", "is not a path below /v1"),
        ("*", "is not a path below /v1"),
        ("", "is not a path below /v1"),
        ("a/../b", "is not a path below /v1"),
        ("chat/x", "is a path that arbstr answers itself"),
        ("models/*", "is a path that arbstr answers itself"),
    ],
)
def test_what_can_not_be_passed_through_is_refused(tmp_path: Path, path: str, problem: str) -> None:
    (found,) = refused(tmp_path, f'{SELLER}[server]\npassthrough = ["{path}"]\n')
    assert found.startswith(f"server.passthrough[0] {problem}")


def test_dialects_are_named_and_typing_mistakes_noticed(tmp_path: Path) -> None:
    assert load_provider(tmp_path, "").dialects == ()
    assert load_provider(tmp_path, 'dialects = ["chat", "messages"]').dialects == ("chat", "messages")
    (problem,) = refused(tmp_path, f'{SELLER}dialects = ["mesages"]')
    assert 'did you mean "messages"?' in problem


@pytest.mark.parametrize(
    "name",
    [
        *(
            "Authorization",
            "COOKIE",
            "Host",
            "x-api-key",
            "Api-Key",
            "Proxy-Authorization",
            "X-Cashu",
            "X-Arbstr-Policy",
        ),
        *("Connection", "Transfer-Encoding", "TE", "Upgrade", "Content-Length", "Accept-Encoding", "Expect"),
    ],
)
def test_forward_headers_name_no_credential_and_nothing_about_the_connection(tmp_path: Path, name: str) -> None:
    (problem,) = refused(tmp_path, f'{SELLER}forward_headers = ["X-Title", "{name}"]')
    assert problem.startswith("providers[0].forward_headers[1] ")
    assert "is never sent to a provider" in problem


@pytest.mark.parametrize("name", ["", "X Title", "X:Title", "X-Title\\r\\nX-Evil: 1", "\u00e9"])
def test_a_forward_header_must_be_a_header_name(tmp_path: Path, name: str) -> None:
    (problem,) = refused(tmp_path, f'{SELLER}forward_headers = ["{name}"]')
    assert "is not a header name" in problem


def test_everything_can_be_said(tmp_path: Path) -> None:
    loaded = reading(
        tmp_path,
        """
        [server]
        listen = "[::1]:9000"
        auth_token = "${TOKEN}"
        [database]
        path = "/var/lib/arbstr.db"
        [[providers]]
        name = "provider-alpha"
        url = "https://api.routstr.com/v1"
        api_key = "${ALPHA_KEY}"
        models = ["gpt-4o", "claude-3.5-sonnet"]
        input_rate = 10
        output_rate = 30
        base_fee = 1
        timeouts = { connect = 1, first_byte = 60, idle = 30.5 }
        on_client_gone = "cancel"
        [policies]
        default_strategy = "weighted"
        [[policies.rules]]
        name = "code_generation"
        allowed_models = ["claude-3.5-sonnet", "gpt-4o"]
        strategy = "lowest_cost"
        max_sats_per_1k_output = 50
        keywords = ["code", "function", "implement"]
        providers = ["provider-alpha"]
        [retry]
        max_retries = 5
        backoff = 0.5
        [logging]
        level = "arbstr=debug,aiohttp=warning"
        log_requests = false
        """,
        {"TOKEN": "let-me-in-please", "ALPHA_KEY": KEY},
    )
    config, provider = loaded.config, loaded.config.providers[0]
    assert loaded.warnings == ()
    assert (config.server.address.host, config.server.address.port) == ("::1", 9000)
    assert config.server.auth_token == Secret("let-me-in-please")
    assert provider.api_key == Secret(KEY)
    assert provider.model_ids == ("gpt-4o", "claude-3.5-sonnet")
    assert provider.timeouts.idle == 30.5
    assert config.policies.rules[0].keywords == ("code", "function", "implement")
    assert config.policies.rules[0].allows("gpt-4o")
    assert not config.policies.rules[0].allows("gpt-4o-mini")
    assert config.secrets() == (Secret(KEY), Secret("let-me-in-please"))


def test_rates_are_exact_and_in_millisats(tmp_path: Path) -> None:
    provider = load_provider(
        tmp_path,
        "input_rate = 0.1\noutput_rate = 30\nbase_fee = 1.5\ncached_input_rate = 0.05\ncache_write_rate = 0.125",
    )
    assert provider.rates == Rates(Decimal("0.1"), Decimal(30), Decimal(1500), Decimal("0.05"), Decimal("0.125"))


@pytest.mark.parametrize("url", ["https://a.example/v1/", "https://a.example/v1"])
def test_a_url_may_end_with_a_slash_or_not(tmp_path: Path, url: str) -> None:
    text = f'[[providers]]\nname = "a"\nurl = "{url}"'
    assert reading(tmp_path, text).config.providers[0].url == "https://a.example/v1"


@pytest.mark.parametrize(
    ("kind", "url", "asked"),
    [
        ("routstr", "https://node.example", "https://node.example/v1"),
        ("routstr", "http://[::1]:9411/", "http://[::1]:9411/v1"),
        ("routstr", "https://node.example/v1", "https://node.example/v1"),
        ("routstr", "https://node.example/behind/v1", "https://node.example/behind/v1"),
        ("openai", "https://api.example", "https://api.example"),
    ],
)
def test_a_nodes_url_may_leave_out_the_path_that_all_nodes_have(
    tmp_path: Path, kind: str, url: str, asked: str
) -> None:
    text = f'[[providers]]\nname = "a"\nurl = "{url}"\nkind = "{kind}"'
    assert reading(tmp_path, text).config.providers[0].url == asked


@pytest.mark.parametrize("url", ["http://127.0.0.1:11434/v1", "http://[::1]:8000", "http://abcdefgh.example/v1"])
def test_any_http_address_is_a_provider(tmp_path: Path, url: str) -> None:
    assert reading(tmp_path, f'[[providers]]\nname = "a"\nurl = "{url}"').config.providers[0].url == url


@pytest.mark.parametrize("strategy", ["cheapest", "lowest_cost", "lowest_latency", "round_robin", "weighted"])
def test_every_strategy_is_known(tmp_path: Path, strategy: str) -> None:
    text = SELLER + f'[policies]\ndefault_strategy = "{strategy}"\n[[policies.rules]]\nname = "r"'
    policies = reading(tmp_path, text).config.policies
    assert policies.default_strategy == strategy
    assert policies.rules[0].strategy is None, "a rule without a strategy leaves the choice to the default"


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    assert reading(tmp_path, "\ufeff" + SELLER.replace("\n", "\r\n")).config.providers[0].name == "alpha"


def test_a_mock_run_needs_no_providers(tmp_path: Path) -> None:
    assert reading(tmp_path, "", mock=True).config == Config()


MODELS = """
input_rate = 10
output_rate = 30
base_fee = 1
models = [
    "gpt-4o",
    { id = "claude", upstream_id = "anthropic/claude", input_rate = 3, output_rate = 15 },
    { id = "mini", base_fee = 0, cached_input_rate = 0.05, cache_write_rate = 0.2 },
]
"""


def test_a_model_may_have_rates_and_a_name_of_its_own(tmp_path: Path) -> None:
    provider = load_provider(tmp_path, MODELS)
    assert provider.model_ids == ("gpt-4o", "claude", "mini")
    assert provider.rates_for("gpt-4o") == provider.rates == Rates(Decimal(10), Decimal(30), Decimal(1000))
    assert provider.rates_for("claude") == Rates(Decimal(3), Decimal(15), Decimal(1000))
    assert provider.rates_for("mini") == Rates(Decimal(10), Decimal(30), Decimal(0), Decimal("0.05"), Decimal("0.2"))
    assert provider.upstream_id("claude") == "anthropic/claude"
    assert provider.upstream_id("gpt-4o") == "gpt-4o"
    assert [provider.serves(model) for model in ("claude", "anthropic/claude")] == [True, False]


def test_a_models_case_does_not_matter(tmp_path: Path) -> None:
    provider = load_provider(tmp_path, MODELS)
    assert provider.serves("GPT-4o")
    assert (provider.upstream_id("GPT-4O"), provider.upstream_id("Claude")) == ("gpt-4o", "anthropic/claude")
    assert provider.rates_for("CLAUDE") == provider.rates_for("claude")
    assert load_provider(tmp_path, 'models = ["GPT-4o", "gpt-4o"]').model_ids == ("GPT-4o",)


@pytest.mark.parametrize(
    ("models", "problem"),
    [
        (
            '{ id = "a", input_rat = 1 }',
            "models[0].input_rat is not a known key; did you mean providers[0].models[0].input_r",
        ),
        ('{ id = "a", url = "x" }', "models[0].url is not a known key; it belongs in [database] or [[providers]]"),
        ('{ id = "a", output_rate = -1 }', "models[0].output_rate is -1; it must be at least 0"),
        ('{ id = "a", output_rate = "1" }', 'models[0].output_rate is the string "1"; it must be a number'),
        ("{ upstream_id = 'b' }", "models[0].id is missing; add it"),
        ('"a", { id = "a", input_rate = 1 }', 'models has "a" twice with different settings; keep one'),
        ('"a", { id = "A", input_rate = 1 }', 'models has "A" twice with different settings; keep one'),
        ("[]", "models[0] is a list; it must be a string, in quotes, or a table with an id"),
    ],
)
def test_an_entry_of_models_that_makes_no_sense_is_refused_by_its_place(
    tmp_path: Path, models: str, problem: str
) -> None:
    (found,) = refused(tmp_path, SELLER + f"models = [{models}]")
    assert found.startswith(f"providers[0].{problem}")


# --- variables


def test_variables_are_expanded_in_every_string_also_in_lists(tmp_path: Path) -> None:
    environ = {"HOST": "b.example", "MODEL": "gpt", "DIR": "/data"}
    text = """
    [database]
    path = "${DIR}/arbstr.db"
    [[providers]]
    name = "${MODEL}-provider"
    url = "https://${HOST}/v1"
    models = ["${MODEL}-4o", "${MODEL}-${MODEL}"]
    """
    config = reading(tmp_path, text, environ).config
    assert config.database.path == "/data/arbstr.db"
    assert config.providers[0].url == "https://b.example/v1"
    assert config.providers[0].model_ids == ("gpt-4o", "gpt-gpt")


def test_two_dollars_are_one_and_a_lone_one_stays(tmp_path: Path) -> None:
    provider = load_provider(tmp_path, 'models = ["$${HOME}", "a$b", "$$$$"]', {"HOME": "/root"})
    assert provider.model_ids == ("${HOME}", "a$b", "$$")


def test_what_a_variable_holds_is_not_expanded_again(tmp_path: Path) -> None:
    assert load_provider(tmp_path, 'models = ["${A}"]', {"A": "${B}$$", "B": "no"}).model_ids == ("${B}$$",)


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("${NOWHERE}", "models[0] needs the environment variable NOWHERE, which is not set"),
        ("${OPEN", "models[0] has a `${` without a `}`"),
        ("${}", "models[0] needs a variable name between"),
        ("${A:-b}", "models[0] needs a variable name between"),
    ],
)
def test_a_variable_that_cannot_be_expanded_is_named(tmp_path: Path, value: str, complaint: str) -> None:
    (problem,) = refused(tmp_path, SELLER + f'models = ["{value}"]')
    assert problem.startswith(f"providers[0].{complaint}")
    assert "write `$$` for a dollar" in problem


def test_an_unset_variable_is_the_only_thing_said_of_its_value(tmp_path: Path) -> None:
    problems = refused(tmp_path, '[[providers]]\nname = "a"\nurl = "${URL}"\napi_key = "${KEY}"')
    assert len(problems) == 2


# --- keys


def test_the_convention_gives_a_key_to_a_provider_without_one(tmp_path: Path) -> None:
    provider = load_provider(tmp_path, "", {"ARBSTR_ALPHA_API_KEY": KEY})
    assert (provider.api_key, provider.key_source) == (Secret(KEY), "convention")


def test_a_key_in_the_file_wins_over_the_convention(tmp_path: Path) -> None:
    environ = {"ARBSTR_ALPHA_API_KEY": "sk-convention-0000", "MINE": KEY}
    provider = load_provider(tmp_path, 'api_key = "${MINE}"', environ)
    assert (provider.api_key, provider.key_source) == (Secret(KEY), "environment reference")


def test_a_literal_key_works_and_warns_of_what_to_use_instead(tmp_path: Path) -> None:
    loaded = reading(tmp_path, RATED + f'api_key = "{KEY}"')
    assert loaded.config.providers[0].key_source == "literal"
    (warning,) = loaded.warnings
    assert "providers[0].api_key is a literal key" in warning
    assert "set ARBSTR_ALPHA_API_KEY and leave api_key out, or write ${ARBSTR_ALPHA_API_KEY}" in warning


def test_a_key_beside_a_reference_is_a_literal_one_but_for_a_short_prefix(tmp_path: Path) -> None:
    loaded = reading(tmp_path, SELLER + 'api_key = "sk-real-0123456789${MORE}"', {"MORE": "x"})
    assert loaded.config.providers[0].key_source == "literal"
    assert any("is a literal key" in warning for warning in loaded.warnings)
    assert (
        load_provider(tmp_path, 'api_key = "sk-${MORE}"', {"MORE": "0123456789"}).key_source == "environment reference"
    )


def test_a_key_that_no_header_can_carry_is_refused_by_the_name_of_its_variable(tmp_path: Path) -> None:
    (said,) = refused(tmp_path, SELLER, {"ARBSTR_ALPHA_API_KEY": KEY + " "})
    assert said.startswith("providers[0] takes its key from ARBSTR_ALPHA_API_KEY, which has a space")
    assert KEY not in said


def test_a_literal_token_warns_too(tmp_path: Path) -> None:
    (warning,) = reading(
        tmp_path, RATED + '[server]\nauth_token = "let-me-in-please"', {"ARBSTR_ALPHA_API_KEY": KEY}
    ).warnings
    assert "server.auth_token is a literal; write ${ARBSTR_TOKEN}" in warning


def test_a_token_for_metrics_is_looked_at_as_the_other_one_is(tmp_path: Path) -> None:
    environ = {"ARBSTR_ALPHA_API_KEY": KEY, "M": "let-me-in-please", "EMPTY": ""}
    literal = reading(tmp_path, RATED + '[server]\nmetrics_token = "let-me-in-please"', environ)
    assert [warning for warning in literal.warnings if "write ${ARBSTR_METRICS_TOKEN}" in warning]
    referred = reading(tmp_path, RATED + '[server]\nmetrics_token = "${M}"', environ)
    assert referred.warnings == ()
    assert Secret("let-me-in-please") in referred.config.secrets()
    (said,) = refused(tmp_path, SELLER + '[server]\nmetrics_token = "${EMPTY}"', environ)
    assert said.startswith("server.metrics_token needs the environment variable EMPTY, which is empty")


def test_a_webhook_and_its_secret_are_secrets(tmp_path: Path) -> None:
    environ = {
        "ARBSTR_ALPHA_API_KEY": KEY,
        "W": "https://hooks.example/x?token=t0ken",
        "S": "sign-with-this",
        "EMPTY": "",
    }
    referred = reading(tmp_path, RATED + '[alerts]\nwebhook = "${W}"\nsecret = "${S}"', environ)
    assert referred.warnings == ()
    assert {Secret(environ["W"]), Secret(environ["S"])} <= set(referred.config.secrets())
    assert "t0ken" not in repr(referred.config)
    literal = reading(tmp_path, RATED + '[alerts]\nwebhook = "https://hooks.example/x"', environ)
    assert [warning for warning in literal.warnings if "write ${ARBSTR_WEBHOOK}" in warning]
    (said,) = refused(tmp_path, SELLER + '[alerts]\nsecret = "${EMPTY}"', environ)
    assert said.startswith("alerts.secret needs the environment variable EMPTY, which is empty")
    (said,) = refused(tmp_path, SELLER + '[alerts]\nwebhook = "ftp://t0ken.example"', environ)
    assert said.startswith("alerts.webhook is not a valid URL: it must begin with http:// or https://")
    assert "t0ken" not in said
    (said,) = refused(tmp_path, SELLER + "[alerts]\nbudget_percent = [101]", environ)
    assert "alerts.budget_percent" in said


def test_a_token_for_metrics_that_would_open_everything_is_refused(tmp_path: Path) -> None:
    tokens = '[server]\nauth_token = "let-me-in-please"\nmetrics_token = "let-me-in-please"'
    (said,) = refused(tmp_path, SELLER + tokens)
    assert said.startswith("server.metrics_token is server.auth_token, and would open everything")
    assert "let-me-in" not in said


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True)])
def test_a_literal_key_that_others_may_read_warns(tmp_path: Path, mode: int, warned: bool) -> None:
    path = tmp_path / "config.toml"
    path.write_text(SELLER + f'api_key = "{KEY}"')
    path.chmod(mode)
    warnings = load(path, {}).warnings
    assert any(f"mode {mode:04o}); run chmod 600 {path}" in warning for warning in warnings) is warned


# --- proxies

ONION = (
    '[[providers]]\nname = "alpha"\nurl = "http://2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion/v1"\n'
)


def test_a_provider_may_have_a_proxy_of_its_own(tmp_path: Path) -> None:
    provider = load_provider(tmp_path, 'proxy = "socks5h://user:${PASS}@127.0.0.1:9050"', {"PASS": "hunter22"})
    assert provider.proxy is not None
    assert str(provider.proxy) == "socks5h://[REDACTED]@127.0.0.1:9050"
    assert provider.proxy.password == Secret("hunter22")
    assert load_provider(tmp_path, "").proxy is None


@pytest.mark.parametrize("value", ['"https://u:hunter22@a.lan"', '"u:hunter22@a.lan"', '["hunter22"]', '""', "7"])
def test_a_proxy_that_can_not_be_used_is_refused_without_being_repeated(tmp_path: Path, value: str) -> None:
    (said,) = refused(tmp_path, SELLER + f"proxy = {value}")
    assert said.startswith("providers[0].proxy ")
    assert "hunter22" not in said


def test_a_proxys_literal_password_warns(tmp_path: Path) -> None:
    loaded = reading(tmp_path, RATED + 'api_key = "${A}"\nproxy = "http://u:hunter22@a.lan"', {"A": KEY})
    (warning,) = loaded.warnings
    assert "providers[0].proxy holds a literal password; write ${PROXY_PASSWORD}" in warning
    text = RATED + 'api_key = "${A}"\nproxy = "http://u:${P}@a.lan"'
    assert reading(tmp_path, text, {"A": KEY, "P": "hunter22"}).warnings == ()
    text = RATED + 'api_key = "${A}"\nproxy = "${P}"'
    assert reading(tmp_path, text, {"A": KEY, "P": "http://u:hunter22@a.lan"}).warnings == ()


@pytest.mark.parametrize("proxy", ["", 'proxy = "http://127.0.0.1:3128"\n'])
def test_an_onion_address_without_a_socks_proxy_is_refused(tmp_path: Path, proxy: str) -> None:
    (said,) = refused(tmp_path, ONION + proxy)
    assert said.startswith("providers[0].url is an .onion address, which needs a SOCKS proxy; add")


@pytest.mark.parametrize("scheme", ["socks5h", "socks5"])
def test_an_onion_address_with_a_socks_proxy_is_taken(tmp_path: Path, scheme: str) -> None:
    provider = reading(tmp_path, ONION + f'proxy = "{scheme}://127.0.0.1:9050"').config.providers[0]
    assert str(provider.proxy) == f"{scheme}://127.0.0.1:9050"


def test_a_file_without_literal_keys_may_be_read_by_all(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(RATED + 'api_key = "${A}"')
    path.chmod(0o644)
    assert load(path, {"A": KEY}).warnings == ()


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("provider-alpha", "ARBSTR_PROVIDER_ALPHA_API_KEY"),
        ("api.routstr.com", "ARBSTR_API_ROUTSTR_COM_API_KEY"),
        ("Node 7", "ARBSTR_NODE_7_API_KEY"),
        ("--a--b--", "ARBSTR_A_B_API_KEY"),
        ("東京", None),
    ],
)
def test_the_convention_spells_names_in_upper_snake_case(name: str, variable: str | None) -> None:
    assert convention_variable(name) == variable


def test_two_providers_that_share_a_variable_are_pointed_out(tmp_path: Path) -> None:
    """Or one provider would get the key of the other without anybody's noticing."""
    text = RATED.replace("alpha", "a-b") + RATED.replace("alpha", "a.b")
    (warning,) = reading(tmp_path, text, {"ARBSTR_A_B_API_KEY": KEY}).warnings
    assert '"a-b" and "a.b" both take their key from ARBSTR_A_B_API_KEY' in warning


def test_an_empty_variable_is_no_key(tmp_path: Path) -> None:
    assert refused(tmp_path, SELLER + 'api_key = "sk-${PART}"', {"PART": ""}) == [
        "providers[0].api_key needs the environment variable PART, which is empty; set it"
    ]
    loaded = reading(tmp_path, SELLER, {"ARBSTR_ALPHA_API_KEY": ""})
    assert loaded.config.providers[0].key_source == "none"
    assert "providers[0] has no key: ARBSTR_ALPHA_API_KEY is set but empty" in loaded.warnings[0]


def test_where_a_key_comes_from_is_not_the_files_to_say(tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, SELLER + 'key_source = "convention"')
    assert problem.startswith("providers[0].key_source is not a known key; the keys there are name, kind, url, api_key")
    assert "key_source" not in problem.removeprefix("providers[0].key_source")


# --- what is refused, and in which words


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ("input_rat = 1", "providers[0].input_rat is not a known key; did you mean providers[0].input_rate?"),
        ("inputRate = 1", "providers[0].inputRate is not a known key; did you mean providers[0].input_rate?"),
        ("backoff = 1", "providers[0].backoff is not a known key; it belongs in [retry]"),
        ("keywords = []", "providers[0].keywords is not a known key; it belongs in [[policies.rules]]"),
        ('"x y" = 1', 'providers[0]."x y" is not a known key; the keys there are name, kind, url'),
        ("timeouts = { conect = 1 }", "providers[0].timeouts.conect is not a known key; did you mean providers[0].tim"),
        ("[sever]", "sever is not a known key; did you mean server?"),
        ("[[policies.rules]]\nname = 'r'\nkeyword = []", "policies.rules[0].keyword is not a known key; did you mean"),
    ],
)
def test_an_unknown_key_is_refused_with_the_one_that_was_meant(tmp_path: Path, more: str, problem: str) -> None:
    (said,) = refused(tmp_path, SELLER + more)
    assert said.startswith(problem)


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ('input_rate = "abc"', 'input_rate is the string "abc"; it must be a number, without quotes'),
        ('input_rate = "10"', 'input_rate is the string "10"; it must be a number, without quotes'),
        ("input_rate = true", "input_rate is true; it must be a number, without quotes"),
        ("input_rate = [1]", "input_rate is a list; it must be a number, without quotes"),
        ("input_rate = 1979-05-27", "input_rate is a date or time; it must be a number, without quotes"),
        ('models = "gpt-4o"', 'models is the string "gpt-4o"; it must be a list, as in ["a", "b"]'),
        ("models = [1]", "models[0] is 1; it must be a string, in quotes"),
        ('models = ["a", ""]', "models[1] is empty; fill it in or leave it out"),
        ("max_in_flight = 1.5", "max_in_flight is 1.5; it must be a whole number, without quotes or a decimal point"),
        ("max_in_flight = true", "max_in_flight is true; it must be a whole number, without quotes or a decimal point"),
        ("timeouts = 5", "timeouts is 5; it must be a table of keys"),
        ("api_key = 12345678901234", "api_key is of the wrong type; it must be a string, in quotes"),
        ("api_key = ['sk-abcdefghijkl']", "api_key is of the wrong type; it must be a string, in quotes"),
        ('api_key = ""', "api_key is empty; fill it in or leave it out"),
        ("api_key = 'a b'", "api_key has a space, a line break or another character that a header can't carry; remove"),
        ("input_rate = -3", "input_rate is -3; it must be at least 0"),
        ("output_rate = -0.5", "output_rate is -0.5; it must be at least 0"),
        ("base_fee = -1", "base_fee is -1; it must be at least 0"),
        ("cached_input_rate = -1", "cached_input_rate is -1; it must be at least 0"),
        ("cache_write_rate = -0.5", "cache_write_rate is -0.5; it must be at least 0"),
        ("input_rate = nan", "input_rate is nan; it must be a finite number"),
        ("input_rate = inf", "input_rate is inf; it must be a finite number"),
        ("input_rate = 1e999", "input_rate is inf; it must be a finite number"),
        ("input_rate = 1e10", "input_rate is 10000000000.0; it must be at most 1,000,000,000"),
        ("timeouts = { idle = 0 }", "timeouts.idle is 0; it must be more than 0"),
        ("weight = 0", "weight is 0; it must be more than 0"),
        ('kind = "routstar"', 'kind is the string "routstar"; it must be one of openai, routstr; did you mean "rou'),
        ("refresh = 0", "refresh is 0; it must be at least 0.1"),
        ('on_client_gone = "drian"', 'on_client_gone is the string "drian"; it must be one of drain, cancel; did you'),
    ],
)
def test_a_value_of_a_wrong_type_or_size_is_refused(tmp_path: Path, more: str, problem: str) -> None:
    (said,) = refused(tmp_path, SELLER + more)
    assert said.startswith(f"providers[0].{problem}")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "[providers]\nname = 'a'",
            "providers is a table; it must be a list of tables; write [[providers]] above each",
        ),
        ("server = 3", "server is 3; it must be a table of keys"),
        ("[[retry]]\nbackoff = 1", "retry is a list; it must be a table of keys"),
        ("[logging]\nlog_requests = 'yes'", 'logging.log_requests is the string "yes"; it must be true or false'),
        ("[logging]\nlevel = 'loud'", "logging.level has an unknown level; the levels are debug, info, warning, error"),
        ("[server]\nmax_in_flight = 0", "server.max_in_flight is 0; it must be at least 1"),
        ("[breaker]\nfailure_threshold = 0", "breaker.failure_threshold is 0; it must be at least 1"),
        ("[retry]\nmax_retries = 21", "retry.max_retries is 21; it must be at most 20"),
        ("[database]\npath = 'postgres://h/d'", "database.path must be a file path, as in ./arbstr.db"),
        ("[breaker]\nopen_for = 900", "breaker.max_open_for (600) is less than breaker.open_for (900); raise it"),
        ("[mock]\nseed = 99999999999999999999", "mock.seed is 99999999999999999999; it must be less than"),
    ],
)
def test_every_table_is_checked(tmp_path: Path, text: str, problem: str) -> None:
    start = "" if "providers" in text else SELLER
    (said,) = refused(tmp_path, text if text.startswith("server") else start + text)[:1]
    assert said.startswith(problem)


@pytest.mark.parametrize("place", ["policies.default_strategy", "policies.rules[0].strategy"])
def test_an_unknown_strategy_is_refused_with_those_there_are(tmp_path: Path, place: str) -> None:
    table = "[[policies.rules]]\nname = 'r'\n" if "rules" in place else "[policies]\n"
    (said,) = refused(tmp_path, SELLER + table + f"{place.rpartition('.')[2]} = 'cheapst'")
    assert said == (
        f'{place} is the string "cheapst"; it must be one of cheapest (= lowest_cost), lowest_latency, round_robin, '
        'weighted; did you mean "cheapest"?'
    )


@pytest.mark.parametrize("name", ["", "a\tb", " a", "a\u202eb", "x" * 101, "(none)", "(None)"])
def test_a_name_must_fit_a_header_and_a_screen(tmp_path: Path, name: str) -> None:
    (said,) = refused(tmp_path, f"[[providers]]\nname = {json.dumps(name)}\nurl = 'https://a'")
    assert said.startswith("providers[0].name ")


@pytest.mark.parametrize(("first", "second"), [("alpha", "alpha"), ("alpha", "ALPHA")])
@pytest.mark.parametrize("table", ["providers", "policies.rules", "mock.providers"])
def test_a_name_is_given_once_whatever_its_case(tmp_path: Path, table: str, first: str, second: str) -> None:
    url = "url = 'https://a'\n" if table == "providers" else ""
    twice = "".join(f"[[{table}]]\nname = '{name}'\n{url}" for name in (first, second))
    problems = refused(tmp_path, twice if table == "providers" else SELLER + twice)
    assert problems == [f'{table}[1].name is "{second}", already used by {table}[0]; rename one']


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("api.routstr.com/v1", "it must begin with http:// or https://"),
        ("ftp://a.example/v1", "it must begin with http:// or https://"),
        ("", "it must begin with http:// or https://"),
        ("https://", "it lacks a host"),
        ("https:///v1", "it lacks a host"),
        ("https://:443/v1", "it lacks a host"),
        ("https://a.example:99999/v1", "its host or port is malformed"),
        ("https://a.example:x/v1", "its host or port is malformed"),
        ("https://[::1/v1", "its host or port is malformed"),
        ("https://a.example:0/v1", "its port is 0"),
        ("https://a.example/v1?key=1", "it has a query or a fragment"),
        ("https://a.example/v1#x", "it has a query or a fragment"),
        ("https://a example/v1", "it has a space"),
        ("https://a.example/\\nv1", "it has a space"),
        ("https://a.example\\\\@b/v1", "it has a space, a backslash"),
    ],
)
def test_a_url_that_cannot_be_called_is_refused(tmp_path: Path, url: str, complaint: str) -> None:
    (said,) = refused(tmp_path, f'[[providers]]\nname = "a"\nurl = "{url}"')
    assert said.startswith("providers[0].url is not a valid URL: ")
    assert complaint in said


@pytest.mark.parametrize(
    "url", ["https://user:hunter2pass@a.example/v1", "https://hunter2pass@a.example", "u:hunter2pass@a"]
)
def test_credentials_in_a_url_are_refused_and_not_repeated(tmp_path: Path, url: str) -> None:
    (said,) = refused(tmp_path, f'[[providers]]\nname = "a"\nurl = "{url}"')
    assert "hunter2pass" not in said
    assert "credentials" in said or "must begin with" in said


@pytest.mark.parametrize("key", ["providers", "exclude_providers"])
def test_a_rule_may_name_only_providers_that_there_are(tmp_path: Path, key: str) -> None:
    text = SELLER + f"[[policies.rules]]\nname = 'r'\n{key} = ['alpha', 'alhpa', 'zzz']"
    assert refused(tmp_path, text) == [
        f'policies.rules[0].{key}[1] is "alhpa", but no provider has that name; did you mean "alpha"?',
        f'policies.rules[0].{key}[2] is "zzz", but no provider has that name; the providers are alpha',
    ]


@pytest.mark.parametrize("text", ["", "providers = []", "[server]"])
def test_there_must_be_somebody_to_buy_from(tmp_path: Path, text: str) -> None:
    (said,) = refused(tmp_path, text)
    assert said.startswith("providers is empty: no providers are configured; add a [[providers]] table")


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    text = """
    [server]
    listen = "nowhere"
    lisen = 1
    [[providers]]
    name = "a"
    url = "x"
    api_key = "${UNSET}"
    input_rate = -1
    [[providers]]
    name = "A"
    [policies]
    default_strategy = "best"
    """
    problems = refused(tmp_path, text)
    places = {problem.split(" ")[0] for problem in problems}
    assert places == {
        "server.listen",
        "server.lisen",
        "providers[0].url",
        "providers[0].api_key",
        "providers[0].input_rate",
        "providers[1].url",
        "providers[1].name",
        "policies.default_strategy",
    }
    assert len(problems) == len(places)


# --- files that cannot be read


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"a = [1,", "end of document: not valid TOML"),
        (b"[server]\nlisten = nope\n", "line 2, column 10: not valid TOML (invalid value)"),
        (b"a = 1\na = 2", "end of document: not valid TOML (cannot overwrite a value); it is defined twice"),
        (b"a = 'x'\nb = '\xff'", "line 2 is not UTF-8"),
        (b"a = " + b"[" * 5000, "is nested too deeply"),
        (b"a" + b".a" * 3000 + b" = 1", "a.a.a.a.a.a.a.a.a.a.a.a.a is nested too deeply"),
        (b"a = " + b"9" * 5000, "is not valid TOML: it holds a number or date that is out of range"),
    ],
    ids=["unclosed", "no value", "said twice", "not UTF-8", "deep list", "deep key", "long number"],
)
def test_what_is_no_toml_is_refused_with_the_place(tmp_path: Path, data: bytes, problem: str) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert caught.value.problems[0].startswith(f"{path}: {problem}")


def test_a_missing_file_says_how_to_start(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    with pytest.raises(ConfigError, match=re.escape(f"{path}: no such file")) as caught:
        load(path, {})
    (said,) = caught.value.problems
    assert "'arbstr init' writes one" in said
    assert "arbstr serve --mock" in said


def test_a_directory_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read \(Is a directory\); check the path"):
        load(tmp_path, {})


# --- nothing of a key is ever shown


def test_a_key_is_masked_wherever_the_configuration_is_shown(tmp_path: Path) -> None:
    config = reading(tmp_path, SELLER + f"api_key = '{KEY}'\n[server]\nauth_token = '{KEY}2'").config
    shown = [repr(config), str(config), f"{config.providers[0]}", config.model_dump_json(), str(config.model_dump())]
    assert all(KEY not in text for text in shown)
    assert config.providers[0].public()["api_key"] == "sk-5ec...***"


def test_pydantics_own_errors_repeat_no_value() -> None:
    with pytest.raises(ValidationError) as caught:
        Config.model_validate({"providers": [{"name": "a", "api_key": KEY + " ", "url": [KEY]}], "server": KEY})
    assert KEY not in str(caught.value)
    assert KEY not in repr(caught.value)


def test_a_provider_made_in_code_takes_its_key_as_text_or_as_a_secret() -> None:
    given = Provider(name="a", url="https://a", api_key=Secret(KEY))
    assert given == Provider.model_validate({"name": "a", "url": "https://a", "api_key": KEY})


KEY_TABLES: list[str] = [
    "[[providers]]\nname = 'a'\nurl = '{}'",
    "[[providers]]\nname = 'a'\nurl = 'https://{}@a/v1'",
    "[[providers]]\nname = 'a'\nurl = 'https://a/{}?x'",
    SELLER + "api_kye = '{}'",
    SELLER + "input_rate = '{}'",
    SELLER + "models = '{}'",
    SELLER + "on_client_gone = '{}'",
    SELLER + "api_key = '{} '",
    SELLER + "api_key = ['{}']",
    SELLER + "api_key = {{ x = '{}' }}",
    SELLER + "api_key = '{}${{UNSET}}'",
    SELLER + "api_key = {}",
    SELLER + "{} = 1",
    SELLER + "[policies]\ndefault_strategy = '{}'",
    SELLER + "[[policies.rules]]\nname = 'r'\nproviders = ['{}']",
    SELLER + "[server]\nlisten = '{}'",
    SELLER + "[server]\nlisten = 'a:b:{}'",
    SELLER + "[logging]\nlevel = '{}'",
    SELLER + "[database]\npath = 'x://{}'",
    "a = '${{{}}}'",
]


@pytest.mark.parametrize("text", KEY_TABLES)
def test_a_key_in_a_wrong_place_is_not_repeated(tmp_path: Path, text: str) -> None:
    assert all(KEY not in problem for problem in refused(tmp_path, text.format(KEY)))


@pytest.mark.parametrize("text", [text for text in KEY_TABLES if "'{}" in text or "{}'" in text])
def test_what_a_variable_holds_is_not_repeated_whatever_it_looks_like(tmp_path: Path, text: str) -> None:
    environ = {"PLAIN": "hunter2 hunter2"}
    assert all("hunter2" not in problem for problem in refused(tmp_path, text.format("${PLAIN}"), environ))


# --- whatever the file says, it is read or refused in words


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return str(value).lower()


def option_names(section: type[BaseModel] = Config) -> set[str]:
    names = set(section.model_fields)
    for field in section.model_fields.values():
        for inner in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(inner, type) and issubclass(inner, Section):
                names |= option_names(inner)
    return names


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["${KEY}", "x${KEY}y", "${UNSET}", "${KEY", "alpha", "https://a.example", "cheapest", "127.0.0.1:80", "$$", KEY]
)
scalars = texts | st.integers() | st.floats() | st.booleans() | st.just(10**400)
keys = st.sampled_from(sorted(option_names())) | st.text("ab-_ .\u202e", min_size=1, max_size=5)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=6), max_leaves=25
)
documents = st.dictionaries(keys, values, max_size=5)
fuzz = settings(max_examples=examples(50), suppress_health_check=[HealthCheck.function_scoped_fixture])


@fuzz
@given(documents, st.dictionaries(keys.filter(lambda key: key != "name"), values, max_size=5))
def test_any_toml_is_read_or_refused_in_words_without_a_key(
    tmp_path: Path, document: dict[str, Any], provider: dict[str, Any]
) -> None:
    providers = document.get("providers")
    tables = [*(providers if isinstance(providers, list) else []), {"name": "b", "url": "https://b", **provider}]
    document["providers"] = tables
    text = "\n".join(f"{json.dumps(key)} = {toml(value)}" for key, value in document.items())
    path = tmp_path / "fuzz.toml"
    path.write_text(text, encoding="utf-8")
    for problem in problems_of(path, {"KEY": "hunter2-hunter2"}):
        assert problem == sanitize(problem, most=len(problem)), "one line, and nothing in it that acts"
        assert KEY not in problem
        assert "hunter2" not in problem


def problems_of(path: Path, environ: Mapping[str, str]) -> list[str]:
    try:
        load(path, environ)
    except ConfigError as error:
        return error.problems
    return []


@fuzz
@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_read_or_refused_in_words(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "fuzz.toml"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as caught:  # never valid: no provider fits in it
        load(path, {})
    assert all("\n" not in problem for problem in caught.value.problems)


# --- what is valid and still worth a warning


def warned(tmp_path: Path, table: str, environ: Mapping[str, str] | None = None) -> list[str]:
    """The warnings for one provider, without the file's name."""
    loaded = reading(tmp_path, f'[[providers]]\nname = "alpha"\n{table}', environ)
    return [warning.partition(": ")[2] for warning in loaded.warnings]


PRICED = "input_rate = 10\noutput_rate = 30\n"
CONVENTION = {"ARBSTR_ALPHA_API_KEY": KEY}


def test_a_provider_without_a_key_warns_of_the_variable_to_set(tmp_path: Path) -> None:
    assert warned(tmp_path, PRICED + 'url = "https://alpha.example/v1"') == [
        "providers[0] has no key; set ARBSTR_ALPHA_API_KEY, or api_key"
    ]


def test_a_copied_example_warns_of_every_key_that_is_still_missing() -> None:
    warnings = load(EXAMPLE, {}).warnings
    assert [warning.partition(": ")[2] for warning in warnings] == [
        "providers[0] has no key; set ARBSTR_PROVIDER_ALPHA_API_KEY, or api_key",
        "providers[1] has no key; set ARBSTR_PROVIDER_BETA_API_KEY, or api_key",
    ]


@pytest.mark.parametrize(
    ("url", "is_warned"),
    [
        ("http://alpha.example/v1", True),
        ("http://192.168.1.7:3000/v1", True),
        ("http://127.example.com/v1", True),
        ("https://alpha.example/v1", False),
        ("http://localhost:8000/v1", False),
        ("http://127.0.0.1:8000/v1", False),
        ("http://[::1]:8000/v1", False),
        ('http://nodeabcdefghijklmnop.onion/v1"\nproxy = "socks5h://127.0.0.1:9050', False),
    ],
)
def test_a_key_that_goes_over_plain_http_warns_unless_it_stays_on_the_machine(
    tmp_path: Path, url: str, is_warned: bool
) -> None:
    warnings = warned(tmp_path, PRICED + f'url = "{url}"', CONVENTION)
    assert any("sends the key over plain http" in warning for warning in warnings) is is_warned
    assert len(warnings) == is_warned


def test_a_provider_without_rates_warns_that_it_wins_every_choice(tmp_path: Path) -> None:
    (warning,) = warned(tmp_path, 'url = "https://alpha.example/v1"', CONVENTION)
    assert warning.startswith("providers[0] has no rates: it counts as free and is always chosen")
    assert warned(tmp_path, 'url = "https://alpha.example/v1"\ninput_rate = 0', CONVENTION) == [], "said to be free"
    assert warned(tmp_path, 'url = "https://alpha.example/v1"\nbase_fee = 1', CONVENTION) == []
    assert warned(tmp_path, 'url = "https://alpha.example/v1"\nkind = "routstr"', CONVENTION) == [], "the node says"


@pytest.mark.parametrize("rates", ["input_rate = 2500\noutput_rate = 10000", "input_rate = 150\noutput_rate = 600"])
def test_rates_that_look_like_sats_per_million_tokens_warn(tmp_path: Path, rates: str) -> None:
    of_input, of_output = warned(tmp_path, f'url = "https://alpha.example/v1"\n{rates}', CONVENTION)
    assert of_input.startswith("providers[0].input_rate of ")
    assert of_output.startswith("providers[0].output_rate of ")
    assert "looks like sats per million tokens" in of_output


@pytest.mark.parametrize(("mode", "is_warned"), [(0o644, False), (0o664, True), (0o646, True), (0o600, False)])
def test_a_file_that_others_may_write_warns(tmp_path: Path, mode: int, is_warned: bool) -> None:
    path = tmp_path / "config.toml"
    path.write_text(RATED)
    path.chmod(mode)
    warnings = load(path, CONVENTION).warnings
    assert any("others can write to the file" in warning for warning in warnings) is is_warned


def test_a_mock_run_is_spared_warnings_about_providers_that_it_does_not_ask(tmp_path: Path) -> None:
    assert reading(tmp_path, SELLER, mock=True).warnings == ()


# --- values from the environment


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
def test_line_ends_around_a_value_are_dropped(tmp_path: Path, end: str) -> None:
    assert load_provider(tmp_path, 'api_key = "${A}"', {"A": KEY + end}).api_key == Secret(KEY)
    assert load_provider(tmp_path, "", {"ARBSTR_ALPHA_API_KEY": KEY + end}).api_key == Secret(KEY)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (f'"{KEY}"', "has quotes around its value"),
        (f"'{KEY}'\n", "has quotes around its value"),
        (f"{KEY[:9]}\n{KEY[9:]}", "has a control character in its value"),
        (f"{KEY}\x1b[0m", "has a control character in its value"),
        (f"{KEY}\x85", "has a control character in its value"),
    ],
)
def test_a_value_that_can_not_be_meant_is_refused_by_its_variable(tmp_path: Path, value: str, problem: str) -> None:
    for text, variable in ((SELLER, "ARBSTR_ALPHA_API_KEY"), (SELLER + 'api_key = "${A}"', "A")):
        (said,) = refused(tmp_path, text, {variable: value})
        assert f"{variable}, which {problem}; remove" in said
        assert KEY[:9] not in said


def test_every_string_that_names_a_variable_refuses_values_that_can_not_be_meant(tmp_path: Path) -> None:
    text = SELLER + '[database]\npath = "${LEDGER}"\n[server]\nauth_token = "${TOKEN}"'
    problems = refused(tmp_path, text, {"LEDGER": "'./a.db'", "TOKEN": '"let-me-in-please"'})
    assert [problem.partition(",")[0] for problem in problems] == [
        "database.path needs the environment variable LEDGER",
        "server.auth_token needs the environment variable TOKEN",
    ]


# --- the example


def test_the_example_is_valid_as_it_stands() -> None:
    loaded = load(EXAMPLE, {"ARBSTR_PROVIDER_ALPHA_API_KEY": KEY, "ARBSTR_PROVIDER_BETA_API_KEY": KEY})
    assert loaded.warnings == ()
    assert loaded.config.model_dump(exclude={"providers", "policies"}) == Config().model_dump(
        exclude={"providers", "policies"}
    ), "values in the example are the defaults"


def test_the_example_has_every_option() -> None:
    text = EXAMPLE.read_text()
    missing = [
        name
        for name in option_names() - {"key_source", "key_variable"}
        if not re.search(rf"^(# )?{name} = |[{{,] {name} = |^(# )?\[+([a-z]+\.)?{name}\]", text, re.MULTILINE)
    ]
    assert missing == []


def test_the_example_is_valid_with_its_comments_taken_away(tmp_path: Path) -> None:
    text = re.sub(r"^# (?=[a-z_0-9]+ = |\[)", "", EXAMPLE.read_text(), flags=re.MULTILINE)
    tokens = {"ARBSTR_TOKEN": "let-me-in-please", "ARBSTR_METRICS_TOKEN": "for-metrics-alone"}
    alerts = {"ARBSTR_WEBHOOK": "https://hooks.example/arbstr", "ARBSTR_WEBHOOK_SECRET": "sign-with-this"}
    config = reading(tmp_path, text, {**tokens, **alerts, "ALPHA_KEY": KEY}).config
    assert config.providers[0].api_key == Secret(KEY)
    assert config.budget.max_sats_per_day == 10000
    assert config.mock.providers[0].name == "mock-alpha"


CLIENT = f'[[clients]]\nname = "alice"\nkey_sha256 = "{"a" * 64}"\n'


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (CLIENT, "clients[1].name is"),
        (CLIENT.replace("alice", "ALICE").replace("a" * 64, "b" * 64), "already used by clients[0]"),
        (CLIENT.replace("alice", "bob"), "clients[1].key_sha256 is of the same key as clients[0]"),
        (CLIENT.replace("alice", "bob").replace("aaaa", "AAAA"), "clients[1].key_sha256 is not a SHA-256 digest"),
        ('policy = "cod"\n', 'clients[0].policy is "cod", but no rule has that name; did you mean "code"?'),
        ("max_sats_per_day = -1\n", "clients[0].max_sats_per_day is -1"),
        ('expires = "soon"\n', "clients[0].expires is no time in ISO 8601"),
        ("key = 1\n", "clients[0].key is not a known key"),
        ('[[policies.rules]]\nname = "client:alice"\n', "rename the rule"),
    ],
)
def test_clients_that_can_not_be_are_refused(tmp_path: Path, more: str, problem: str) -> None:
    rule = '[[policies.rules]]\nname = "code"\n'
    problems = refused(tmp_path, f"{RATED}{rule}{CLIENT}{more}")
    assert any(problem in one for one in problems), problems


def test_a_clients_key_is_not_auth_token(tmp_path: Path) -> None:
    token = "let-me-in-please"
    text = f'[server]\nauth_token = "${{T}}"\n{RATED}[[clients]]\nname = "a"\nkey_sha256 = "{digest_of(token)}"\n'
    assert refused(tmp_path, text, {"T": token}) == [
        "clients[0].key_sha256 is of the same key as server.auth_token; give each its own"
    ]
