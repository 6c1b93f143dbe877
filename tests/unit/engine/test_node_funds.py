"""What can be spent at a node: the last balance, own requests under way, what they took, and refusals."""

from __future__ import annotations

import math

import pytest

from arbstr.engine.node_funds import REST_S, NodeFunds
from arbstr.engine.node_reservation import ReservationTerms
from arbstr.types import Balance, InferenceRequest
from tests.support.clock import Clock
from tests.support.engine_builders import chat

FLAT = ReservationTerms(1_000_000, 0.0, 1000.0, 0.0, 0.001)  # a msat for each token of the cap


def asking(msats: int) -> InferenceRequest:
    """A request that needs so much by `FLAT`."""
    return chat(max_tokens=msats, loosest_cap=msats, body=b'{"max_tokens": %d}' % msats)


class Node:
    """A key's funds at a node that says what it holds."""

    def __init__(self, free_msats: int | None = None) -> None:
        self.clock = Clock()
        self.funds = NodeFunds(self.clock)
        self.wanted: list[bool] = []
        self.funds.want_reading = self.wanted.append
        if free_msats is not None:
            self.says(free_msats)

    def says(self, free_msats: int, reserved: int = 0, version: str | None = None) -> bool:
        return self.funds.learn(self.balance(free_msats, reserved, version), self.funds.begin_reading())

    @staticmethod
    def balance(free_msats: int, reserved: int = 0, version: str | None = None) -> Balance:
        return Balance("known", free_msats, reserved, 0, 0, 1, version)

    def affords(self, msats: int) -> bool:
        return self.funds.affords(FLAT, asking(msats))


def test_while_a_balance_is_unknown_nothing_is_limited() -> None:
    node = Node()
    assert not node.funds.is_known
    assert node.funds.free_msats == math.inf
    assert node.affords(10**6)
    assert node.funds.affords(None, chat())


def test_what_fits_is_afforded_and_what_does_not_is_not() -> None:
    node = Node(5000)
    assert node.funds.is_known
    assert node.affords(5000)
    assert not node.affords(5001)


def test_a_reading_is_wanted_when_a_request_ends_and_when_one_is_left_out() -> None:
    node = Node(5000)
    assert node.affords(5000)
    assert node.wanted == []
    node.funds.hold(FLAT, asking(3000)).settle(100)
    assert node.wanted == [False]
    assert not node.affords(5000)
    assert node.wanted == [False, False]


def test_of_a_model_without_terms_only_an_empty_balance_refuses() -> None:
    assert Node(1).funds.affords(None, chat())
    assert not Node(0).funds.affords(None, chat())


def test_requests_under_way_hold_what_they_need() -> None:
    node = Node(5000)
    first = node.funds.hold(FLAT, asking(3000))
    assert node.affords(2000)
    assert not node.affords(2001)
    second = node.funds.hold(FLAT, asking(2000))
    assert not node.affords(1)
    first.settle(100)
    assert node.affords(2900)
    second.settle(0)
    assert node.affords(4900)
    assert not node.affords(4901)


def test_a_hold_ends_once() -> None:
    node = Node(5000)
    hold = node.funds.hold(FLAT, asking(3000))
    hold.settle(100)
    hold.settle(None)
    hold.refuse("no")
    assert node.funds.free_msats == 4900
    assert node.wanted == [False]


def test_where_the_charge_is_unknown_all_that_was_held_is_gone_until_the_next_reading() -> None:
    node = Node(5000)
    node.funds.hold(FLAT, asking(3000)).settle(None)
    assert node.wanted == [True]
    assert node.funds.free_msats == 2000
    node.says(4500)
    assert node.funds.free_msats == 4500


# --- readings while requests are under way


def test_what_a_node_has_reserved_for_own_requests_is_taken_off_once() -> None:
    node = Node(5000)
    hold = node.funds.hold(FLAT, asking(3000))
    assert node.says(2000, reserved=3000)
    assert node.funds.free_msats == 2000
    hold.settle(500)
    assert node.funds.free_msats == 4500


def test_what_it_has_reserved_for_others_is_not_to_be_spent() -> None:
    node = Node(5000)
    assert not node.says(1000, reserved=4000)
    assert node.funds.free_msats == 1000
    hold = node.funds.hold(FLAT, asking(500))
    node.says(500, reserved=4500)
    hold.settle(100)
    assert node.funds.free_msats == 900


def test_a_request_that_began_during_the_reading_may_or_may_not_be_in_it() -> None:
    node = Node(5000)
    began = node.funds.begin_reading()
    hold = node.funds.hold(FLAT, asking(3000))
    assert node.funds.learn(node.balance(2000, reserved=3000), began)
    assert node.funds.free_msats == -1000, "never more than is surely there"
    hold.settle(100)
    node.says(4900)
    assert node.funds.free_msats == 4900


def test_one_that_ended_during_the_reading_is_charged_at_least_once() -> None:
    node = Node(5000)
    hold = node.funds.hold(FLAT, asking(3000))
    began = node.funds.begin_reading()
    hold.settle(100)
    assert node.funds.learn(node.balance(2000, reserved=3000), began)
    assert node.funds.free_msats == 2000


