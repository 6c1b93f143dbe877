"""Flags, environment, file, defaults: which one holds, and where the ledger is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from arbstr.config.address import Address
from arbstr.config.paths import config_path, database_place
from arbstr.config.schema import Config
from arbstr.config.settings import Settings, resolve
from arbstr.errors import ConfigError
from arbstr.places import PostgresPlace, local_path

SELLER = '[[providers]]\nname = "alpha"\nurl = "https://alpha.example/v1"\n'


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test starts arbstr in an empty directory."""
    monkeypatch.chdir(tmp_path)


def config(text: str = "", name: str = "config.toml") -> Path:
    path = Path(name)
    path.write_text(SELLER + text)
    return path


def resolved(
    environ: Mapping[str, str] | None = None, *, listen: Address | None = None, mock: bool = False
) -> Settings:
    return resolve(environ or {}, listen=listen, mock=mock, scratch=Path("scratch"))


def test_the_defaults() -> None:
    config()
    settings = resolved()
    assert (settings.host, settings.port) == ("127.0.0.1", 8080)
    assert settings.database == "./arbstr.db"
    assert settings.log_spec == "info"
    assert settings.config_path == Path("config.toml")
    assert (settings.mock, settings.demo, settings.insecure) == (False, False, False)


def test_the_file_wins_over_the_defaults() -> None:
    config('[server]\nlisten = "127.0.0.1:1"\n[database]\npath = "a.db"\n[logging]\nlevel = "error"')
    settings = resolved()
    assert (settings.port, settings.database, settings.log_spec) == (1, "a.db", "error")


def test_the_environment_wins_over_the_file() -> None:
    config('[database]\npath = "a.db"\n[logging]\nlevel = "error"')
    settings = resolved({"DATABASE_URL": "b.db", "ARBSTR_LOG": "arbstr=debug"})
    assert (settings.database, settings.log_spec) == ("b.db", "arbstr=debug")


def test_flags_win_over_everything() -> None:
    config('[server]\nlisten = "127.0.0.1:1"')
    other = config('[server]\nlisten = "127.0.0.1:2"', "other.toml")
    assert resolve({"ARBSTR_CONFIG": "nowhere.toml"}, config=other).port == 2
    assert resolved(listen=Address("::1", 3)).port == 3


def test_an_empty_variable_is_as_good_as_none() -> None:
    config('[database]\npath = "a.db"')
    settings = resolved({"ARBSTR_CONFIG": "", "DATABASE_URL": "", "ARBSTR_LOG": ""})
    assert (settings.config_path, settings.database, settings.log_spec) == (Path("config.toml"), "a.db", "info")


def test_without_a_configuration_there_is_no_start() -> None:
    with pytest.raises(ConfigError, match=r"config\.toml: no such file"):
        resolved()


def test_warnings_of_the_file_are_passed_on() -> None:
    config('api_key = "sk-5ecret0123456789"')
    assert "providers[0].api_key is a literal key" in resolved().warnings[0]


def test_problems_of_file_and_environment_are_reported_together() -> None:
    config("input_rate = -1")
    with pytest.raises(ConfigError) as caught:
        resolved({"DATABASE_URL": "mysql://u:hunter2@h/d", "ARBSTR_LOG": "loud"})
    assert [problem.split(" ")[0] for problem in caught.value.problems] == [
        "config.toml:",
        "DATABASE_URL",
        "ARBSTR_LOG",
    ]
    assert "hunter2" not in str(caught.value)


# --- mock and demo


def test_a_mock_run_ignores_a_file_that_happens_to_lie_there() -> None:
    Path("config.toml").write_text("not toml")
    settings = resolved(mock=True)
    assert (settings.config, settings.config_path, settings.mock) == (Config(), None, True)


def test_a_mock_run_takes_a_file_that_is_named() -> None:
    named = config('[server]\nlisten = "127.0.0.1:1"', "named.toml")
    assert resolve({}, config=named, mock=True).port == 1
    assert resolved({"ARBSTR_CONFIG": "named.toml"}, mock=True).config_path == named
    with pytest.raises(ConfigError, match="no such file"):
        resolve({}, config=Path("nowhere.toml"), mock=True)


