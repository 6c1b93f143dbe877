"""The schema of `[dashboard]`: which keys do what in `arbstr tui`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from arbstr.config.section import Section
from arbstr.dashboard_keys import Keymap, with_changes


def _keys(value: Any) -> Any:
    """Read a bare key as a list of one."""
    return (value,) if isinstance(value, str) else value


def _changes(keymap: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    with_changes(keymap)
    return keymap


class Dashboard(Section):
    """`[dashboard]`: keys in place of the dashboard's own, by what they do."""

    keymap: Annotated[dict[str, Annotated[tuple[str, ...], BeforeValidator(_keys)]], AfterValidator(_changes)] = Field(
        default_factory=dict
    )

    @property
    def keys(self) -> Keymap:
        """All keys in force."""
        return with_changes(self.keymap)
