"""Ids of requests: UUIDs v4, all different, and neighbours in time are neighbours in order."""

from __future__ import annotations

import itertools
from uuid import RFC_4122, UUID

from arbstr.server.ids import new_id

MANY = 100_000


def test_ids_are_uuids_of_version_4_and_none_comes_twice() -> None:
    ids = [new_id() for _ in range(MANY)]
    assert len(set(ids)) == MANY
    for text in ids:
        read = UUID(text)
        assert (str(read), read.version, read.variant) == (text, 4, RFC_4122)


def test_most_ids_begin_as_the_one_before_and_in_time_all_bits_change() -> None:
    ids = [new_id() for _ in range(MANY)]
    changes = sum(one[:13] != other[:13] for one, other in itertools.pairwise(ids))
    assert 1 <= changes <= MANY / 500
    assert all(one < other for one, other in itertools.pairwise(ids) if one[:13] == other[:13])
    numbers = [UUID(text).int for text in ids]
    steady = [bit for bit in range(128) if len({number >> bit & 1 for number in numbers}) == 1]
    assert steady == [62, 63, 76, 77, 78, 79]  # the variant and the version
