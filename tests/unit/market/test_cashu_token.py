"""What a person pastes as a token."""

from __future__ import annotations

import json

import pytest

from arbstr.market.cashu_token import clean, key_of
from tests.support.recordings import recording

TOKEN = "cashuBo2F0gaJhaUgB8vxFdYeLxGF"


@pytest.mark.parametrize(
    "pasted", [TOKEN, f" {TOKEN}\n", f"{TOKEN[:9]}\r\n  {TOKEN[9:]}", f"cashu:{TOKEN}", f"web+cashu://{TOKEN}"]
)
def test_line_breaks_blanks_and_an_addresss_prefix_are_no_part_of_it(pasted: str) -> None:
    assert clean(pasted) == TOKEN


@pytest.mark.parametrize("pasted", ["", "sk-0123456789", "cashu", "cashuB", f"{TOKEN}!", f"{TOKEN}é", "lnbc1secret"])
def test_what_is_none_is_refused_and_not_repeated(pasted: str) -> None:
    with pytest.raises(ValueError, match="begin with cashuA or cashuB") as caught:
        clean(pasted)
    assert not pasted or pasted not in str(caught.value) or pasted in ("cashu", "cashuB")


def test_a_nodes_key_of_it_is_its_digest() -> None:
    exchange = recording("balance_create_post")
    assert key_of(exchange.request["body"]["initial_balance_token"]) == json.loads(exchange.body)["api_key"]
