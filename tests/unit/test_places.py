from __future__ import annotations

from pathlib import Path

import pytest

from arbstr.places import PostgresPlace, is_postgres, local_path

HERE = Path("arbstr.db")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://db.lan/sats", "postgresql://db.lan/sats"),
        ("postgres://u@db.lan:5433/sats?sslmode=require", "postgresql://db.lan:5433/sats"),
        ("postgresql://u:hunter2@[::1]:5432/my%20sats", "postgresql://[::1]:5432/my sats"),
        ("postgresql://u:hunter2@a.lan:1,b.lan:2/sats", "postgresql://a.lan:1,b.lan:2/sats"),
        ("postgresql://u:hunter2@/sats?host=/run/postgresql", "postgresql:///run/postgresql/sats"),
        ("postgresql:///sats?host=/run/postgresql&password=hunter2", "postgresql:///run/postgresql/sats"),
        (
            "postgresql://a.lan/sats?host=b.lan&dbname=other",
            "postgresql://b.lan/other",
        ),  # the last word is the options'
        ("postgresql:///sats?hostaddr=10.0.0.9", "postgresql://10.0.0.9/sats"),
    ],
)
def test_a_place_is_shown_by_host_and_name(url: str, shown: str) -> None:
    assert str(PostgresPlace.at(url, HERE)) == shown


@pytest.mark.parametrize(
    "url",
    [
        "mysql://h/hunter2",
        "postgresql://hunter2",
        "postgresql://u:hunter2@h/",
        "postgresql://u:hunter2@h:a/d",
        "postgresql:u:hunter2@h/d",
        "host=h dbname=d password=hunter2",
        "postgresql://u:hunter2@[::1/d",
        "postgresql://u:a@hunter2@h/d",  # of which PostgreSQL's library would take "hunter2@h" for the host, and say so
        "postgresql://u:a/hunter2@h/d",
        "postgresql://u:a#hunter2@h/d",
    ],
)
def test_what_is_no_database_is_refused_and_not_repeated(url: str) -> None:
    assert is_postgres(url) or url.startswith("mysql")
    with pytest.raises(ValueError, match="is not a URL of a database") as caught:
        PostgresPlace.at(url, HERE)
    assert "hunter2" not in str(caught.value)
    assert "%40 for @" in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:a%40b+c@h/d",
        "postgresql://u@h/d?password=a%40b+c",  # a plus is one to PostgreSQL's library
        "postgresql://u@h/d?pass%77ord=a%40b+c",
        "postgresql://u@h/d?sslkey=/k.pem&sslpassword=a%40b+c",
    ],
)
def test_the_password_is_taken_from_any_text_however_it_is_written(url: str) -> None:
    place = PostgresPlace.at(url, HERE)
    assert place.without_password("no a@b+c for u, nor a%40b+c") == "no [REDACTED] for u, nor [REDACTED]"
    assert "a%40b" not in repr(place) + str(place)
    assert {"a@b+c", url} <= {secret.reveal() for secret in place.secrets}


def test_rows_of_one_database_wait_beside_the_path_under_a_name_of_their_own() -> None:
    one, same, other = (
        PostgresPlace.at(url, Path("/var/lib/arbstr.db"))
        for url in ("postgresql://h/a", "postgres://u@h/a", "postgresql://h/b")
    )
    assert one.spilled_at == same.spilled_at != other.spilled_at
    assert one.spilled_at.name.startswith("arbstr.db-postgresql-")
    assert local_path(one) == local_path("/var/lib/arbstr.db") == Path("/var/lib/arbstr.db")
