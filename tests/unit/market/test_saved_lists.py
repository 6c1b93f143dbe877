"""Lists over restarts: what was written is read again, and what is something else is not."""

from __future__ import annotations

from decimal import Decimal

import pytest

from arbstr.engine.node_reservation import ReservationTerms
from arbstr.engine.routing.listing import ListedModel
from arbstr.market.saved_lists import SavedList, decode, encode
from arbstr.types import Rates

SAVED = SavedList(
    "https://node.example/v1",
    1_800_000_000_000,
    (
        ListedModel("m", ("v/m",), Rates(Decimal("0.1515"), Decimal(2), Decimal(0), cached_input=Decimal("0.07"))),
        ListedModel("plain", terms=ReservationTerms(9900, 4.5, 0.1, 1e-7, 0.0)),
    ),
)


def test_a_list_is_read_as_it_was_written() -> None:
    assert decode(encode(SAVED)) == SAVED


def test_a_list_of_an_earlier_version_has_no_terms() -> None:
    read = decode('["u",1,[["m",[],["1","2","0",null,null]]]]')
    assert read is not None
    assert read.models[0].terms is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[]",
        "{}",
        '["u",1]',
        '["u","x",[]]',
        '["u",1,[["m",[]]]]',
        '["u",1,[["m",[],["1","2"]]]]',
        '["u",1,[["m",[],["-1","2","0",null,null]]]]',
        '["u",1,[["m",[],["NaN","2","0",null,null]]]]',
        '["u",1,[["m",[],["x","2","0",null,null]]]]',
        '["u",1e400,[]]',
        '["u",1,[["m",[],null,[1,2,3]]]]',
        '["u",1,[["m",[],null,[1,2,3,4,-5]]]]',
        '["u",1,[["m",[],null,[1,2,3,4,"x"]]]]',
        '["u",1,[["m",[],null,[1e400,2,3,4,5]]]]',
        '["u",1,[["m",[],null,"terms"]]]',
    ],
)
def test_what_is_no_list_is_none(text: str) -> None:
    assert decode(text) is None
