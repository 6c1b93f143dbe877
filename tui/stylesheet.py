"""The stylesheet, read once for each theme."""

from __future__ import annotations

from textual.css.stylesheet import Stylesheet


class KeptStylesheet(Stylesheet):
    """Parses its rules again only for other colours; Textual asks for that three times before the first frame."""

    def __init__(self, *, variables: dict[str, str]) -> None:
        super().__init__(variables=variables)
        self._is_stale = False

    def set_variables(self, variables: dict[str, str]) -> None:
        """Set the colours and sizes that rules name."""
        if variables != self._variables:
            super().set_variables(variables)
            self._is_stale = True

    def reparse(self) -> None:
        """Parse all rules again, if what they name has changed; sources that are new are parsed where they are used."""
        if self._is_stale:
            super().reparse()
            self._is_stale = False
