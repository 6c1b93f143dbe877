"""`arbstr requests`, `arbstr stats`, `arbstr db` over real ledgers; as processes where that makes a difference."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import pty
import sqlite3
import struct
import subprocess
import sys
import tempfile
import termios
import time
from contextlib import closing
from fcntl import ioctl
from pathlib import Path
from typing import Any

import pytest

from arbstr.cli.output import bar
from arbstr.cli.tables import Column, Table, cell_width, fit
from arbstr.ledger.export import csv_lines
from arbstr.ledger.read_connection import ReadConnection
from arbstr.types import RequestRecord
from tests.support.command import Done, run_command
from tests.support.ledger_builders import MINUTE, first_ledger, insert, read, record, write
from tests.support.patience import PATIENCE_S
from tests.support.processes import started

NOW = time.time_ns() // 1_000_000
HOSTILE = "\x1b]0;owned\x07\u202e=cmd|' /C calc'!A0"


def environment(path: Path | str) -> dict[str, str]:
    """This process's own but for arbstr's part, and the ledger's place."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ARBSTR")}
    return inherited | {"DATABASE_URL": str(path), "PYTHONUTF8": "1"}


def arbstr(path: Path | str, *arguments: str, status: int = 0, environ: dict[str, str] | None = None) -> Done:
    """Run a command on the ledger at the path, away from any configuration."""
    done = run_command(*arguments, environ=environment(path) | (environ or {}))
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done


def shown(path: Path | str, *arguments: str) -> str:
    return arbstr(path, *arguments).stdout


def a_ledger(path: Path, *rows: RequestRecord) -> Path:
    asyncio.run(write(path / "arbstr.db", rows))
    return path / "arbstr.db"


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return a_ledger(
        tmp_path,
        record(received_at_ms=NOW - 3 * MINUTE, cost_msats=1500, latency_ms=100, policy="code"),
        record(received_at_ms=NOW - 2 * MINUTE, cost_msats=500, latency_ms=300, streaming=True, provider="beta"),
        record(
            received_at_ms=NOW - 1 * MINUTE,
            cost_msats=None,
            latency_ms=200,
            model="claude",
            provider=None,
            success=False,
            error_status=503,
            error_message="nobody there",
        ),
    )


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("requests",), 0),
        (("requests", "--csv"), 0),
        (("stats", "--since", "2020-01-01T00:00Z", "--until", "2100-01-01T00:00Z", "--group-by", "model"), 0),
        (("db", "info"), 0),
        (("stats", "--model", "gpt4o"), 1),
        (("requests", "--limit", "x"), 2),
    ],
)
def test_a_command_prints_the_same_as_a_process(ledger: Path, arguments: tuple[str, ...], status: int) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "arbstr", *arguments],
        capture_output=True,
        text=True,
        env=environment(ledger),
        check=False,
        timeout=PATIENCE_S,
    )
    assert Done(process.stdout, process.stderr, process.returncode) == arbstr(ledger, *arguments, status=status)


def test_requests_are_listed_newest_first(ledger: Path) -> None:
    header, first, second, third, footer = shown(ledger, "requests").splitlines()
    assert header.split() == ["time", "(UTC)", "model", "provider", "policy", "kind", "ms", "tokens", "sats", "error"]
    assert "FAILED" in first
    assert first.endswith("503 nobody there")
    assert "beta" in second
    assert "stream" in second
    assert third.split()[2:6] == ["ok", "gpt-4o", "alpha", "code"]
    assert footer.startswith("3 requests from ")
    assert {line.index("json") for line in (first, third)} == {second.index("stream")}


def test_the_footer_says_how_many_more_there_are(ledger: Path) -> None:
    assert "2 of 3 requests" in shown(ledger, "requests", "--limit", "2").splitlines()[-1]
    assert len(shown(ledger, "requests", "--limit", "0").splitlines()) == 5
    assert shown(ledger, "requests", "--policy", "nobody").startswith("No requests from ")


@pytest.mark.parametrize("command", [("requests",), ("requests", "--json"), ("requests", "--csv"), ("stats", "--json")])
@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--model", "gpt4o"), '--model "gpt4o" is neither in the ledger nor configured; did you mean "gpt-4o"?'),
        (("--provider", "bete"), '--provider "bete" is neither in the ledger nor configured; did you mean "beta"?'),
        (
            ("--provider", "\x1b]0;x"),
            '--provider "\ufffd]0;x" is neither in the ledger nor configured; known: alpha, beta',
        ),
    ],
)
def test_a_name_that_nobody_knows_is_most_likely_a_slip(
    ledger: Path, command: tuple[str, ...], option: tuple[str, str], said: str
) -> None:
    done = arbstr(ledger, *command, *option, status=1)
    assert (done.stdout, done.stderr) == ("", f"arbstr: {said}\n")


