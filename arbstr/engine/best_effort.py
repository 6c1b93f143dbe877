"""Steps that a request can do without: whichever fails stops no other."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


def best_effort(step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
    """Run an optional step and return its result; an exception is logged and None returned."""
    try:
        return step(*args, **kwargs)
    except Exception:
        logger.exception("%s failed at the end of a request", step.__name__)
        return None
