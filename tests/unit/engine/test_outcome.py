"""What a client is told when its request failed at every provider tried."""

from __future__ import annotations

from arbstr.engine.outcome import all_failed
from arbstr.types import Attempt


def test_failures_are_grouped_by_runs_of_one_provider() -> None:
    attempts = [
        Attempt("alpha", 0, 10, "status", 500, "HTTP 500: no"),
        Attempt("alpha", 10, 10, "status", 500, "HTTP 500: busy"),
        Attempt("beta", 20, 10, "timeout", None, "no answer within 9 s"),
        Attempt("alpha", 30, 10, "bad_response", 200, "HTTP 200 whose body is not a JSON object"),
    ]
    assert all_failed("gpt-4o", attempts, served=[], retry_after_s=1).message == (
        "Every provider of 'gpt-4o' failed: 'alpha' was tried 2 times, last: HTTP 500: busy; "
        "'beta' was tried once, last: no answer within 9 s; "
        "'alpha' was tried once, last: HTTP 200 whose body is not a JSON object."
    )
