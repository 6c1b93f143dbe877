"""The error that a client gets when its request failed at every provider tried."""

from __future__ import annotations

import pytest

from arbstr.engine.outcome import all_failed
from arbstr.types import Attempt, FailureKind


def test_failures_are_grouped_by_runs_of_one_provider() -> None:
    attempts = [
        Attempt("alpha", 0, 10, "status", 500, "HTTP 500: no"),
        Attempt("alpha", 10, 10, "status", 500, "HTTP 500: busy"),
        Attempt("beta", 20, 10, "timeout", None, "no answer within 9 s"),
        Attempt("alpha", 30, 10, "bad_response", 200, "HTTP 200 whose body is not a JSON object"),
    ]
    assert all_failed(
        "gpt-4o", "chat/completions", attempts, candidates=["alpha"], served=[], retry_after_s=1
    ).message == (
        "Every provider of the model 'gpt-4o' failed: 'alpha' was tried 2 times, last: HTTP 500: busy; "
        "'beta' was tried once, last: no answer within 9 s; "
        "'alpha' was tried once, last: HTTP 200 whose body is not a JSON object."
    )


@pytest.mark.parametrize(
    ("model", "failure", "code", "begins"),
    [
        ("", "no_endpoint", "not_found", "No provider serves /v1/moderations: 'alpha' was"),
        ("", "stale_catalogue", "not_found", "No provider serves /v1/moderations: 'alpha' was"),
        ("", "status", "all_providers_failed", "Every provider of /v1/moderations failed: 'alpha' was"),
        ("m", "no_endpoint", "model_not_found", "No provider serves /v1/moderations for the model 'm': 'alpha' was"),
        ("m", "stale_catalogue", "model_not_found", "No provider has the model 'm': 'alpha' was"),
        (
            "m\x1b[31m",
            "status",
            "all_providers_failed",
            "Every provider of the model 'm\ufffd[31m' failed: ",
        ),
    ],
)
def test_an_error_says_what_was_wanted(model: str, failure: FailureKind, code: str, begins: str) -> None:
    attempts = [Attempt("alpha", 0, 10, failure, 404, "HTTP 404")]
    error = all_failed(model, "moderations", attempts, candidates=["alpha"], served=["gpt-4o"], retry_after_s=1)
    assert error.code == code
    assert error.message.startswith(begins)
