"""arbstr's own log: one record, one line, no key, and nothing waits for its reader."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from arbstr.errors import ConfigError
from arbstr.logs.line_writer import LineWriter
from arbstr.logs.lines import Layout
from arbstr.logs.ring import LogRing
from arbstr.logs.setup import Logs, configure
from arbstr.redaction import Redactor, Secret
from tests.support.effort import examples
from tests.support.patience import PATIENCE_S

KEY = "sk-5ecret0123456789"
AT = 1_700_000_000.25
log = logging.getLogger("arbstr.test")


@contextmanager
def logging_to(file: Path, spec: str = "info", **options: Any) -> Iterator[Logs]:
    logs = configure(spec, file=str(file), redactor=Redactor([Secret(KEY)]), **options)
    try:
        yield logs
    finally:
        logs.close()


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "arbstr.log"


def eventually(true: Callable[[], Any]) -> None:
    """Wait until something holds: lines are written on a thread."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.001)


# --- what a line looks like


def test_a_text_line_has_time_level_logger_and_message(file: Path) -> None:
    with logging_to(file):
        log.warning("%d of %s", 3, "these")
    (line,) = lines(file)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z WARNING arbstr\.test: 3 of these", line)


def test_a_json_line_is_an_object(file: Path) -> None:
    with logging_to(file, form="json") as logs:
        logs.emit(logging.INFO, "arbstr.test", "request", {"model": "a b", "in": 3, "sats": 0.42, "out": None}, at=AT)
    (line,) = lines(file)
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "info",
        "logger": "arbstr.test",
        "message": "request",
        "model": "a b",
        "in": 3,
        "sats": 0.42,
        "out": None,
    }


def test_fields_are_in_a_text_line_as_key_and_value(file: Path) -> None:
    fields = {"model": "gpt-4o", "policy": None, "ok": True, "error": 'said "no" status=200', "sats": 0.42}
    with logging_to(file) as logs:
        logs.emit(logging.INFO, "arbstr.test", "request", fields, at=AT)
    (line,) = lines(file)
    assert line.startswith("2023-11-14T22:13:20.250Z INFO    arbstr.test: request model=gpt-4o ok=true ")
    assert line.endswith('error="said \\"no\\" status=200" sats=0.42')


def raised() -> KeyError:
    """An exception with a traceback."""
    with pytest.raises(KeyError) as caught:
        {"a": 1}[KEY]
    return caught.value


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_exception_is_part_of_its_line(file: Path, form: str) -> None:
    with logging_to(file, form=form):
        log.error("it failed", exc_info=raised())
    (line,) = lines(file)
    assert "it failed | Traceback (most recent call last): | " in line
    assert "KeyError: 'sk-5ec...***'" in line


def test_a_message_whose_arguments_do_not_fit_is_logged_all_the_same(file: Path) -> None:
    with logging_to(file):
        log.info("%d", "three")
    assert "%d (its arguments do not fit; " in lines(file)[0]


