"""Lightning invoices as text, as far as arbstr has to read them."""

from __future__ import annotations

import re

_INVOICE = re.compile(r"ln[a-z0-9]{10,4000}", re.IGNORECASE)
_AMOUNT = re.compile(r"ln(?:bcrt|bc|tbs|tb)(?P<number>[1-9][0-9]{0,15})(?P<unit>[munp]?)1", re.IGNORECASE)
_UNITS = {"": 10**12, "m": 10**9, "u": 10**6, "n": 10**3, "p": 1}  # of bitcoins, in tenths of msats


def is_invoice(text: str) -> bool:
    """Return whether a text can be an invoice: nothing else may be shown as one."""
    return text.isascii() and _INVOICE.fullmatch(text) is not None


def amount_msats(bolt11: str) -> int | None:
    """Return what an invoice asks for, None where it leaves that open."""
    found = _AMOUNT.match(bolt11)
    if found is None:
        return None
    return int(found["number"]) * _UNITS[found["unit"].lower()] // 10
