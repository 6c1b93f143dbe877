"""Money on its way between the user and a node: what has to be known to bring it to an end after a crash.

Each move is in the journal before anything is sent. All of them hold secrets: a token is money, and who knows an
invoice is given its key by the node. So their `repr` says which move it is, no more.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from secrets import token_hex
from typing import Any

from arbstr.types import JsonObject


@dataclass(frozen=True, kw_only=True, repr=False)
class Move:
    """A move of money at one provider, `url` its address when the move began.

    `key` is the key there, None while there is none. `before_msats` is all that had ever been paid in for it and not
    been paid out when the move began, None where that is not known.
    """

    id: str
    provider: str
    url: str
    key: str | None
    before_msats: int | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} at {self.provider}>"


@dataclass(frozen=True, kw_only=True, repr=False)
class TokenMove(Move):
    """A Cashu token that is given to a node, for its key or for a first one."""

    token: str


@dataclass(frozen=True, kw_only=True, repr=False)
class InvoiceMove(Move):
    """A Lightning invoice of a node's, for its key or for a first one. `path` is where the node has invoices."""

    bolt11: str
    invoice_id: str
    path: str
    sats: int
    expires_at_s: int


@dataclass(frozen=True, kw_only=True, repr=False)
class RefundMove(Move):
    """The balance of a key that is taken back, into the file `to` or onto the terminal; `token` once it is here.

    `held_msats` is what could be spent when the move began, None where that is not known.
    """

    held_msats: int | None = None
    to: str | None = None
    token: str | None = None


_KINDS = {"token": TokenMove, "invoice": InvoiceMove, "refund": RefundMove}


def new_id() -> str:
    """Return an id for a move."""
    return token_hex(4)


def encode(move: Move) -> JsonObject:
    """Return a move as a JSON object."""
    (kind,) = (name for name, made in _KINDS.items() if isinstance(move, made))
    return {"kind": kind, **asdict(move)}


def decode(document: Any) -> Move:
    """Return the move that a JSON object holds. Raises ValueError, without the object's text, if it holds none."""
    made = _KINDS.get(str(document.get("kind"))) if isinstance(document, dict) else None
    if made is None:
        raise ValueError("it is no move of money that this arbstr knows")
    values = {name: value for name, value in document.items() if name != "kind"}
    wrong = [field.name for field in fields(made) if not _is_fit(field.type, values.get(field.name))]
    if wrong or not values.keys() <= {field.name for field in fields(made)}:
        raise ValueError(f"it lacks {', '.join(wrong) or 'nothing, but says more than this arbstr knows'}")
    move: Move = made(**values)
    return move


def _is_fit(kind: Any, value: Any) -> bool:
    """Check a value by the field's type, which is a text: `str`, `int | None`."""
    if value is None:
        return str(kind).endswith("None")
    wanted = int if str(kind).startswith("int") else str
    return isinstance(value, wanted) and not isinstance(value, bool)
