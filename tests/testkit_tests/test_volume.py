"""Many messages through all hops, with faults, each one judged: the bounded form of a long run.

The long one is `python -m bench.simulated --messages 10000000`; docs/performance.md has its
numbers.
"""

from collections import Counter

import msgspec
import pytest

from bench.simulated import FLOWS, SHARD, Judged, Piece, added, judged, told


def test_thousands_of_messages_with_faults_lose_nothing_and_double_nothing() -> None:
    shards = [judged(seed) for seed in range(100, 100 + len(FLOWS))]
    assert [what for shard in shards for what in shard.broken] == []
    counted = sum((shard.counted for shard in shards), Counter[str]())
    assert counted["messages"] == len(FLOWS) * SHARD
    assert counted["acknowledged"] >= counted["messages"]  # a message that came again is, too
    assert counted["messages"] <= 100 * counted["faults"]
    assert counted["replies received"] > counted["messages"] / 2


def test_a_shard_is_repeated_by_its_seed() -> None:
    assert judged(7).counted == judged(7).counted


def test_the_pieces_of_a_long_run_add_up() -> None:
    whole = added("\n".join([piece(2_000, until=3_000, lost=1), piece(0, until=2_000, lost=0)]))
    assert (whole.first, whole.until, whole.counted["messages"]) == (0, 3_000, 3_000)
    assert whole.broken == ["shard 5: lost: it is gone"]
    assert f"{'messages lost':32} {1:>14}" in told(whole)


def test_pieces_between_which_one_is_missing_are_refused() -> None:
    with pytest.raises(ValueError, match="messages 2000 of seed 1 do not follow 1000"):
        added("\n".join([piece(0, until=1_000, lost=0), piece(2_000, until=3_000, lost=0)]))


def piece(first: int, *, until: int, lost: int) -> str:
    """One piece as a line."""
    made = Piece(seed=1, first=first, until=until, processes=2, took_s=1.0)
    counted = Counter({"messages": until - first, "broken: lost": lost})
    made.add(Judged(5, counted, ("lost: it is gone",) * lost))
    return msgspec.json.encode(made).decode()
