from __future__ import annotations

import io
import sys
from contextlib import suppress

import pytest

from arbstr.cli.db import _progress
from arbstr.errors import LedgerUnavailable


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_what_goes_wrong_amid_a_copy_gets_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", screen := Screen())
    with suppress(LedgerUnavailable), _progress() as show:
        show(2000, 5000)
        raise LedgerUnavailable
    assert screen.getvalue() == "\r2,000 of 5,000 rows\n"
    with _progress():
        pass
    assert screen.getvalue().count("\n") == 1
