"""What a node is asked about money, and what its recorded answers say; no secret is in an error."""

from __future__ import annotations

import json
import time

import httpx
import pytest

from arbstr.market.node_money import InvoiceState, NodeMoney, NodeRefusal, NodeSilent, paid_in_msats
from tests.support.engine_builders import provider
from tests.support.recordings import recording

KEY = "sk-0123456789abcdef"
TOKEN = "cashuB0123456789abcdef"
INVOICE = "lnbc1u1p0123456789abcdef"
NODE = provider("node", kind="routstr")


class Asked:
    """A node that plays recordings in turn, and what it was asked."""

    def __init__(self, *answers: str | httpx.Response | Exception) -> None:
        self._answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.money = NodeMoney(httpx.MockTransport(self._answer), NODE)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx.Response):
            return answer
        exchange = recording(answer)
        return httpx.Response(exchange.status, content=exchange.body)

    @property
    def last(self) -> tuple[str, str, object, str | None]:
        request = self.requests[-1]
        body = json.loads(request.content) if request.content else None
        return request.method, request.url.path, body, request.headers.get("authorization")


async def test_a_token_becomes_a_key() -> None:
    node = Asked("balance_create_post")
    assert (await node.money.create(TOKEN)).startswith("sk-b3cf6875")
    assert node.last == ("POST", "/v1/balance/create", {"initial_balance_token": TOKEN}, None)


async def test_a_token_tops_a_key_up() -> None:
    node = Asked("topup")
    assert await node.money.top_up(KEY, TOKEN) == 250_000
    assert node.last == ("POST", "/v1/balance/topup", {"cashu_token": TOKEN}, f"Bearer {KEY}")


async def test_a_refund_is_a_token() -> None:
    node = Asked("refund_sk")
    token, recipient = await node.money.refund(KEY)
    assert (token or "")[:6] == "cashuB"
    assert recipient is None
    assert node.last == ("POST", "/v1/balance/refund", {}, f"Bearer {KEY}")


async def test_an_invoice_is_made_and_followed() -> None:
    node = Asked("lightning_invoice_create", "lightning_invoice_status", "lightning_recover")
    invoice = await node.money.open_invoice(100, None)
    assert invoice.bolt11.startswith("lnbc1u1p4sf0n")
    assert node.last == (
        "POST", "/v1/balance/lightning/invoice", {"amount_sats": 100, "purpose": "create"}, None,
    )  # fmt: skip
    state = await node.money.invoice_state(invoice.path, invoice.invoice_id)
    assert state.status == "paid"
    assert (state.key or "").startswith("sk-d58f0e0f")
    assert node.last[1] == f"/v1/balance/lightning/invoice/{invoice.invoice_id}/status"
    assert (await node.money.late_invoice_state(invoice.path, invoice.bolt11)).status == "paid"
    assert node.last[1:3] == ("/v1/balance/lightning/recover", {"bolt11": invoice.bolt11})


@pytest.mark.parametrize("bolt11", ["", "lnbc", "\x1b[2Jlnbc1u1p4sf0n79qypqqqdqqx", "lnbc1u1p4sf0n79 qypqqqdqqx", 7])
async def test_what_is_no_invoice_is_not_shown_as_one(bolt11: object) -> None:
    with pytest.raises(NodeRefusal, match="no invoice"):
        await Asked(httpx.Response(200, json={"bolt11": bolt11, "invoice_id": "x"})).money.open_invoice(5, None)


@pytest.mark.parametrize("invoice_id", ["", "\ud800", "\x1b[31m", "i" * 100_000, 7])
async def test_an_invoice_that_can_not_be_asked_about_is_none(invoice_id: object) -> None:
    document = {"bolt11": INVOICE, "invoice_id": invoice_id}
    with pytest.raises(NodeRefusal, match="no invoice"):
        await Asked(httpx.Response(200, content=json.dumps(document).encode())).money.open_invoice(5, None)


@pytest.mark.parametrize("said", [10**30, None, -1, "soon"])
async def test_an_invoice_is_good_for_a_month_at_most(said: object) -> None:
    document = {"bolt11": INVOICE, "invoice_id": "x", "expires_at": said}
    invoice = await Asked(httpx.Response(200, content=json.dumps(document).encode())).money.open_invoice(5, None)
    assert 0 < invoice.expires_at_s - time.time() <= 30 * 86_400


async def test_a_refund_that_would_write_on_the_screen_is_no_token() -> None:
    with pytest.raises(NodeSilent, match="characters that no token has"):
        await Asked(httpx.Response(200, json={"token": "cashuB\x1b[2J"})).money.refund(KEY)


async def test_an_invoices_id_leads_nowhere_else() -> None:
    node = Asked(httpx.Response(200, json={"status": "pending"}))
    await node.money.invoice_state("balance/lightning", "../../x?y#z")
    assert node.requests[0].url.raw_path == b"/v1/balance/lightning/invoice/..%2F..%2Fx%3Fy%23z/status"


