"""A request as a row of a table."""

from __future__ import annotations

import pytest

from tui.model.request_row import brief


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            "Every provider of the model 'gpt-4o' failed: 'beta' was tried 3 times, last: connection failed.",
            "beta ×3: connection failed.",
        ),
        (
            "Every provider of m is rate-limiting: 'a' was tried once, last: no; 'b' was tried 2 times, last: no.",
            "a: no; b ×2: no.",
        ),
        ("The budget of policy 'code' is spent.", "The budget of policy 'code' is spent."),
        ("they said 'x' was tried once, last: no", "they said 'x' was tried once, last: no"),
        ("", ""),
    ],
)
def test_an_error_begins_with_who_failed_how(error: str, said: str) -> None:
    assert brief(error) == said