def test_warnings_are_logged_too(file: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with logging_to(file):
            warnings.warn("old\nstuff", UserWarning, stacklevel=1)
    (line,) = lines(file)
    assert "py.warnings: " in line
    assert "UserWarning: old | stuff" in line


# --- foreign text


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize(
    "hostile", ["a\nb", "a\rb", "\x1b[2Jx", "\x9b31mx", "a\u2028b", "a\u202eb", "\x00", "\x7f", "\ud800"]
)
def test_nothing_in_foreign_text_acts(file: Path, form: str, hostile: str) -> None:
    with logging_to(file, form=form) as logs:
        log.info("said %s", hostile)
        logs.emit(logging.INFO, "arbstr.test", "request", {"model": hostile}, at=AT)
    text = file.read_bytes().decode()
    assert text.count("\n") == 2
    assert text.replace("\n", "").isprintable()


@settings(max_examples=examples(25), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(), st.text())
def test_one_record_is_one_line_whatever_it_says(tmp_path: Path, message: str, value: str) -> None:
    ring = LogRing()
    logs = configure("info", stderr=False, ring=ring, redactor=Redactor([Secret(KEY)]))
    try:
        log.info("%s", message + KEY)
        logs.emit(logging.INFO, "arbstr.test", "request", {"model": value + KEY + value}, at=AT)
    finally:
        logs.close()
    for line in ring.since():
        assert len(line.text.splitlines()) <= 1
        assert KEY not in line.text


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_key_is_masked_in_every_part_of_a_line(file: Path, form: str) -> None:
    with logging_to(file, spec="debug", form=form) as logs:
        log.debug("Authorization: Bearer %s", KEY)
        log.info("%r", {"key": KEY})
        logs.emit(logging.INFO, "arbstr.test", "request", {"model": KEY, "error": f"bad key {KEY}!"}, at=AT)
        logs.emit(logging.INFO, "arbstr.test", "request", {"error": "x" * 190 + KEY}, at=AT)  # about to be cut
    text = file.read_text()
    assert KEY[:10] not in text
    assert text.count("sk-5ec...***") >= 4


def test_long_text_is_cut(file: Path) -> None:
    with logging_to(file) as logs:
        log.info("x" * 100_000)
        logs.emit(logging.INFO, "arbstr.test", "request", {"model": "y" * 100_000}, at=AT)
    assert [len(line) < 9000 and "…" in line for line in lines(file)] == [True, True]


# --- levels


def test_levels_are_set_by_logger_and_set_back(file: Path) -> None:
    before = (logging.getLogger().level, list(logging.getLogger().handlers), logging.getLogger("arbstr").level)
    with logging_to(file, spec="warning,arbstr=debug"):
        log.debug("shown")
        logging.getLogger("aiohttp").info("not shown")
        logging.getLogger("aiohttp").error("shown too")
    assert [line.partition(": ")[2] for line in lines(file)] == ["shown", "shown too"]
    assert before == (logging.getLogger().level, list(logging.getLogger().handlers), logging.getLogger("arbstr").level)


def test_off_is_off(file: Path) -> None:
    with logging_to(file, spec="off"):
        log.critical("nothing")
    assert lines(file) == []


# --- where lines go


def test_without_a_file_lines_go_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    logs = configure("info")
    log.info("hello")
    logs.close()
    out, err = capfd.readouterr()
    assert out == ""
    assert err.endswith("INFO    arbstr.test: hello\n")


def test_a_file_is_added_to_and_its_owners_alone(file: Path) -> None:
    file.write_text("before\n")
    with logging_to(file):
        log.info("after")
    assert [line.rpartition(" ")[2] for line in lines(file)] == ["before", "after"]
    with logging_to(file.with_name("new.log")):
        pass
    assert file.with_name("new.log").stat().st_mode & 0o077 == 0


def test_a_file_that_has_moved_is_followed_by_a_new_one(file: Path) -> None:
    with logging_to(file):
        log.info("before")
        eventually(lambda: "before" in file.read_text())
        file.rename(file.with_suffix(".1"))
        log.info("after")
        eventually(lambda: file.exists() and "after" in file.read_text())
    assert len(lines(file)) == len(lines(file.with_suffix(".1"))) == 1
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_file_that_was_emptied_goes_on_from_its_beginning(file: Path) -> None:
    with logging_to(file):
        log.info("before")
        eventually(lambda: "before" in file.read_text())
        os.truncate(file, 0)
        log.info("after")
    (line,) = lines(file)
    assert line.endswith("after")


def test_a_file_is_opened_again_when_asked_to_also_while_nothing_is_logged(file: Path) -> None:
    with logging_to(file) as logs:
        log.info("before")
        eventually(lambda: "before" in file.read_text())
        file.rename(file.with_suffix(".1"))
        logs.reopen()
        eventually(file.exists)
        assert lines(file) == []


def test_a_file_that_cannot_be_opened_again_is_written_to_where_it_is(file: Path) -> None:
    directory = file.parent / "logs"
    directory.mkdir()
    with logging_to(directory / "arbstr.log"):
        moved = directory.rename(file.parent / "old")
        log.info("still there")
    assert "still there" in (moved / "arbstr.log").read_text()


def test_stderr_can_not_be_opened_again_and_nothing_happens() -> None:
    logs = configure("info")
    logs.reopen()
    logs.close()


def test_a_file_that_cannot_be_opened_is_a_problem_of_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"logging\.file cannot be opened \(Is a directory\)"):
        configure("info", file=str(tmp_path))


