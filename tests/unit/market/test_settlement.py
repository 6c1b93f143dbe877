"""A move of money is brought to one end, whatever the node answers and however often it is settled."""

from __future__ import annotations

import json
import time
import tomllib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from arbstr.config.loader import load
from arbstr.errors import ArbstrError, ConfigError, UnusableInput
from arbstr.market.funding import begin_invoice, begin_refund, begin_token, open_invoice
from arbstr.market.money_journal import Journal, journal_path, opened
from arbstr.market.money_moves import Move, RefundMove
from arbstr.market.node_money import NodeSilent
from arbstr.market.recovery import account_of, accounts, into_file
from arbstr.market.settlement import Account, NothingMoved, Settlement, TokenRefused, Unfinished, Waiting
from arbstr.transport.pool import PooledTransport
from tests.support.money_node import Account as AtNode
from tests.support.money_node import MoneyNodes, Node
from tests.support.recordings import recording

KEY = "sk-0123456789abcdef"
OTHER = "sk-other0123456789"
BUSY = (400, {"detail": "Cannot refund key. There are ongoing requests for this api key."})
TOO_EARLY = (425, {"detail": "Refund is pending; retry shortly.", "retry_after": 2})
FAILED = (500, {"error": {"message": "Internal error during token redemption", "code": "internal_error"}})
UNAVAILABLE = (503, {"error": {"message": "Cashu mint is unreachable", "code": "cashu_mint_unreachable"}})


@pytest.fixture(scope="module")
def nodes() -> Iterator[MoneyNodes]:
    with MoneyNodes() as serving:
        yield serving


class Desk:
    """One node with a configuration and a journal, both open; what was handed over, and how long was waited."""

    def __init__(self, nodes: MoneyNodes, config: Path, journal: Journal, transport: PooledTransport) -> None:
        self.name = f"node-{nodes.mint.next()}"
        self.node: Node = nodes.node(self.name)
        self.mint = nodes.mint
        self.journal = journal
        self.config = config
        self.url = nodes.url(self.name)
        self.handed_over: list[str | None] = []
        self.waits_s: list[float] = []
        self._transport = transport
        self.write(None)

    def write(self, key: str | None, url: str | None = None) -> None:
        line = "" if key is None else f'api_key = "{key}"\n'
        self.config.write_text(f'[[providers]]\nname = "a"\nkind = "routstr"\nurl = "{url or self.url}"\n{line}')
        self.config.chmod(0o600)

    def keyed(self, key: str = KEY, free: int = 100_000) -> AtNode:
        """Give the provider a key that holds something."""
        self.write(key)
        return self.node.accounts.setdefault(key, AtNode(free=free, spent=5, history=["in"]))

    @property
    def account(self) -> Account:
        return accounts(load(self.config, {}).config, self.config, self._transport)["a"]

    @property
    def key(self) -> str | None:
        key = tomllib.loads(self.config.read_text())["providers"][0].get("api_key")
        return None if key is None else str(key)

    async def settle(self, move: Move, *, now_s: float | None = None) -> str:
        settlement = Settlement(
            account_of(move, self.config, {}, self._transport),
            self.journal,
            self._deliver,
            sleep=self._sleep,
            now_s=lambda: now_s or time.time(),
        )
        return await settlement.settle(move)

    async def _sleep(self, seconds: float) -> None:
        self.waits_s.append(seconds)

    def _deliver(self, move: RefundMove) -> None:
        if move.to is not None:
            into_file(move)
        self.handed_over.append(move.token)


@pytest_asyncio.fixture
async def desk(nodes: MoneyNodes, tmp_path: Path) -> AsyncIterator[Desk]:
    config = tmp_path / "config.toml"
    transport = PooledTransport()
    with opened(journal_path(config)) as journal:
        yield Desk(nodes, config, journal, transport)
    await transport.aclose()


# --- tokens


async def test_a_first_token_gives_a_key_that_is_written(desk: Desk) -> None:
    move = await begin_token(desk.account, desk.journal, desk.mint.token(250))
    assert "has a first key" in await desk.settle(move)
    assert desk.node.accounts[desk.key or ""].free == 250_000
    assert desk.journal.moves == []