async def test_a_node_that_has_its_invoices_elsewhere_is_asked_there() -> None:
    node = Asked(httpx.Response(404), "lightning_topup_create", httpx.Response(200, json={"status": "pending"}))
    invoice = await node.money.open_invoice(77, KEY)
    assert node.last == ("POST", "/lightning/invoice", {"amount_sats": 77, "purpose": "topup"}, f"Bearer {KEY}")
    assert await node.money.invoice_state(invoice.path, invoice.invoice_id) == InvoiceState("pending", None)
    assert node.last[1] == f"/lightning/invoice/{invoice.invoice_id}/status"


async def test_what_was_paid_in_does_not_change_while_it_is_spent() -> None:
    balance = await Asked("balance_info_while_reserved").money.balance(KEY)
    assert paid_in_msats(balance) == 398_725 + 365 + 910 == 400_000


@pytest.mark.parametrize(
    ("name", "status", "code", "words"),
    [
        ("topup_spent_token", 400, "cashu_token_already_spent", "Cashu token already spent"),
        ("topup_garbage", 500, "internal_error", "Internal error during token redemption"),
        ("err_refund_while_request_runs", 400, "", "ongoing requests"),
        ("err_refund_zero", 400, "", "No balance to refund"),
        ("err_refund_unknown_key", 401, "key_not_found", "Key not found"),
        ("err_expired_key", 403, "key_expired", "has expired"),
    ],
)
async def test_a_refusal_says_what_the_node_said(name: str, status: int, code: str, words: str) -> None:
    with pytest.raises(NodeRefusal, match=words) as caught:
        await Asked(name).money.refund(KEY)
    assert (caught.value.status, caught.value.code) == (status, code)


async def test_a_wait_that_is_asked_for_is_known() -> None:
    with pytest.raises(NodeRefusal) as caught:
        await Asked(httpx.Response(425, json={"detail": "pending"}, headers={"Retry-After": "2"})).money.refund(KEY)
    assert caught.value.wait_s == 2


@pytest.mark.parametrize(
    ("error", "sent"),
    [(httpx.ConnectError("refused"), False), (httpx.ReadError("reset"), True), (httpx.ConnectTimeout("slow"), False)],
)
async def test_silence_says_whether_anything_was_sent(error: Exception, sent: bool) -> None:
    with pytest.raises(NodeSilent) as caught:
        await Asked(error).money.top_up(KEY, TOKEN)
    assert caught.value.sent is sent


@pytest.mark.parametrize(
    ("history", "refunded"),
    [
        ([], False),
        ([("in", 5)], False),
        ([("out", 6), ("in", 5)], True),
        ([("in", 7), ("out", 6)], False),
        ([("in", 5), ("out", 5)], True),
    ],
)
async def test_a_refund_is_the_last_that_happened_by_the_second(history: list[tuple[str, int]], refunded: bool) -> None:
    entries = [{"type": kind, "created_at": at_s} for kind, at_s in history]
    assert await Asked(httpx.Response(200, json={"transactions": entries})).money.was_refunded(KEY) is refunded


@pytest.mark.parametrize("answer", [{}, {"api_key": 1}, {"api_key": ""}, []])
async def test_an_answer_without_a_key_may_have_cost_the_token(answer: object) -> None:
    with pytest.raises(NodeSilent) as caught:
        await Asked(httpx.Response(200, json=answer)).money.create(TOKEN)
    assert caught.value.sent


@pytest.mark.parametrize("quoted", [KEY, TOKEN, TOKEN.replace("B", "\\u0042"), KEY.replace("-", "%2D")])
async def test_a_node_that_quotes_a_secret_is_not_quoted(quoted: str) -> None:
    body = f'{{"error": {{"message": "what is {quoted}?", "code": "odd"}}}}'.encode()
    with pytest.raises(NodeRefusal, match="what is") as caught:
        await Asked(httpx.Response(400, content=body)).money.top_up(KEY, TOKEN)
    assert KEY not in str(caught.value)
    assert TOKEN not in str(caught.value)


async def test_an_invoice_that_is_quoted_is_not_said_either() -> None:
    with pytest.raises(NodeRefusal) as caught:
        await Asked(httpx.Response(404, json={"detail": f"no {INVOICE}"})).money.late_invoice_state("x", INVOICE)
    assert INVOICE not in str(caught.value)


@pytest.mark.parametrize("status", [301, 307, 308])
async def test_a_token_is_not_sent_where_a_node_points(status: int) -> None:
    node = Asked(httpx.Response(status, headers={"Location": "https://elsewhere.example/v1/balance/create"}))
    with pytest.raises(NodeRefusal, match=f"HTTP {status}"):
        await node.money.create(TOKEN)
    assert len(node.requests) == 1