def test_a_ring_keeps_the_latest_lines_and_gives_out_the_new_ones(capfd: pytest.CaptureFixture[str]) -> None:
    ring = LogRing(capacity=3)
    logs = configure("info", stderr=False, ring=ring)
    for i in range(5):
        log.info("line %d", i)
    logs.close()
    assert [(line.seq, line.text) for line in ring.since()] == [(3, "line 2"), (4, "line 3"), (5, "line 4")]
    assert [line.seq for line in ring.since(4)] == [5]
    assert ring.since(5) == ring.since(99) == []
    line = ring.since(4)[0]
    assert (line.level, line.logger) == (logging.INFO, "arbstr.test")
    assert abs(line.at_ms / 1000 - time.time()) < 60
    assert capfd.readouterr().err == "", "with the dashboard on, nothing writes over it"


@pytest.mark.parametrize("requests", [True, False])
def test_when_a_terminal_is_free_again_lines_go_there(capfd: pytest.CaptureFixture[str], requests: bool) -> None:
    logs = configure("info", stderr=False, ring=LogRing())
    request_lines = logging.getLogger("arbstr.requests")
    request_lines.info("before")
    logs.take_stderr(requests=requests)
    request_lines.info("request")
    request_lines.warning("attempt failed")
    logging.getLogger("arbstr.runtime.compose").info("stopping")
    logs.close()
    said = [line.partition(": ")[2] for line in capfd.readouterr().err.splitlines()]
    assert said == [*(["request"] if requests else []), "attempt failed", "stopping"]
    assert request_lines.level == logging.NOTSET


def test_a_file_gets_every_line_also_when_a_terminal_is_free_again(file: Path) -> None:
    logs = configure("info", stderr=False, file=str(file), ring=LogRing())
    logs.take_stderr(requests=False)
    logging.getLogger("arbstr.requests").info("request")
    logs.close()
    assert "request" in file.read_text()


def test_a_ring_may_be_filled_by_many_threads() -> None:
    ring = LogRing(capacity=100_000)

    def fill() -> None:
        for _ in range(2000):
            ring.add(0, logging.INFO, "a", "b")

    threads = [threading.Thread(target=fill) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [line.seq for line in ring.since()] == list(range(1, 8001))


# --- readers that do not read


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)


def everything(fd: int) -> str:
    """What is read from a pipe until its last writer closes it."""
    with os.fdopen(os.dup(fd), "r") as stream:
        return stream.read()


def test_lines_are_written_in_order_and_before_the_end(pipe: tuple[int, int]) -> None:
    writer = LineWriter(pipe[1])
    for i in range(1000):
        writer.write(f"{i}\n")
    writer.close()
    assert everything(pipe[0]).split() == [str(i) for i in range(1000)]


def test_a_reader_that_stops_blocks_no_logging_and_dropped_lines_are_counted(pipe: tuple[int, int]) -> None:
    writer = LineWriter(pipe[1], capacity=100 * 100)
    for _ in range(20_000):  # 2 MB, where a pipe takes 64 KB: a write that waited would wait for ever
        writer.write("x" * 99 + "\n")
    closing = threading.Thread(target=writer.close, kwargs={"within_s": 30})
    closing.start()
    text = everything(pipe[0])
    closing.join()
    dropped = [
        int(number) for number in re.findall(r"WARNING arbstr\.logs\.setup: (\d+) log lines were dropped here", text)
    ]
    assert text.count("x\n") + sum(dropped) == 20_000
    assert text.count("x\n") < 10_000


