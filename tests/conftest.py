"""How all tests that draw their examples run: without deadlines, for what one takes says nothing on a busy machine."""

from __future__ import annotations

from hypothesis import settings

from tests.support.effort import examples

settings.register_profile("arbstr", deadline=None, max_examples=examples(35))
settings.load_profile("arbstr")