async def test_a_token_is_in_the_journal_before_it_is_sent(desk: Desk) -> None:
    move = await begin_token(desk.account, desk.journal, desk.mint.token(250))
    assert desk.journal.moves == [move]
    assert desk.node.asked == []


@pytest.mark.parametrize("key", [None, KEY])
async def test_an_answer_that_is_lost_is_asked_for_again(desk: Desk, key: str | None) -> None:
    if key:
        desk.keyed()
    desk.node.lost += ["/v1/balance/create", "/v1/balance/topup"]
    await desk.settle(await begin_token(desk.account, desk.journal, desk.mint.token(250)))
    assert desk.node.msats == 250_000 + (100_000 if key else 0)
    assert desk.journal.moves == []


async def test_an_older_node_that_refuses_its_own_token_again_is_asked_for_the_key(desk: Desk) -> None:
    desk.node.makes_keys_once = True
    desk.node.lost.append("/v1/balance/create")
    await desk.settle(await begin_token(desk.account, desk.journal, desk.mint.token(250)))
    assert desk.node.accounts[desk.key or ""].free == 250_000


async def test_a_top_up_says_how_much_arrived_also_after_requests_were_charged_meanwhile(desk: Desk) -> None:
    at_node = desk.keyed()
    move = await begin_token(desk.account, desk.journal, desk.mint.token(250))
    desk.node.lost.append("/v1/balance/topup")
    at_node.free, at_node.spent = at_node.free - 900, at_node.spent + 900
    assert await desk.settle(move) == "a has 250.000 sats more"


async def test_a_top_up_that_brings_less_than_its_token_is_worth_says_so(desk: Desk) -> None:
    """A mint of its own takes a fee; a node could keep any part."""
    desk.keyed()
    token = json.loads(recording("refund_sk").body)["token"]  # of 500 sats
    desk.node.scripted["/v1/balance/topup"] = [(200, {"msats": 498_000})]
    move = await begin_token(desk.account, desk.journal, token)
    assert await desk.settle(move) == "a has 498.000 sats more, of a token of 500.000"


@pytest.mark.parametrize("key", [None, KEY])
async def test_a_token_that_was_spent_elsewhere_is_refused_and_changes_nothing(desk: Desk, key: str | None) -> None:
    if key:
        desk.keyed()
    token = desk.mint.token(250)
    desk.mint.spend(token)
    move = await begin_token(desk.account, desk.journal, token)
    with pytest.raises(TokenRefused, match="did not take the token: HTTP 400: Cashu token already spent"):
        await desk.settle(move)
    assert desk.key == key
    assert desk.journal.moves == [move], "until its owner has it again"


async def test_a_node_that_is_busy_is_asked_again_and_then_left_for_later(desk: Desk) -> None:
    desk.keyed()
    move = await begin_token(desk.account, desk.journal, desk.mint.token(250))
    desk.node.scripted["/v1/balance/topup"] = [(429, {"detail": "slow down", "retry_after": 3})] * 3
    with pytest.raises(Unfinished, match="HTTP 429: slow down"):
        await desk.settle(move)
    assert desk.waits_s == [3, 3]
    assert desk.journal.moves == [move]


@pytest.mark.parametrize("key", [None, KEY])
async def test_a_node_that_fails_at_a_token_each_time_has_not_taken_it(desk: Desk, key: str | None) -> None:
    if key:
        desk.keyed()
    path = "/v1/balance/topup" if key else "/v1/balance/create"
    desk.node.scripted[path] = [FAILED] * 3
    with pytest.raises(TokenRefused, match="Internal error"):
        await desk.settle(await begin_token(desk.account, desk.journal, desk.mint.token(250)))
    assert desk.waits_s == [2, 4]


async def test_a_mint_that_is_away_leaves_the_token_in_the_journal(desk: Desk) -> None:
    move = await begin_token(desk.account, desk.journal, desk.mint.token(250))
    desk.node.scripted["/v1/balance/create"] = [UNAVAILABLE] * 3
    with pytest.raises(Unfinished, match="mint is unreachable"):
        await desk.settle(move)
    assert desk.journal.moves == [move]
    await desk.settle(move)
    assert desk.node.accounts[desk.key or ""].free == 250_000


