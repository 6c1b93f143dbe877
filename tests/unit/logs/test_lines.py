"""Lines for systemd's journal: it has a time and a level of its own, and takes the latter from a number in front."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from arbstr.logs.lines import Layout, is_journal

AT = 1_700_000_000.25
PROGRAM = """
import logging, os
from arbstr.logs.setup import configure
status = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino}"
logs = configure("info", form=FORM)
logging.getLogger("arbstr.test").error("it is wrong")
logs.close()
"""


@pytest.mark.parametrize(
    ("level", "number"),
    [(logging.DEBUG, 7), (logging.INFO, 6), (logging.WARNING, 4), (logging.ERROR, 3), (logging.CRITICAL, 3)],
)
def test_the_journal_gets_a_priority_instead_of_time_and_level(level: int, number: int) -> None:
    layout = Layout("text", journal=True)
    assert layout.line(level, "arbstr.test", "it is so", {}, AT) == f"<{number}>arbstr.test: it is so\n"


def test_json_in_the_journal_is_what_it_is_elsewhere_with_its_priority_in_front() -> None:
    line = Layout("json", journal=True).line(logging.WARNING, "arbstr.test", "it is so", {"sats": 1}, AT)
    assert line == "<4>" + Layout("json").line(logging.WARNING, "arbstr.test", "it is so", {"sats": 1}, AT)
    assert json.loads(line.removeprefix("<4>"))["level"] == "warning"


def test_the_journal_is_known_by_what_systemd_says_of_a_stream(tmp_path: Path) -> None:
    with (tmp_path / "stream").open("w") as stream, (tmp_path / "other").open("w") as other:
        known = os.fstat(stream.fileno())
        environ = {"JOURNAL_STREAM": f"{known.st_dev}:{known.st_ino}"}
        assert is_journal(stream.fileno(), environ)
        assert not is_journal(other.fileno(), environ)
        assert not is_journal(stream.fileno(), {})
        assert not is_journal(stream.fileno(), {"JOURNAL_STREAM": "nonsense"})
    assert not is_journal(9999, environ)


@pytest.mark.parametrize("form", ["text", "json"])
def test_stderr_that_is_the_journal_is_written_to_as_such(form: str) -> None:
    program = PROGRAM.replace("FORM", repr(form))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.startswith("<3>arbstr.test: it is wrong" if form == "text" else '<3>{"time":')
