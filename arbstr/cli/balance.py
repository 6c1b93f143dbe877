"""`arbstr balance`: what the keys at Routstr nodes hold, asked for now."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from arbstr.cli.accounts import opened_accounts, run, settings_of
from arbstr.cli.options import ConfigOption
from arbstr.cli.tables import Column, table
from arbstr.money import format_sats, to_sats

if TYPE_CHECKING:
    from arbstr.config.settings import Settings
    from arbstr.market.settlement import Account
    from arbstr.types import Balance

_COLUMNS = (
    Column("provider"),
    Column("free sats", right=True),
    Column("reserved", right=True),
    Column("key"),
    Column("state"),
)
_STEPS = {  # what to do about the state of a key
    "no_key": "arbstr fund {} gets one",
    "bad_key": "correct api_key, or take it out and run arbstr fund {}",
    "empty": "arbstr fund {} tops it up",
    "refunded": "arbstr fund {} tops it up",
    "expired": "arbstr refund {} gets back what it holds",
}


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command(epilog="Example: arbstr balance --json")(balance)


def balance(
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, amounts in sats.")] = False,
) -> int:
    """Show what your keys at Routstr nodes hold. Exit status 1 if a node did not say."""
    return run(_balance(settings_of(config), as_json=as_json))


class _Held(NamedTuple):
    """What one provider's row says: the state of its key, and why there is no balance."""

    account: Account
    state: str
    balance: Balance | None = None
    problem: str = ""


async def _balance(settings: Settings, *, as_json: bool) -> int:
    import asyncio

    from arbstr.errors import UnusableInput

    async with opened_accounts(settings) as opened:
        accounts = opened.all()
        if not accounts:
            raise UnusableInput(f'{opened.path} has no provider with kind = "routstr"; only those hold money')
        held = await asyncio.gather(*map(_held, accounts.values()))
    if as_json:
        print(json.dumps(_json(held), indent=2, ensure_ascii=False))
    else:
        print("\n".join(table(_COLUMNS, [*map(_row, held), *([_sum(held)] if len(held) > 1 else [])])))
    return int(any(one.state == "no_answer" for one in held))


async def _held(account: Account) -> _Held:
    from arbstr.market.node_money import NodeRefusal, NodeSilent

    if account.key is None:
        return _Held(account, "no_key")
    try:
        found = await account.money.balance(account.key)
        return _Held(account, await _state(account, account.key, found), found)
    except NodeRefusal as error:
        if error.code == "key_expired":
            return _Held(account, "expired")
        return _Held(account, "bad_key" if error.status == 401 else "no_answer", problem=str(error))
    except NodeSilent as error:
        return _Held(account, "no_answer", problem=str(error))


async def _state(account: Account, key: str, found: Balance) -> str:
    if found.state == "expired":
        return "expired"
    if found.free_msats or found.reserved_msats:
        return "ok"
    return "refunded" if await account.money.was_refunded(key) else "empty"


def _row(held: _Held) -> tuple[str, ...]:
    free, reserved = (None, None) if held.balance is None else (held.balance.free_msats, held.balance.reserved_msats)
    return (
        held.account.name,
        _sats(free),
        _sats(reserved),
        _masked(held) or "-",
        _words(held),
    )


def _words(held: _Held) -> str:
    """Return the state of a key, why it is not known, and what to do."""
    state = "can't be read" if held.state == "no_answer" else held.state.replace("_", " ")
    known = ": ".join(filter(None, (state, held.problem)))
    step = _STEPS.get(held.state)
    return f"{known}; {step.format(held.account.name)}" if step else known


def _masked(held: _Held) -> str | None:
    key = held.account.provider.api_key
    return None if key is None else str(key)


def _sum(held: list[_Held]) -> tuple[str, ...]:
    free, reserved = _sums(held)
    return "sum", _sats(free), _sats(reserved), "", ""


def _sums(held: list[_Held]) -> tuple[int, int]:
    known = [one.balance for one in held if one.balance is not None]
    return sum(one.free_msats or 0 for one in known), sum(one.reserved_msats or 0 for one in known)


def _sats(msats: int | None) -> str:
    return "-" if msats is None else format_sats(msats, ",")


def _json(held: list[_Held]) -> dict[str, Any]:
    free, reserved = _sums(held)
    return {"providers": [*map(_entry, held)], "free_sats": to_sats(free), "reserved_sats": to_sats(reserved)}


def _entry(held: _Held) -> dict[str, Any]:
    return {
        "name": held.account.provider.name,
        "url": held.account.provider.url,
        "api_key": _masked(held),
        "free_sats": None if held.balance is None else to_sats(held.balance.free_msats),
        "reserved_sats": None if held.balance is None else to_sats(held.balance.reserved_msats),
        "state": held.state,
        "problem": held.problem or None,
    }
