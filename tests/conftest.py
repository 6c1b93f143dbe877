"""How all tests that draw their examples run: without deadlines, for what one takes says nothing on a busy machine."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("arbstr", deadline=None)
settings.load_profile("arbstr")