def test_a_name_that_is_configured_may_have_had_no_requests_yet(ledger: Path) -> None:
    config = ledger.with_name("config.toml")
    provider = '[[providers]]\nname = "Gamma"\nurl = "http://127.0.0.1:1/v1"\nmodels = ["o3"]\n'
    config.write_text(f'{provider}[aliases]\nfast = "o3"\n')
    here = {"ARBSTR_CONFIG": str(config)}
    assert arbstr(ledger, "requests", "--provider", "gamma", "--json", environ=here).stdout == "[]\n"
    for model in ("O3", "Fast"):
        found = json.loads(arbstr(ledger, "stats", "--model", model, "--json", environ=here).stdout)
        assert found["counts"]["total"] == 0
    assert 'did you mean "Gamma"?' in arbstr(ledger, "stats", "--provider", "gamme", environ=here, status=1).stderr


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ((), [3, 2, 1]),
        (("--order", "ASC"), [1, 2, 3]),
        (("--sort", "cost_sats"), [1, 2, 3]),
        (("--sort", "latency_ms", "--order", "asc"), [1, 3, 2]),
        (("--failed",), [3]),
        (("--success",), [2, 1]),
        (("--streaming",), [2]),
        (("--no-streaming", "--success"), [1]),
        (("--model", "GPT-4O", "--provider", "Beta"), [2]),
        (("--policy", "CODE"), [1]),
        (("--until", "2020-01-01T00:00:00Z"), []),
        (("--since", "2020-01-01T00:00:00+02:00"), [3, 2, 1]),
        (("--range", "last_1h", "--limit", "1"), [3, 2, 1]),
    ],
)
def test_filters_and_orders_are_those_of_the_endpoint(ledger: Path, options: tuple[str, ...], ids: list[int]) -> None:
    assert [entry["id"] for entry in json.loads(shown(ledger, "requests", "--json", *options))] == ids


def test_json_has_an_entry_to_a_line_shaped_as_the_endpoints(ledger: Path) -> None:
    text = shown(ledger, "requests", "--json")
    opening, *entries, closing_ = text.splitlines()
    assert (opening, closing_) == ("[", "]")
    found: list[dict[str, Any]] = [json.loads(entry.rstrip(",")) for entry in entries]
    assert found == json.loads(text)
    assert found[0]["error"] == {"status": 503, "message": "nobody there"}
    assert found[1]["cost"] == {"sats": 0.5, "provider_sats": None, "list_sats": None}
    assert "error" not in found[1]
    assert json.loads(shown(ledger, "requests", "--json", "--policy", "none")) == []


def test_csv_has_the_promised_columns(ledger: Path) -> None:
    text = shown(ledger, "requests", "--csv")
    assert text.splitlines()[0] == (
        "id,request_id,timestamp,model,provider,policy,streaming,success,input_tokens,output_tokens,cost_sats,"
        "provider_cost_sats,latency_ms,stream_duration_ms,error_status,error_message"
    )
    failed, stream, _ = csv.DictReader(io.StringIO(text))
    assert (failed["provider"], failed["cost_sats"], failed["success"]) == ("", "", "false")
    assert (failed["error_status"], failed["error_message"]) == ("503", "nobody there")
    assert (stream["cost_sats"], stream["streaming"], stream["latency_ms"]) == ("0.5", "true", "300")


def test_foreign_text_reaches_neither_terminal_nor_spreadsheet_as_a_command(tmp_path: Path) -> None:
    path = a_ledger(
        tmp_path,
        record(received_at_ms=NOW - MINUTE, model=HOSTILE, provider="=1+1", success=False, error_message="a\nb\x9bc"),
    )
    for arguments in (("requests",), ("requests", "--json"), ("requests", "--csv"), ("stats", "--group-by", "model")):
        text = shown(path, *arguments)
        assert not set(text) & set("\x1b\x07\x9b\u202e")
    [entry] = json.loads(shown(path, "requests", "--json"))
    assert entry["model"] == HOSTILE
    [row] = csv.DictReader(io.StringIO(shown(path, "requests", "--csv")))
    assert row["provider"] == "'=1+1"
    assert row["model"].startswith("'")