async def test_a_node_that_can_not_be_reached_was_sent_nothing(desk: Desk) -> None:
    desk.write(None, "http://127.0.0.1:1/v1")
    move = await begin_token(desk.account, desk.journal, desk.mint.token(250))
    with pytest.raises(NodeSilent) as caught:
        await desk.settle(move)
    assert not caught.value.sent


async def test_a_key_that_is_none_is_not_written(desk: Desk) -> None:
    move = await begin_token(desk.account, desk.journal, desk.mint.token(250))
    desk.node.scripted["/v1/balance/create"] = [(200, {"api_key": 'sk-"\nurl = "http://evil.example"'})]
    with pytest.raises(Unfinished, match="characters that no key has"):
        await desk.settle(move)
    assert desk.key is None


async def test_a_first_key_does_not_replace_another_one(desk: Desk) -> None:
    move = await begin_token(desk.account, desk.journal, desk.mint.token(250))
    desk.keyed(OTHER)
    with pytest.raises(Unfinished, match="has another key by now"):
        await desk.settle(move)
    assert desk.key == OTHER
    assert desk.journal.moves == [move]


async def test_a_move_whose_node_is_gone_from_the_file_waits_for_it(desk: Desk) -> None:
    move = await begin_token(desk.account, desk.journal, desk.mint.token(250))
    desk.write(None, "http://elsewhere.example/v1")
    with pytest.raises(Unfinished, match="put it back"):
        await desk.settle(move)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda desk: desk.write("sk-unknown0123456789"), "does not know the key"),
        (lambda desk: setattr(desk.keyed(), "validity_date", time.time() - 9), "the key has expired"),
        (
            lambda desk: desk.node.scripted.update({"/v1/balance/info": [UNAVAILABLE]}),
            "does not say what its key holds",
        ),
    ],
)
async def test_nothing_is_sent_where_it_could_not_be_used(desk: Desk, spoil: object, why: str) -> None:
    desk.keyed()
    assert callable(spoil)
    spoil(desk)
    with pytest.raises(NothingMoved, match=why):
        await begin_token(desk.account, desk.journal, desk.mint.token(250))
    assert desk.journal.moves == []


async def test_a_table_in_which_no_key_can_be_put_is_said_before_anything_is_sent(desk: Desk) -> None:
    text = desk.config.read_text().replace("http://", "http:\\u002f/").replace('"a"', '"\\u0061zz"')
    desk.config.write_text(text)
    account = accounts(load(desk.config, {}).config, desk.config, PooledTransport())["azz"]
    with pytest.raises(ConfigError, match="found no place"):
        await begin_token(account, desk.journal, desk.mint.token(250))


# --- invoices


@pytest.mark.parametrize("key", [None, KEY])
async def test_an_invoice_is_credited_once_it_is_paid(desk: Desk, key: str | None) -> None:
    if key:
        desk.keyed()
    move = await begin_invoice(desk.account, desk.journal, 50)
    assert desk.journal.moves == [move]
    with pytest.raises(Waiting, match="not paid"):
        await desk.settle(move)
    desk.node.pay()
    assert await desk.settle(move) == "a has 50 sats more, paid by Lightning"
    assert desk.key in desk.node.accounts
    assert desk.journal.moves == []


async def test_the_same_invoice_is_shown_again_while_it_can_be_paid(desk: Desk) -> None:
    move = await begin_invoice(desk.account, desk.journal, 50)
    assert open_invoice(desk.account, desk.journal, 50) == move
    assert open_invoice(desk.account, desk.journal, 51) is None
    desk.journal.put(replace(move, expires_at_s=1))
    assert open_invoice(desk.account, desk.journal, 50) is None


async def test_a_second_first_key_is_not_asked_for(desk: Desk) -> None:
    await begin_invoice(desk.account, desk.journal, 50)
    with pytest.raises(NothingMoved, match="open invoice over 50 sats"):
        await begin_token(desk.account, desk.journal, desk.mint.token(250))