def test_lines_written_at_once_are_kept_or_dropped_one_by_one(pipe: tuple[int, int]) -> None:
    writer = LineWriter(pipe[1], capacity=10)
    writer.write(*(f"{number:04}\n" for number in range(100)))
    closing = threading.Thread(target=writer.close, kwargs={"within_s": 30})
    closing.start()
    text = everything(pipe[0])
    closing.join()
    assert text.startswith("0000\n0001\n0002\n20")
    assert "97 log lines were dropped here" in text


def test_dropped_lines_are_counted_in_json_where_the_log_is_json(pipe: tuple[int, int]) -> None:
    writer = LineWriter(pipe[1], Layout("json"), capacity=1)
    for _ in range(10_000):
        writer.write("{}" + " " * 99 + "\n")
    closing = threading.Thread(target=writer.close, kwargs={"within_s": 30})
    closing.start()
    objects = [json.loads(line) for line in everything(pipe[0]).splitlines()]
    closing.join()
    assert any("log lines were dropped here" in item.get("message", "") for item in objects)


def test_closing_does_not_wait_for_a_reader_that_does_not_read(pipe: tuple[int, int]) -> None:
    writer = LineWriter(pipe[1])
    for _ in range(1000):
        writer.write("x" * 999 + "\n")
    writer.close(within_s=0.05)  # or it would wait for ever
    while writer._thread.is_alive():  # let the thread end, by reading
        os.read(pipe[0], 1 << 20)
        writer._thread.join(0.001)
    os.close(pipe[1])


def test_a_descriptor_that_somebody_made_non_blocking_is_written_to_all_the_same(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)
    writer = LineWriter(pipe[1])
    for _ in range(1000):
        writer.write("x" * 999 + "\n")
    closing = threading.Thread(target=writer.close, kwargs={"within_s": 30})
    closing.start()
    assert everything(pipe[0]).count("\n") == 1000
    closing.join()


def test_a_full_disk_or_a_closed_terminal_hurts_nobody() -> None:
    writer = LineWriter(os.open("/dev/full", os.O_WRONLY))
    writer.write("lost\n")
    writer.close()
    assert writer._dropped == 1


def test_what_was_logged_before_a_programs_end_is_there() -> None:
    program = (
        "import logging; from arbstr.logs.setup import configure; logs = configure('info');"
        "[logging.getLogger('a').info('line %d', i) for i in range(3000)]; logs.close()"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    assert run.stderr.splitlines()[-1].endswith("INFO    a: line 2999")
    assert len(run.stderr.splitlines()) == 3000


def test_a_ring_that_is_lent_begins_with_the_latest_lines_and_is_given_back(file: Path) -> None:
    with logging_to(file) as logs:
        log.info("the key is %s", KEY)
        logs.emit(logging.WARNING, "arbstr.requests", "request", {"id": "r-1", "key": KEY}, at=AT)
        ring = logs.lend_ring()
        log.info("later")
        first, second, third = [line.text for line in ring.since()]
        assert (first.partition(" is ")[0], third) == ("the key", "later")
        assert second.startswith("request id=r-1 key=")
        assert KEY not in first + second
        logs.take_ring_back()
        log.info("nobody watches")
        assert len(ring.since()) == 3
        assert [line.text for line in logs.lend_ring().since()][-2:] == ["later", "nobody watches"]


def test_a_ring_of_its_own_is_the_one_that_is_lent(file: Path) -> None:
    own = LogRing()
    with logging_to(file, ring=own) as logs:
        assert logs.lend_ring() is own
        logs.take_ring_back()
        assert logs.ring is own