def test_stats_show_totals_and_a_bar_for_each_group(ledger: Path) -> None:
    text = shown(ledger, "stats", "--group-by", "provider")
    assert "3 from " in text
    assert "2 ok, 1 failed, 1 stream\n" in text
    assert "spent     2.000 sats" in text
    *_, header, alpha, beta, none = text.splitlines()
    assert header.split()[0] == "provider"
    assert alpha.split()[0] == "alpha"
    assert alpha.count("█") == 24
    assert beta.split()[:4] == ["beta", "1", "100%", "0.500"]
    assert beta.count("█") == 8
    assert none.split()[0] == "(none)"


def test_stats_show_what_was_charged_beside_what_the_rates_say(tmp_path: Path) -> None:
    dear = record(received_at_ms=NOW - MINUTE, cost_msats=1500, list_cost_msats=1000)
    path = a_ledger(tmp_path, dear, record(received_at_ms=NOW - MINUTE, cost_msats=500))
    text = shown(path, "stats", "--group-by", "model")
    assert "spent     2.000 sats, 1.500 by the rates\n" in text
    *_, header, row = text.splitlines()
    assert "sats  by rates" in header
    assert row.split()[:5] == ["gpt-4o", "2", "100%", "2.000", "1.500"]
    stats = json.loads(shown(path, "stats", "--json", "--group-by", "model"))
    assert (stats["list_cost_sats"], stats["models"]["gpt-4o"]["list_cost_sats"]) == (1.5, 1.5)


def test_stats_show_what_caches_had_and_saved_and_what_switching_cost(tmp_path: Path) -> None:
    warm = record(received_at_ms=NOW - MINUTE, input_tokens=100, cached_tokens=91, cache_saved_msats=720)
    cold = record(received_at_ms=NOW - MINUTE, input_tokens=100, switching_msats=1500, provider="beta")
    path = a_ledger(tmp_path, warm, cold)
    text = shown(path, "stats", "--group-by", "provider")
    assert "caches    91 of the tokens in (45.5 %); saved 0.720 sats\n" in text
    assert "          switching away from them cost 1.500 sats\n" in text
    *_, header, one, other = text.splitlines()
    assert header.split()[5:7] == ["rates", "cached"]
    assert {row.split()[0]: row.split()[5] for row in (one, other)} == {"alpha": "91%", "beta": "-"}


def test_stats_without_caches_do_not_mention_them(ledger: Path) -> None:
    assert "caches" not in shown(ledger, "stats")


def took_unexplained(path: Path, msats: int) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(
            "INSERT INTO unexplained (at_ms, provider, provider_key, msats) VALUES (?, 'alpha', 'alpha', ?)",
            (NOW - MINUTE, msats),
        )


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (1, "spent     2.200 sats, 1.500 by the rates\n          0.700 of them for no request that is known\n"),
        (0, "0.700 sats were taken all the same."),
    ],
)
def test_stats_say_what_no_request_explains(tmp_path: Path, rows: int, said: str) -> None:
    path = a_ledger(tmp_path, *[record(received_at_ms=NOW - MINUTE, cost_msats=1500)] * rows)
    took_unexplained(path, 700)
    assert said in shown(path, "stats")


def test_stats_of_nothing_say_so(ledger: Path) -> None:
    assert shown(ledger, "stats", "--policy", "nobody").startswith("No requests from ")


def test_stats_as_json_are_shaped_as_the_endpoints(ledger: Path) -> None:
    stats = json.loads(shown(ledger, "stats", "--json", "--group-by", "hour", "--range", "last_1h"))
    assert stats["counts"] == {"total": 3, "success": 2, "error": 1, "streaming": 1}
    assert stats["costs"]["total_cost_sats"] == 2.0
    assert sum(hour["counts"]["total"] for hour in stats["series"]) == 3


def test_groups_can_be_ordered_and_cut(ledger: Path) -> None:
    arguments = ("stats", "--group-by", "provider", "--limit", "1")
    assert "… 2 more" in shown(ledger, *arguments).splitlines()[-1]
    assert shown(ledger, *arguments, "--order", "asc").splitlines()[-2].startswith("(none)")
    assert shown(ledger, *arguments, "--sort", "latency_ms").splitlines()[-2].startswith("beta")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("requests", "--range", "yesterday"), "--range must be one of last_1h"),
        (("requests", "--since", "today"), "--since must be a time in ISO 8601"),
        (("requests", "--sort", "colour"), "--sort must be one of timestamp"),
        (("requests", "--order", "up"), "--order must be one of desc, asc"),
        (("requests", "--json", "--csv"), "--json and --csv are mutually exclusive"),
        (("requests", "--limit", "-1"), "--limit"),
        (("stats", "--group-by", "moon"), "--group-by must be one of model"),
    ],
)
def test_what_cannot_be_read_is_refused_in_a_sentence(ledger: Path, arguments: tuple[str, ...], said: str) -> None:
    [line] = arbstr(ledger, *arguments, status=2).stderr.splitlines()
    assert said in line


