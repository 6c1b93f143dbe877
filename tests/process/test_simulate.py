"""`arbstr simulate`: the real router against simpler rules, on real prices and real traffic."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import pty
import random
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from arbstr.cli.simulate import register
from arbstr.errors import ArbstrError, LedgerUnavailable, UnusableInput
from arbstr.simulate.inputs import read_ledger, read_prices, read_trace
from arbstr.simulate.replay import RULES, CostRatios, PricedProvider, TracedRequest, overall, simulate
from tests.support.paths import DATA
from tests.support.patience import PATIENCE_S

MARKET = DATA / "market"
PRICES = MARKET / "prices.json"
TRACES = (MARKET / "trace_conv.csv.gz", MARKET / "trace_code.csv.gz")
HEADER = "timestamp,policy,input_tokens,output_tokens\n"
START = datetime(2024, 1, 1, tzinfo=UTC)


def row(
    second: float, used_input: int, used_output: int, policy: str | None = None, model: str | None = None
) -> TracedRequest:
    return TracedRequest(START + timedelta(seconds=second), policy, used_input, used_output, model)


def ratio(ratios: CostRatios, rule: str) -> float:
    value = ratios[rule]
    assert value is not None
    return value


# --- what is compared


def test_the_rules_on_prices_small_enough_to_compute_by_hand() -> None:
    providers = [PricedProvider(10, 10), PricedProvider(1, 40), PricedProvider(30, 5)]
    rows = [row(0, 100, 10), row(1, 10, 100)]  # provider by provider: 1100 500 3050, then 1100 4010 800
    ratios = simulate({"m": providers}, rows)["m"]
    oracle = 500 + 800
    assert ratios == pytest.approx(
        {
            "arbstr": (1100 + 800) / oracle,  # expects 256 tokens at first, then about 126
            "oracle": 1,
            "list_price": (1100 + 800) / oracle,
            "output_price": (3050 + 800) / oracle,
            "blend": (1100 + 1100) / oracle,  # 40, 121, 45
            "mean": (1100 + 500 + 3050 + 1100 + 4010 + 800) / 3 / oracle,
            "dearest": (3050 + 4010) / oracle,
        }
    )


def test_fees_count() -> None:
    providers = [PricedProvider(1, 1, base_fee=1), PricedProvider(2, 2)]
    ratios = simulate({"m": providers}, [row(0, 10, 10)] * 20)["m"]
    assert ratios["dearest"] == pytest.approx(1020 / 40)


def test_lengths_are_learned_by_policy() -> None:
    providers = [PricedProvider(10, 10), PricedProvider(1, 100)]
    rows = [row(second, 500, *((1000, "long") if second % 2 else (5, "short"))) for second in range(400)]
    assert ratio(simulate({"m": providers}, rows)["m"], "arbstr") < 1.02


def test_requests_are_bought_in_the_order_of_their_time_whatever_the_order_they_come_in() -> None:
    chance = random.Random(1)
    providers = [PricedProvider(10, 10), PricedProvider(1, 60), PricedProvider(20, 2)]
    rows = [row(second, chance.randrange(1, 4000), chance.randrange(1, 900)) for second in range(200)]
    shuffled = chance.sample(rows, len(rows))
    assert simulate({"m": providers}, shuffled) == simulate({"m": providers}, rows)


def test_every_model_begins_with_nothing_learned() -> None:
    providers = [PricedProvider(10, 10), PricedProvider(1, 60)]
    rows = [row(second, 100, 20) for second in range(50)]
    both = simulate({"a": providers, "b": providers}, rows)
    assert both["a"] == both["b"] == simulate({"b": providers}, rows)["b"]


def test_requests_for_a_model_of_their_own_count_for_that_model_alone() -> None:
    providers = [PricedProvider(10, 10), PricedProvider(1, 60)]
    rows = [row(0, 100, 20, model="a"), row(1, 7, 70, model="c")]
    assert simulate({"a": providers, "b": providers}, rows) == {"a": simulate({"a": providers}, rows[:1])["a"]}


def test_the_overall_ratio_is_the_mean_in_which_each_model_counts_the_same() -> None:
    models: dict[str, CostRatios] = {
        "busy": dict.fromkeys(RULES, 1.0),
        "quiet": dict.fromkeys(RULES, 2.0),
        "free": dict.fromkeys(RULES, None),
    }
    assert overall(models) == dict.fromkeys(RULES, 1.5)


def test_where_foresight_pays_nothing_there_is_no_ratio_unless_the_rule_pays_nothing_too() -> None:
    ratios = simulate({"m": [PricedProvider(0, 0), PricedProvider(1, 1)]}, [row(0, 1, 1)])["m"]
    assert (ratios["arbstr"], ratios["oracle"], ratios["dearest"]) == (1, 1, None)


rates = st.floats(0, 100)


@given(
    st.lists(st.builds(PricedProvider, rates, rates, rates), min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(0, 50_000), st.integers(0, 5000)), min_size=1, max_size=20),
)
def test_nobody_buys_cheaper_than_with_foresight_nor_dearer_than_the_dearest(
    providers: list[PricedProvider], sizes: list[tuple[int, int]]
) -> None:
    ratios = simulate({"m": providers}, [row(place, *size) for place, size in enumerate(sizes)])["m"]
    for value in ratios.values():
        assert value is None or value >= 1 - 1e-9
        assert value is None or ratios["dearest"] is None or value <= ratios["dearest"] + 1e-9


# --- real prices, real traffic


def real_requests() -> list[TracedRequest]:
    return [request for trace in TRACES for request in read_trace(trace)]


@pytest.mark.no_cover  # what it runs is covered by others
def test_arbstr_buys_within_a_thousandth_of_foresight_where_providers_differ_most() -> None:
    market = read_prices(PRICES)
    hard = {model: market[model] for model in ("kimi-k2-thinking", "deepseek-r1-0528", "qwq-32b", "deepseek-v3.1")}
    models = simulate(hard, real_requests())
    assert max(ratio(ratios, "arbstr") for ratios in models.values()) <= 1.006
    assert ratio(overall(models), "output_price") > 1.05


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_arbstr_buys_within_two_ten_thousandths_of_foresight_over_all_models() -> None:
    models = simulate(read_prices(PRICES), real_requests())
    assert len(models) > 100
    assert ratio(overall(models), "arbstr") <= 1.0002
    assert max(ratio(ratios, "arbstr") for ratios in models.values()) <= 1.006


# --- prompt caches

CACHED = PricedProvider(10, 10, cached_rate=1)


def talk(second: float, blocks: Sequence[int], policy: str | None = None) -> TracedRequest:
    """A request of whole blocks, and an answer of 10 tokens."""
    return TracedRequest(START + timedelta(seconds=second), policy, 512 * len(blocks), 10, prefix=tuple(blocks))


def test_a_cache_holds_a_prompt_for_five_minutes_after_it_was_last_used() -> None:
    full, cached = 512 * 10 + 100, 512 + 100
    rows = [talk(0, [1]), talk(300, [1]), talk(600, [1]), talk(901, [1])]
    ratios = simulate({"m": [CACHED]}, rows)["m"]
    assert (ratios["arbstr"], ratios["list_price"], ratios["mean"]) == (1, 1, 1)
    assert ratio(ratios, "dearest") == pytest.approx(4 * full / (2 * full + 2 * cached))


def test_a_longer_prompt_is_cached_as_far_as_a_shorter_one_went() -> None:
    ratios = simulate({"m": [CACHED]}, [talk(0, [1, 2]), talk(1, [1, 2, 3]), talk(2, [1, 9])])["m"]
    dearest, cached = (2 + 3 + 2) * 5120 + 300, (2 + 1) * 512 * 9
    assert ratio(ratios, "dearest") == pytest.approx(dearest / (dearest - cached))


def test_the_oracle_finds_warm_everywhere_what_anyone_has_sent_as_far_as_the_cache_finds_it() -> None:
    plain, half = PricedProvider(10, 10), PricedProvider(11, 10, cached_rate=1, hit=0.5)
    ratios = simulate({"m": [plain, half]}, [talk(0, [1, 2]), talk(1, [1, 2])])["m"]
    cheapest, warm = 10 * 1024 + 100, 11 * 1024 + 100 - 0.5 * 10 * 1024
    assert ratio(ratios, "list_price") == pytest.approx(2 * cheapest / (cheapest + warm))


def test_arbstr_learns_which_cache_finds_what_it_has_seen() -> None:
    bad, good = PricedProvider(10, 10, cached_rate=1, hit=0), PricedProvider(10.5, 10, cached_rate=1)
    rows = [
        talk(10 * turn + talks / 100, range(talks * 100, talks * 100 + turn))
        for talks in range(20)
        for turn in range(1, 20)
    ]
    ratios = simulate({"m": [bad, good]}, rows)["m"]
    assert ratio(ratios, "arbstr") < 1.1
    assert ratio(ratios, "list_price") > 2


def test_without_prefixes_cache_prices_change_nothing() -> None:
    rows = [row(second, 100 * second, 20) for second in range(50)]
    with_caches = [PricedProvider(10, 10, cached_rate=1, hit=0.5), PricedProvider(1, 60, cached_rate=0)]
    assert simulate({"m": with_caches}, rows) == simulate({"m": [PricedProvider(10, 10), PricedProvider(1, 60)]}, rows)


@pytest.mark.no_cover  # what it runs is covered by others
def test_arbstr_buys_by_caches_within_two_hundredths_of_the_bound_on_real_prices_and_traffic() -> None:
    """On every twenty-fourth model, and those where it is hardest."""
    prices = read_prices(MARKET / "cache_prices.json")
    hardest = ["deepseek-v4.1-flash", "deepseek-v4.1-flash-fast", "deepseek-r1"]
    chosen = {model: prices[model] for model in [*list(prices)[::24], *hardest]}
    models = simulate(chosen, read_trace(MARKET / "trace_prefix.csv.gz"))
    assert max(ratio(ratios, "arbstr") for ratios in models.values()) <= 1.150
    assert ratio(overall({model: models[model] for model in list(models)[: -len(hardest)]}), "arbstr") <= 1.015
    assert ratio(overall(models), "list_price") > 1.05


# --- files


def written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_trace_is_read_whatever_the_order_of_its_columns(tmp_path: Path) -> None:
    text = (
        "\ufeffoutput_tokens,timestamp,extra,input_tokens,policy\n9,2024-01-01T00:00:01Z,x,5,\n1,2024-01-01,,2, code \n"
    )
    assert read_trace(written(tmp_path / "t.csv", text)) == [row(1, 5, 9), row(0, 2, 1, "code")]


def test_a_trace_may_have_prefixes_and_prices_those_of_prompt_caches(tmp_path: Path) -> None:
    lines = "2024-01-01,,600,9,1 2\n2024-01-01,,600,9,\n2024-01-01,,600,9, 1  3 \n"
    one, none, other = read_trace(written(tmp_path / "t.csv", f"{HEADER.strip()},prefix\n{lines}"))
    assert (len(one.prefix), none.prefix, len(other.prefix)) == (2, (), 2)
    assert (one.prefix[0] == other.prefix[0], one.prefix[1] == other.prefix[1]) == (True, False)
    prices = read_prices(written(tmp_path / "p.json", '{"m": {"s": [1, 2, 0.1, 0.95], "r": [1, 2]}}'))
    assert prices == {"m": [PricedProvider(1, 2, cached_rate=0.1, hit=0.95), PricedProvider(1, 2)]}


def test_a_trace_may_be_compressed(tmp_path: Path) -> None:
    packed = gzip.compress((HEADER + "2024-01-01T00:00:00Z,code,5,9\n").encode())
    assert read_trace(written(tmp_path / "t.csv.gz", packed)) == [row(0, 5, 9, "code")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "", "lacks the column timestamp"),
        ("t.csv", "timestamp,policy,input_tokens\n", "lacks the column output_tokens"),
        ("t.csv", HEADER, "holds no requests"),
        ("t.csv", HEADER + "2024-01-01,code,5,9\nyesterday,code,5,9\n", "line 3: the timestamp 'yesterday'"),
        ("t.csv", HEADER + "2024-01-01,code,five,9\n", "line 2: input_tokens is 'five'"),
        ("t.csv", HEADER + "2024-01-01,code,5,-9\n", "line 2: output_tokens is '-9'"),
        ("t.csv", HEADER + "2024-01-01,code,5\n", "line 2: output_tokens is ''"),
        ("t.csv", HEADER + f"2024-01-01,code,5,{'9' * 40}\n", "output_tokens is"),
        ("t.csv", HEADER + f"2024-01-01,{'x' * 101},5,9\n", "the policy"),
        ("t.csv", HEADER + "2024-01-01,a\x1b[2Jb,5,9\n", r"the policy 'a\\x1b\[2Jb'"),
        ("t.csv", b"\xff\xfe\x00", "can't be read as CSV in UTF-8"),
        ("t.csv.gz", b"not compressed", "can't be read as CSV"),
        ("t.csv.gz", gzip.compress(HEADER.encode())[:-9], "can't be read as CSV"),
    ],
    ids=itertools.count(),
)
def test_a_trace_that_is_none_is_refused_in_one_sentence(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    with pytest.raises(UnusableInput, match=message) as caught:
        read_trace(written(tmp_path / name, content))
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not JSON"),
        (b"\xff\xff", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "must be an object of models"),
        ("{}", "must be an object of models"),
        ('{"m": []}', "'m' must be an object of providers"),
        ('{"m": {}}', "'m' must be an object of providers"),
        ('{"m": {"s": [1]}}', "'m' at 's' must be"),
        ('{"m": {"s": [1, -1]}}', "must be"),
        ('{"m": {"s": [1, "2"]}}', "must be"),
        ('{"m": {"s": [1, true]}}', "must be"),
        ('{"m": {"s": [1, NaN]}}', "must be"),
        ('{"m": {"s": [1, 1e400]}}', "must be"),
        ('{"m": {"s": [1, 2, 3]}}', "must be"),
        ('{"m": {"s": [1, 2, 3, "4"]}}', "must be"),
        ('{"m": {"s": [1, 2, 3, 4]}}', "a hit, its last number, from 0 to 1"),
    ],
    ids=itertools.count(),
)
def test_prices_that_are_none_are_refused_in_one_sentence(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(UnusableInput, match=message) as caught:
        read_prices(written(tmp_path / "prices.json", content))
    assert "\n" not in str(caught.value)


def ledger(path: Path, rows: Sequence[tuple[Any, ...]]) -> Path:
    """A ledger of an earlier arbstr: timestamp, model, policy, input, output, success."""
    db = sqlite3.connect(path)
    db.execute(
        "CREATE TABLE requests (id INTEGER PRIMARY KEY AUTOINCREMENT, correlation_id TEXT NOT NULL, timestamp TEXT NOT "
        "NULL, model TEXT NOT NULL, provider TEXT, policy TEXT, streaming BOOLEAN NOT NULL DEFAULT FALSE, input_tokens "
        "INTEGER, output_tokens INTEGER, cost_sats REAL, provider_cost_sats REAL, latency_ms INTEGER NOT NULL, "
        "stream_duration_ms INTEGER, success BOOLEAN NOT NULL, error_status INTEGER, error_message TEXT)"
    )
    db.executemany(
        "INSERT INTO requests (correlation_id, latency_ms, timestamp, model, policy, input_tokens, output_tokens, "
        "success) VALUES ('r', 1, ?, ?, ?, ?, ?, ?)",
        rows,
    )
    db.commit()
    db.close()
    return path


def test_the_answered_requests_of_a_ledger_are_read_with_their_models(tmp_path: Path) -> None:
    path = ledger(
        tmp_path / "arbstr.db",
        [
            ("2024-01-01T00:00:00Z", "m", None, 5, 9, True),
            ("2024-01-01T00:00:01.000+00:00", "n", "code", 6, 8, True),
            ("2024-01-01T00:00:02Z", "m", None, 5, None, True),
            ("2024-01-01T00:00:03Z", "m", None, 5, 9, False),
            ("2024-01-01T00:00:04Z", "m", "a\x1bb", 5, 9, True),
        ],
    )
    assert read_ledger(path, any_model=False) == [row(0, 5, 9, None, "m"), row(1, 6, 8, "code", "n")]
    assert [request.model for request in read_ledger(path, any_model=True)] == [None, None]


def test_a_ledger_without_an_answered_request_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableInput, match="no answered request"):
        read_ledger(ledger(tmp_path / "arbstr.db", []), any_model=False)


@pytest.mark.parametrize("content", [None, b"", b"no database at all" * 99], ids=["absent", "empty", "text"])
def test_a_ledger_that_is_none_is_refused_in_one_sentence_and_left_alone(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "arbstr.db"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LedgerUnavailable, match=r"arbstr\.db"):
        read_ledger(path, any_model=False)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == ([] if content is None else [content])


# --- the command


def run(*arguments: str | Path) -> Any:
    app = typer.Typer()
    register(app)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    return written(tmp_path / "prices.json", '{"m": {"a": [10, 10], "b": [1, 40]}, "n": {"a": [1, 2], "b": [2, 1]}}')


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return written(tmp_path / "trace.csv", HEADER + "2024-01-01,code,100,10\n2024-01-02,,10,100\n")


def test_json_holds_the_ratios_overall_and_by_model_and_nothing_else_is_printed(prices: Path, trace: Path) -> None:
    result = run("--prices", prices, "--trace", trace, "--trace", trace, "--json")
    assert result.exit_code == 0
    assert result.stderr == ""
    document = json.loads(result.stdout)
    assert set(document) == {"overall", "models"}
    assert list(document["models"]) == ["m", "n"]
    for ratios in (document["overall"], *document["models"].values()):
        assert set(ratios) == set(RULES)
        assert ratios["oracle"] == 1


def test_text_holds_a_line_for_every_way_of_buying(prices: Path, trace: Path) -> None:
    result = run("--prices", prices, "--trace", trace)
    assert result.stdout.startswith("2 requests on 2 models")
    assert "perfect foresight" in result.stdout
    assert "\x1b" not in result.stdout + result.stderr


def configured(tmp_path: Path) -> Path:
    providers = "".join(
        f'[[providers]]\nname = "{name}"\nurl = "http://localhost:1/v1"\nmodels = {models}\n'
        f"input_rate = {rates[0]}\noutput_rate = {rates[1]}\n"
        for name, models, rates in (("a", '["m", "n"]', (10, 10)), ("b", '["m"]', (1, 40)), ("c", "[]", (20, 20)))
    )
    return written(tmp_path / "config.toml", providers)


def test_without_prices_the_configured_providers_are_simulated(tmp_path: Path, trace: Path) -> None:
    result = run("--config", configured(tmp_path), "--trace", trace, "--json")
    document = json.loads(result.stdout)
    assert document["models"]["n"]["dearest"] == 2
    assert document["models"]["m"]["oracle"] == 1


def test_the_ledgers_requests_are_bought_for_their_own_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = ledger(tmp_path / "past.db", [("2024-01-01T00:00:00Z", "n", None, 5, 9, True)])
    monkeypatch.setenv("DATABASE_URL", str(path))
    result = run("--config", configured(tmp_path), "--from-ledger", "--json")
    assert list(json.loads(result.stdout)["models"]) == ["n"]


def test_with_prices_the_ledgers_requests_are_tried_on_every_model(
    tmp_path: Path, prices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = ledger(tmp_path / "past.db", [("2024-01-01T00:00:00Z", "elsewhere", None, 5, 9, True)])
    monkeypatch.setenv("DATABASE_URL", str(path))
    assert list(json.loads(run("--prices", prices, "--from-ledger", "--json").stdout)["models"]) == ["m", "n"]


def test_providers_that_list_no_models_can_not_be_simulated(tmp_path: Path, trace: Path) -> None:
    config = written(tmp_path / "config.toml", '[[providers]]\nname = "any"\nurl = "http://localhost:1/v1"\n')
    with pytest.raises(UnusableInput, match="list no models"):
        raise run("--config", config, "--trace", trace).exception


def test_no_requests_for_the_configured_models_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = ledger(tmp_path / "past.db", [("2024-01-01T00:00:00Z", "elsewhere", None, 5, 9, True)])
    monkeypatch.setenv("DATABASE_URL", str(path))
    result = run("--config", configured(tmp_path), "--from-ledger")
    assert isinstance(result.exception, ArbstrError)


def test_without_any_requests_the_ways_to_give_some_are_named(prices: Path) -> None:
    result = run("--prices", prices)
    assert result.exit_code == 2
    assert "--from-ledger" in result.stderr


@pytest.mark.parametrize("missing", ["--prices", "--trace"])
def test_a_file_that_is_not_there_is_an_error_that_names_it(prices: Path, trace: Path, missing: str) -> None:
    files = {"--prices": prices, "--trace": trace, missing: Path("no-such-file")}
    result = run(*(word for pair in files.items() for word in pair))
    assert isinstance(result.exception, FileNotFoundError)
    assert result.exception.filename == "no-such-file"


def test_a_bar_is_drawn_on_a_terminal(prices: Path, trace: Path) -> None:
    code = "import typer; from arbstr.cli.simulate import register; app = typer.Typer(); register(app); app()"
    reader, terminal = pty.openpty()
    try:
        command = [sys.executable, "-c", code, "--prices", str(prices), "--trace", str(trace), "--json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=terminal, timeout=PATIENCE_S, check=True)
        drawn = os.read(reader, 10_000)
    finally:
        os.close(reader)
        os.close(terminal)
    assert b"simulating" in drawn
    assert b"100%" in drawn
    json.loads(done.stdout)