def test_a_mock_runs_ledger_is_in_the_scratch_directory_unless_the_environment_says_where() -> None:
    config('[database]\npath = "real.db"')
    assert resolve({}, config=Path("config.toml"), mock=True, scratch=Path("s")).database == str(Path("s/arbstr.db"))
    assert resolved({"DATABASE_URL": "kept.db"}, mock=True).database == "kept.db"


def test_a_demo_is_a_mock_run_with_traffic() -> None:
    settings = resolve({}, demo=True)
    assert settings.mock
    assert settings.demo


# --- who may come in


@pytest.mark.parametrize("listen", [Address("0.0.0.0", 80), Address("::", 80), Address("192.168.0.7", 80)])
def test_other_machines_are_not_let_in_without_a_token(listen: Address) -> None:
    config()
    with pytest.raises(ConfigError, match=r"without server\.auth_token .*--insecure"):
        resolved(listen=listen)
    assert resolve({}, listen=listen, insecure=True).insecure
    with pytest.raises(ConfigError) as caught:
        resolved({"ARBSTR_LOG": "loud"}, listen=listen)
    assert len(caught.value.problems) == 2


def test_with_a_token_arbstr_may_listen_anywhere() -> None:
    config('[server]\nlisten = "0.0.0.0:80"\nauth_token = "${TOKEN}"')
    assert resolved({"TOKEN": "let-me-in-please"}).host == "0.0.0.0"


# --- where things are


def test_where_the_configuration_is() -> None:
    assert config_path(None, {}) == Path("config.toml")
    assert config_path(None, {"ARBSTR_CONFIG": "a.toml"}) == Path("a.toml")
    assert config_path(Path("b.toml"), {"ARBSTR_CONFIG": "a.toml"}) == Path("b.toml")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("ledger.db", "ledger.db"),
        ("/var/lib/ledger.db", "/var/lib/ledger.db"),
        ("sqlite:///ledger.db", "ledger.db"),
        ("sqlite:////var/lib/ledger.db", "/var/lib/ledger.db"),
        ("sqlite:///my%20ledger.db", "my ledger.db"),
    ],
)
def test_the_environment_names_the_ledger_by_path_or_url(url: str, path: str) -> None:
    assert database_place({"DATABASE_URL": url}) == path


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:hunter2@h/d",
        "sqlite://",
        "sqlite:///",
        "sqlite://hunter2.db",
        "sqlite:hunter2.db",
        "sqlite:///a?b",
    ],
)
def test_another_database_is_refused_without_repeating_its_url(url: str) -> None:
    with pytest.raises(
        ConfigError,
        match=r"DATABASE_URL names neither a file nor a database of SQLite or PostgreSQL.*sqlite:////absolute/path",
    ) as caught:
        database_place({"DATABASE_URL": url})
    assert "hunter2" not in str(caught.value)


POSTGRES = "postgresql://u:hunter2@db.lan:5433/sats?sslmode=require"


def test_the_environment_may_name_a_database_of_postgresql() -> None:
    place = database_place({"DATABASE_URL": POSTGRES})
    assert isinstance(place, PostgresPlace)
    assert str(place) == "postgresql://db.lan:5433/sats"
    assert (place.url.reveal(), place.local) == (POSTGRES, Path("./arbstr.db"))


def test_so_may_the_configuration_whose_path_says_where_files_of_this_machine_are() -> None:
    config('[database]\nurl = "${PG}"\npath = "here.db"')
    for place in (database_place({"PG": POSTGRES}), resolved({"PG": POSTGRES}).database):
        assert isinstance(place, PostgresPlace)
        assert (place.url.reveal(), place.local) == (POSTGRES, Path("here.db"))
    assert resolved({"PG": POSTGRES, "DATABASE_URL": "a.db"}).database == "a.db"


def test_a_mock_run_keeps_to_its_own_ledger_whatever_the_configuration_names() -> None:
    config('[database]\nurl = "postgresql://h/d"')
    found = resolve({}, config=Path("config.toml"), mock=True, scratch=Path("s")).database
    assert found == str(Path("s/arbstr.db"))