@pytest.mark.parametrize("command", [("requests",), ("stats",), ("db", "info"), ("db", "vacuum"), ("db", "rebuild")])
def test_a_ledger_that_is_not_there_is_not_made(tmp_path: Path, command: tuple[str, ...]) -> None:
    [line] = arbstr(tmp_path / "none.db", *command, status=1).stderr.splitlines()
    assert line.startswith(f"arbstr: No ledger at {tmp_path / 'none.db'}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [("requests",), ("stats",), ("db", "info")])
def test_something_else_in_a_ledgers_place_is_reported_and_left_alone(tmp_path: Path, command: tuple[str, ...]) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("milk, bread" * 100)
    [line] = arbstr(other, *command, status=1).stderr.splitlines()
    assert str(other) in line
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_a_ledger_of_an_earlier_arbstr_is_read_without_touching_it(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    first_ledger(path)
    insert(path, timestamp="2024-06-01T00:00:00Z", cost_sats=2.5)
    before = path.read_bytes()
    window = ("--since", "2024-01-01T00:00:00Z")
    assert len(json.loads(shown(path, "requests", "--json", *window))) == 1
    assert json.loads(shown(path, "stats", "--json", *window))["costs"]["total_cost_sats"] == 2.5
    assert "an earlier arbstr's" in shown(path, "db", "info")
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["old.db"]


AS_NOBODY = """
import os, sys
from arbstr.cli import run
command = ["stats", "--json"]
run(command)  # imports everything while that can be read
os.environ["DATABASE_URL"] = sys.argv[1]
os.geteuid() or os.seteuid(65534)  # to root no file is read-only
sys.exit(run(command))
"""


def test_a_ledger_where_nothing_can_be_written_is_read(ledger: Path) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "arbstr.db"
        path.write_bytes(ledger.read_bytes())
        path.chmod(0o444)
        path.parent.chmod(0o555)
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, str(path)],
            capture_output=True,
            text=True,
            env=os.environ | {"DATABASE_URL": str(ledger)},
            check=False,
        )
        left = [file.name for file in path.parent.iterdir()]
        path.parent.chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["counts"]["total"] for line in done.stdout.splitlines()] == [3, 3]
    assert left == ["arbstr.db"]


def test_db_info_says_what_a_ledger_holds(ledger: Path) -> None:
    facts = dict(line.split(maxsplit=1) for line in shown(ledger, "db", "info").splitlines())
    assert facts["ledger"] == str(ledger)
    assert facts["rows"] == "3"
    assert facts["open"].startswith("0 ")
    assert facts["unsummed"].startswith("0 ")
    assert facts["pruned"] == "never"


def test_db_vacuum_gives_space_back(tmp_path: Path) -> None:
    path = a_ledger(tmp_path, *(record(error_message="x" * 400) for _ in range(2000)))
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("DELETE FROM requests WHERE id > 10")
    before = path.stat().st_size
    assert f"{before:,} bytes before" in shown(path, "db", "vacuum")
    assert path.stat().st_size < before


def test_db_rebuild_recomputes_the_rollups(ledger: Path) -> None:
    with closing(sqlite3.connect(ledger)) as database, database:
        database.execute("DELETE FROM rollups")
    assert shown(ledger, "db", "rebuild") == f"{ledger}: rebuilt\n"
    assert read(ledger, "SELECT SUM(total) FROM rollups WHERE facet = 0 AND span_ms = 86400000") == [(3,)]
    with closing(ReadConnection(ledger, exact=0)) as questions:
        assert len(json.loads(shown(ledger, "requests", "--json"))) == 3
        assert questions.known("model", "claude")


def test_a_reader_that_leaves_early_causes_no_noise(tmp_path: Path) -> None:
    path = a_ledger(tmp_path, *(record(received_at_ms=NOW - MINUTE) for _ in range(3000)))
    command = f"{sys.executable} -m arbstr requests --csv | head -1"
    done = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        env=os.environ | {"DATABASE_URL": str(path)},
        check=True,
    )
    assert done.stdout.startswith("id,request_id")
    assert done.stderr == ""


def test_on_a_terminal_a_table_is_as_wide_as_that(tmp_path: Path) -> None:
    path = a_ledger(
        tmp_path,
        record(
            received_at_ms=NOW - MINUTE,
            model="a-model-with-a-name-" * 5,
            success=False,
            error_message="a long and winding story " * 10,
        ),
    )
    for width in (60, 80, 120):
        lines = on_a_terminal(path, width)
        assert max(map(cell_width, lines)) <= width
        assert "a-model" in lines[1]