async def test_an_expired_invoice_is_kept_for_as_long_as_a_late_payment_counts(desk: Desk) -> None:
    move = await begin_invoice(desk.account, desk.journal, 50)
    desk.node.invoices[move.invoice_id]["status"] = "expired"
    with pytest.raises(Waiting, match="expired"):
        await desk.settle(move, now_s=move.expires_at_s + 86_000)
    with pytest.raises(NothingMoved, match="was not paid in time"):
        await desk.settle(move, now_s=move.expires_at_s + 87_000)
    assert desk.journal.moves == []


async def test_a_payment_that_the_node_has_not_credited_is_kept(desk: Desk) -> None:
    move = await begin_invoice(desk.account, desk.journal, 50)
    desk.node.invoices[move.invoice_id]["status"] = "settlement_pending"
    with pytest.raises(Unfinished, match="has not credited 50 sats yet") as caught:
        await desk.settle(move, now_s=move.expires_at_s + 90_000)
    assert not isinstance(caught.value, Waiting)
    assert desk.journal.moves == [move]


# --- refunds


async def test_a_refund_is_handed_over_and_forgotten(desk: Desk) -> None:
    desk.keyed()
    move = await begin_refund(desk.account, desk.journal, None)
    assert await desk.settle(move) == "a has paid back 100 sats"
    assert desk.handed_over == [desk.node.accounts[KEY].refund]
    assert desk.journal.moves == []


async def test_a_refund_that_is_worth_less_than_was_held_is_said(desk: Desk) -> None:
    """A node that keeps a part must not be helped to hide it."""
    desk.keyed(free=700_500)
    desk.node.accounts[KEY].refund = json.loads(recording("refund_sk").body)["token"]  # of 500 sats
    desk.node.accounts[KEY].free = 0
    move = replace(await begin_refund(desk.account, desk.journal, None), held_msats=700_500)
    said = await desk.settle(move)
    assert said.startswith("careful: a has paid back 500 sats, and its key held 700.500; ask who runs the node")
    assert desk.handed_over == [desk.node.accounts[KEY].refund]


async def test_a_refund_to_a_file_is_there_for_its_owner_alone(desk: Desk, tmp_path: Path) -> None:
    desk.keyed()
    file = tmp_path / "token.txt"
    await desk.settle(await begin_refund(desk.account, desk.journal, file))
    assert file.read_text() == f"{desk.node.accounts[KEY].refund}\n"
    assert file.stat().st_mode & 0o777 == 0o600


async def test_a_refund_never_overwrites_a_file(desk: Desk, tmp_path: Path) -> None:
    desk.keyed()
    file = tmp_path / "token.txt"
    file.write_text("mine")
    with pytest.raises(UnusableInput, match="exists; name a file that does not"):
        await begin_refund(desk.account, desk.journal, file)
    assert desk.journal.moves == []
    file.unlink()
    move = await begin_refund(desk.account, desk.journal, file)
    file.write_text("mine")
    with pytest.raises(UnusableInput, match="holds something else by now"):
        await desk.settle(move)
    (kept,) = desk.journal.moves
    assert isinstance(kept, RefundMove)
    assert kept.token == desk.node.accounts[KEY].refund
    file.unlink()
    await desk.settle(kept)
    assert file.read_text() == f"{kept.token}\n"


@pytest.mark.parametrize("answers", [[BUSY], [TOO_EARLY, TOO_EARLY], [(409, {"detail": "Balance changed"})]])
async def test_a_node_that_can_not_pay_back_yet_is_asked_again(desk: Desk, answers: list[object]) -> None:
    desk.keyed()
    desk.node.scripted["/v1/balance/refund"] = list(answers)  # type: ignore[arg-type]  # given as objects
    await desk.settle(await begin_refund(desk.account, desk.journal, None))
    assert desk.handed_over == [desk.node.accounts[KEY].refund]
    assert desk.waits_s == [2 if answers[0] == TOO_EARLY else 1 for _ in answers]