def test_a_key_that_can_not_be_used_or_read_limits_nothing() -> None:
    for state in ("expired", "bad_key", "unknown"):
        node = Node(0)
        node.funds.learn(Balance(state, 0, 0, 0, 0, 1), node.funds.begin_reading())
        assert not node.funds.is_known
        assert node.affords(10**6)


# --- what a request needs


def test_it_is_measured_exactly_where_that_decides() -> None:
    node = Node(2000)
    terms = ReservationTerms(100_000, 100.0, 0.0, 0.001, 0.0)  # a msat for each token of the prompt
    body = b'{"messages": [{"content": "%s"}], "tools": ["%s"]}' % (b"x" * 3000, b"y" * 6000)
    with_tools = chat(body=body, prompt_chars=9000)
    assert node.funds.needs(terms, with_tools) == 1000
    assert node.funds.affords(terms, with_tools)
    node.says(3500)
    assert node.funds.needs(terms, with_tools) == 3000
    node.says(999)
    assert not node.funds.affords(terms, with_tools)


def test_the_largest_cap_that_would_fit_is_named() -> None:
    node = Node(700)
    assert node.funds.largest_cap(FLAT, asking(5000)) == 700
    node.funds.hold(FLAT, asking(600))
    assert node.funds.largest_cap(FLAT, asking(5000)) == 100
    node.funds.hold(FLAT, asking(100))
    assert node.funds.largest_cap(FLAT, asking(5000)) is None
    assert Node().funds.largest_cap(FLAT, asking(5000)) is None


def test_a_newer_node_counts_by_its_own_formula() -> None:
    node = Node(2000)
    terms = ReservationTerms(100_000, 100.0, 0.0, 0.001, 0.0)
    tools = chat(body=b'{"tools": ["%s"]}' % (b"y" * 9000), prompt_chars=9000, dialect="responses")
    assert node.funds.needs(terms, tools) == 100_000
    node.says(2000, version="0.4.8")
    assert node.funds.needs(terms, tools) == 3001


def test_what_fits_once_the_requests_under_way_have_ended_is_known() -> None:
    node = Node(5000)
    assert node.funds.affords_when_idle(FLAT, asking(5000))
    hold = node.funds.hold(FLAT, asking(4000))
    assert not node.affords(2000)
    assert node.funds.affords_when_idle(FLAT, asking(5000))
    hold.settle(1000)
    assert not node.funds.affords_when_idle(FLAT, asking(5000))
    assert node.funds.affords_when_idle(FLAT, asking(4000))
    assert not Node().funds.affords_when_idle(FLAT, asking(1))


# --- refusals


def refused(node: Node, msats: int = 3000, message: str = "HTTP 402: no money") -> None:
    node.funds.hold(FLAT, asking(msats)).refuse(message)


def test_after_a_refusal_all_money_rests_until_the_next_reading() -> None:
    node = Node(5000)
    refused(node)
    assert node.wanted == [True]
    assert not node.affords(1)
    assert not node.funds.affords(None, chat())
    assert node.funds.largest_cap(FLAT, asking(5000)) is None


def test_a_reading_that_explains_it_ends_the_rest() -> None:
    node = Node(5000)
    refused(node)
    node.says(2999)
    assert node.affords(2999)
    assert not node.affords(3000)


def test_one_that_does_not_lets_only_smaller_requests_pass_until_there_is_more() -> None:
    node = Node(5000)
    refused(node)
    node.says(5000)
    assert node.affords(2999)
    assert not node.affords(3000)
    node.says(5000)
    assert not node.affords(3000)
    refused(node, 2000)
    node.says(5000)
    assert node.affords(1999)
    assert not node.affords(2000)
    node.says(5001)
    assert node.affords(5001)


@pytest.mark.parametrize(
    "message",
    [
        "HTTP 402: Insufficient balance: 20.000 sats (20000 msats) required for this model; 5 sats available.",
        "Insufficient balance: 20000 mSats required. 5000 available. (reserved: 0)",
    ],
)
def test_where_the_node_says_what_it_requires_that_is_awaited(message: str) -> None:
    node = Node(5000)
    refused(node, 3000, message)
    node.says(6000)
    assert not node.affords(3000)
    assert node.affords(2000)
    node.says(19_999)
    assert not node.affords(3000)
    node.says(20_000)
    assert node.affords(3000)


def test_what_another_program_had_reserved_for_a_moment_is_no_reason_to_rest() -> None:
    node = Node(5000)
    refused(node, 3000, "Insufficient balance: 3000 mSats required. 1000 available.")
    node.says(5000)
    assert node.affords(5000)


def test_a_reading_that_had_begun_before_a_refusal_says_nothing_of_it() -> None:
    node = Node(5000)
    began = node.funds.begin_reading()
    refused(node)
    node.funds.learn(node.balance(10_000), began)
    assert not node.affords(1)
    node.says(10_000)
    assert node.affords(2999)
    assert not node.affords(3000)


def test_an_unexplained_refusal_is_believed_for_ten_minutes_at_most() -> None:
    node = Node(5000)
    refused(node)
    node.says(5000)
    node.clock.now += REST_S - 1
    assert not node.affords(3000)
    node.clock.now += 1
    assert node.affords(3000)


def test_without_a_balance_a_refusal_changes_nothing_here() -> None:
    node = Node()
    refused(node)
    assert node.affords(10**6)