def on_a_terminal(path: Path, width: int) -> list[str]:
    """The lines that `arbstr requests` draws on a terminal of that width."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    command = [sys.executable, "-m", "arbstr", "requests"]
    with started(command, stdout=theirs, env=environment | {"DATABASE_URL": str(path)}) as process:
        os.close(theirs)
        text = b""
        try:
            while part := os.read(ours, 65536):
                text += part
        except OSError:  # the other end is closed
            pass
        os.close(ours)
        assert process.wait(PATIENCE_S) == 0
    return text.decode().splitlines()[:2]


def test_columns_give_way_and_then_go() -> None:
    columns = (Column("model", least=10), Column("policy", least=6, goes=1), Column("sats", right=True))
    rows = [("a-very-long-model-name", "code", "1.000"), ("gpt", "-", "12.500")]
    assert Table(columns, rows, 100).line(rows[1]) == "gpt                     -       12.500"
    assert Table(columns, rows, 30).line(rows[0]) == "a-very-long-m…  code     1.000"
    assert Table(columns, rows, 20).line(rows[0]) == "a-very-lo…   1.000"


def test_texts_fit_into_cells_also_wide_and_combining_ones() -> None:
    assert fit("abc", 5) == "abc  "
    assert fit("abc", 5, right=True) == "  abc"
    assert fit("abcdef", 4) == "abc…"
    assert cell_width(fit("日本語のモデル", 6)) == 6
    assert cell_width("e\u0301") == 1


def test_bars_grow_in_eighths() -> None:
    assert [len(bar(share)) for share in (0, 1 / 192, 1, 2)] == [0, 1, 24, 24]


def test_an_empty_export_has_its_header() -> None:
    assert list(csv_lines([])) == [shown_columns()]


def shown_columns() -> str:
    from arbstr.ledger.export import CSV_COLUMNS

    return ",".join(CSV_COLUMNS)


def test_rows_of_a_client_a_session_and_a_dialect_can_be_asked_for(tmp_path: Path) -> None:
    rows = [
        record(received_at_ms=NOW - MINUTE, client="laptop", session="a" * 16),
        record(received_at_ms=NOW - MINUTE, client="laptop", dialect="messages"),
        record(received_at_ms=NOW - MINUTE),
    ]
    path = a_ledger(tmp_path, *rows)
    for options, total in (
        (("--client", "Laptop"), 2),
        (("--client", "laptop", "--dialect", "messages"), 1),
        (("--session", "A" * 16), 1),
        (("--session", "nobody"), 0),
    ):
        assert len(json.loads(shown(path, "requests", "--json", *options))) == total
        assert json.loads(shown(path, "stats", "--json", *options))["counts"]["total"] == total
    for group, lines in (("client", 2), ("session", 2), ("dialect", 2)):
        groups = json.loads(shown(path, "stats", "--json", "--group-by", group))[f"{group}s"]
        assert len(groups) == lines
        table = shown(path, "stats", "--group-by", group)
        assert all(name in table for name in groups)


@pytest.mark.parametrize("command", ["info", "vacuum", "rebuild"])
def test_a_file_that_is_no_ledger_stays_where_it_is(tmp_path: Path, command: str) -> None:
    path = tmp_path / "arbstr.db"
    path.write_text("milk, bread, and more than a hundred bytes of other things to buy " * 3)
    done = arbstr(path, "db", command, status=1)
    assert "not a database" in done.stderr
    assert list(tmp_path.iterdir()) == [path]


def test_both_ends_of_a_window_are_in_it_to_the_fraction_of_a_millisecond(tmp_path: Path) -> None:
    path, instant = tmp_path / "old.db", "2026-01-01T12:00:00.123456+00:00"
    first_ledger(path)
    insert(path, timestamp=instant)
    assert len(shown(path, "requests", "--since", instant, "--until", instant, "--csv").splitlines()) == 2


def test_json_sums_by_model_have_every_configured_model(ledger: Path, tmp_path: Path) -> None:
    config = tmp_path / "named.toml"
    config.write_text('[[providers]]\nname = "alpha"\nurl = "https://a.example/v1"\nmodels = ["gpt-4o", "unasked"]')
    arguments = ("stats", "-c", str(config), "--json", "--group-by")
    models = json.loads(shown(ledger, *arguments, "model"))["models"]
    assert {name: figures["counts"]["total"] for name, figures in models.items()} == {
        "gpt-4o": 2,
        "unasked": 0,
        "claude": 1,
    }
    assert "(none)" in json.loads(shown(ledger, *arguments, "policy"))["policies"]