@pytest.mark.parametrize(
    "url", ["postgresql://u:hunter2@h", "postgresql://u:hunter2@h:port/d", "postgres://u:hunter2@/"]
)
def test_a_url_of_no_database_is_refused_without_repeating_it(url: str) -> None:
    config(f'[database]\nurl = "{url}"')
    for wrong in (lambda: database_place({"DATABASE_URL": url}), lambda: database_place({}), resolved):
        with pytest.raises(ConfigError, match="is not a URL of a database; write postgresql://") as caught:
            wrong()
        assert "hunter2" not in str(caught.value)


def test_the_password_of_a_database_is_a_secret() -> None:
    config()
    secrets = resolved({"DATABASE_URL": "postgresql://u:hunt%20er2@h/d"}).secrets
    assert {"hunt%20er2", "hunt er2"} <= {secret.reveal() for secret in secrets}


def test_the_ledger_is_found_without_a_configuration() -> None:
    assert database_place({}) == "./arbstr.db"


def test_the_ledger_is_found_in_a_configuration_that_could_not_serve() -> None:
    Path("config.toml").write_text('[database]\npath = "${DIR}/a.db"\n[[providers]]\napi_key = "${UNSET}"\nwhat = 1')
    assert database_place({"DIR": "/data"}) == "/data/a.db"


@pytest.mark.parametrize("text", ["database = 3", "[database]\npath = 3", "[server]\nlisten = 'x'"])
def test_a_configuration_that_says_nothing_of_a_ledger_leaves_the_default(text: str) -> None:
    Path("config.toml").write_text(text)
    assert database_place({}) == "./arbstr.db"


def test_a_configuration_that_was_named_must_be_readable() -> None:
    with pytest.raises(ConfigError, match="no such file"):
        database_place({}, Path("nowhere.toml"))
    with pytest.raises(ConfigError, match="no such file"):
        database_place({"ARBSTR_CONFIG": "nowhere.toml"})


def test_a_configuration_that_is_there_but_broken_may_name_another_ledger_than_the_default() -> None:
    Path("config.toml").write_text('[database]\npath = "./real.db"\n[providers')
    with pytest.raises(ConfigError, match="not valid TOML"):
        database_place({})
    assert database_place({"DATABASE_URL": "kept.db"}) == "kept.db"


@pytest.mark.parametrize("url", [":memory:", "sqlite:///:memory:"])
def test_a_ledger_is_never_in_memory_alone(url: str) -> None:
    with pytest.raises(ConfigError, match="neither a file nor a database of SQLite or PostgreSQL"):
        database_place({"DATABASE_URL": url})
    config('[database]\npath = ":memory:"')
    with pytest.raises(ConfigError, match="must be a file path"):
        resolved()


def test_a_ledger_whose_variable_is_unset_is_not_guessed() -> None:
    config('[database]\npath = "${UNSET}/a.db"')
    with pytest.raises(ConfigError, match=r"config\.toml: database\.path needs the environment variable UNSET"):
        database_place({})


def test_the_environments_proxies_are_part_of_it() -> None:
    config()
    found = resolved({"HTTPS_PROXY": "http://proxy.lan:3128"}).proxies.proxy_for("https://alpha.example/v1")
    assert found is not None
    assert (str(found[0]), found[1]) == ("http://proxy.lan:3128", "HTTPS_PROXY")


def test_a_proxy_that_can_not_be_used_stops_the_start_instead_of_being_passed_by() -> None:
    config()
    with pytest.raises(ConfigError, match=r"^HTTPS_PROXY is not a supported proxy; write it like") as caught:
        resolved({"HTTPS_PROXY": "https://u:hunter22@proxy.lan"})
    assert "hunter22" not in str(caught.value)


def test_a_relative_ledger_is_relative_to_the_working_directory_and_not_to_the_configuration() -> None:
    Path("beside").mkdir()
    config('[database]\npath = "ledger.db"', "beside/config.toml")
    assert local_path(resolved({"ARBSTR_CONFIG": "beside/config.toml"}).database).absolute() == Path.cwd() / "ledger.db"
