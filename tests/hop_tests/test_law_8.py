"""Law 8: a send is repeated only where the platform recognises it; elsewhere it is `unknown`.

Over random schedules of orders, marks, lost and slow commits, calls, withdrawals and deaths between
mark and receipt. Both sides are counted: what arrived at the platform, and what the log says of it.
"""

from collections import Counter
from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st

from tests.hop_tests.world import LIMIT, PERIOD_MS, World

Act = tuple[str, tuple[Any, ...]]
NUMBER = st.integers(0, 3)


def act(name: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Act]:
    return st.tuples(st.just(name), st.tuples(*arguments))


SCHEDULES = st.lists(
    st.one_of(
        act("say", st.integers(0, 2)),
        act("turn", st.sampled_from(["ok", "ok", "ok", "slow", "lost"])),
        act("call", NUMBER),
        act("end", NUMBER, st.sampled_from(["took", "took", "away", "refused"])),
        act("wait", st.sampled_from([1, 40, 300, 2_500])),
        act("withdraw", st.integers(0, 2)),
        act("die", st.booleans()),
    ),
    min_size=20,
    max_size=80,
)


def played(schedule: list[Act], *, idempotent: bool) -> World:
    """The world after this schedule, and after all that was on its way has ended."""
    world = World(idempotent=idempotent)
    for name, arguments in schedule:
        getattr(world, name)(*arguments)
    world.rest()
    return world


@given(SCHEDULES)
def test_where_a_repetition_is_not_recognised_nothing_arrives_twice_and_the_flow_is_told(
    schedule: list[Act],
) -> None:
    world = played(schedule, idempotent=False)
    took, states = Counter(world.took), Counter(d.state for d in world.durable.values())
    assert all(n == 1 for n in took.values())
    # Each mark that a death left behind is unknown, and nothing else is; the flow hears of each.
    assert states["unknown"] == world.died_sending == world.told["unknown"]
    assert states["failed"] == world.told["failed"]
    for reply, delivery in world.durable.items():
        assert delivery.state in ("sent", "unknown", "failed", "withdrawn")
        if delivery.state != "unknown":
            assert took[reply] == (delivery.state == "sent")
    event(f"unknown: {min(states['unknown'], 3)}")


@given(SCHEDULES)
def test_where_a_repetition_is_recognised_all_that_is_wanted_arrives_and_deaths_repeat_it(
    schedule: list[Act],
) -> None:
    world = played(schedule, idempotent=True)
    took, states = Counter(world.took), Counter(d.state for d in world.durable.values())
    assert took.total() - len(took) <= world.died_sending
    assert states["unknown"] == world.told["unknown"]
    assert states["failed"] == world.told["failed"]
    for reply, delivery in world.durable.items():
        assert delivery.state in ("sent", "unknown", "failed", "withdrawn")
        assert delivery.state != "sent" or took[reply]
        # Given up as unknown only where nobody wanted it any more.
        assert delivery.state != "unknown" or delivery.withdrawn_ms is not None
    event(f"repeated: {min(took.total() - len(took), 3)}")


@given(SCHEDULES, st.booleans())
def test_whatever_happens_the_limit_of_the_account_and_the_order_of_a_session_hold(
    schedule: list[Act], idempotent: bool
) -> None:
    world = played(schedule, idempotent=idempotent)
    times = [at_ms for at_ms, _ in world.calls]
    for start in times:
        assert sum(start <= at_ms < start + PERIOD_MS for at_ms in times) <= LIMIT
    for replies in world.ordered.values():
        arrived = [r for r in dict.fromkeys(world.took) if r in replies]
        assert arrived == [r for r in replies if r in arrived]
    assert world.hop.waiting == 0