async def test_requests_that_never_end_leave_the_refund_for_later(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arbstr.market.settlement.REFUND_PATIENCE_S", -1.0)
    at_node = desk.keyed()
    at_node.free, at_node.reserved = at_node.free - 365, 365
    move = await begin_refund(desk.account, desk.journal, None)
    with pytest.raises(Unfinished, match="ongoing requests"):
        await desk.settle(move)
    assert desk.journal.moves == [move]
    at_node.reserved, at_node.spent = 0, at_node.spent + 365
    await desk.settle(move)
    assert desk.handed_over == [desk.node.accounts[KEY].refund]


async def test_a_key_that_has_expired_is_paid_back(desk: Desk) -> None:
    desk.keyed()
    desk.node.scripted["/v1/balance/info"] = [(403, {"error": {"message": "expired", "code": "key_expired"}})] * 9
    await desk.settle(await begin_refund(desk.account, desk.journal, None))
    assert desk.handed_over == [desk.node.accounts[KEY].refund]


async def test_a_refund_whose_answer_was_lost_is_given_again(desk: Desk) -> None:
    desk.keyed()
    desk.node.lost.append("/v1/balance/refund")
    await desk.settle(await begin_refund(desk.account, desk.journal, None))
    assert desk.handed_over == [desk.node.accounts[KEY].refund]
    assert desk.node.accounts[KEY].history == ["in", "out"]


async def test_a_node_that_has_debited_but_has_no_token_yet_is_waited_for(desk: Desk) -> None:
    at_node = desk.keyed()
    move = await begin_refund(desk.account, desk.journal, None)
    at_node.free = 0
    desk.node.scripted["/v1/balance/refund"] = [(400, {"detail": "No balance to refund"})] * 2
    at_node.refund = desk.mint.token(100)
    await desk.settle(move)
    assert desk.handed_over == [at_node.refund]


async def test_a_refund_is_not_repeated_over_money_that_came_since(desk: Desk) -> None:
    """The node would give a second token, and the first could be had no more."""
    at_node = desk.keyed()
    move = await begin_refund(desk.account, desk.journal, None)
    await desk.account.money.refund(KEY)
    first, at_node.free = at_node.refund, 30_000
    with pytest.raises(Unfinished, match="was paid in for again since"):
        await desk.settle(move)
    at_node.free, at_node.spent = 0, at_node.spent + 30_000
    await desk.settle(move)
    assert desk.handed_over == [first]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((400, {"detail": "Balance too small to refund"}), "too small"),
        ((400, {"detail": "No balance to refund"}), "No balance"),
        ((410, {"detail": "Refund has been swept"}), "swept"),
    ],
)
async def test_a_refund_that_there_will_not_be_is_forgotten(
    desk: Desk, answer: tuple[int, dict[str, str]], why: str
) -> None:
    desk.keyed()
    desk.node.scripted["/v1/balance/refund"] = [answer]
    with pytest.raises(NothingMoved, match=why):
        await desk.settle(await begin_refund(desk.account, desk.journal, None))
    assert desk.journal.moves == []


async def test_the_last_refund_can_be_had_again(desk: Desk) -> None:
    desk.keyed()
    await desk.settle(await begin_refund(desk.account, desk.journal, None))
    again = await desk.settle(await begin_refund(desk.account, desk.journal, None))
    assert "the token of its last refund again" in again
    assert desk.handed_over == [desk.node.accounts[KEY].refund] * 2


async def test_a_node_that_pays_to_an_address_hands_over_no_token(desk: Desk) -> None:
    desk.keyed()
    desk.node.scripted["/v1/balance/refund"] = [(200, {"recipient": "me@ln.example", "sats": "100"})]
    assert "sent its refund to me@ln.example" in await desk.settle(await begin_refund(desk.account, desk.journal, None))


async def test_no_other_move_begins_while_one_is_in_motion(desk: Desk) -> None:
    desk.keyed()
    await begin_refund(desk.account, desk.journal, None)
    with pytest.raises(NothingMoved, match="money under way"):
        await begin_token(desk.account, desk.journal, desk.mint.token(250))
    with pytest.raises(NothingMoved, match="money under way"):
        await begin_refund(desk.account, desk.journal, None)


async def test_an_error_that_quotes_secrets_shows_none(desk: Desk) -> None:
    desk.keyed()
    token = desk.mint.token(250)
    desk.mint.spend(token)
    desk.node.quotes = True
    move = await begin_token(desk.account, desk.journal, token)
    with pytest.raises(ArbstrError) as caught:
        await desk.settle(move)
    assert token not in str(caught.value)
    assert KEY not in str(caught.value)
