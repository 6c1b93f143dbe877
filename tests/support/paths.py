"""Where the checkout and the tests' data lie."""

from __future__ import annotations

from pathlib import Path

TOP = Path(__file__).parents[2]
DATA = TOP / "tests" / "data"
