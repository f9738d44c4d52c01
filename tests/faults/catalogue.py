"""The faults by name: what each builds, what it does in one round, and how often.

A round is one blow, or several that belong together; rounds are spread over the messages of a run.
What may not happen is the same for all of them: see `trial`.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from tests.crash.judge import NEVER
from tests.crash.people import Habits
from tests.faults import on_brokers, on_records, on_workers
from tests.faults.lab import Lab, Shape

WAITED = ("expired", "ignored")
Round = Callable[[Lab, int], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """`rounds`: of the long form. `round` is given the round's number, from 0.

    `never`: how no message may end. Where everybody waits for a broker for longer than a model may
    take for an answer, some end with an apology.
    """

    name: str
    round: Round
    rounds: int
    shape: Shape = field(default_factory=Shape)
    never: tuple[str, ...] = NEVER


async def some_of_all(lab: Lab, number: int) -> None:
    """What one broker and one minute allow."""
    await lab.kill(lab.one_of("sessions"))
    await lab.kill(lab.one_of("model"))
    await lab.kill(lab.one_of("ingress"))
    await on_workers.open_transaction(lab, number)
    await on_workers.poison(lab, number)
    await on_workers.zombie(lab, number)
    await on_brokers.broker_dies(lab, number)


CALM = Shape(people=48, habits=Habits(think_s=1.0))
"""Something is left of the cores, and somebody talks in every partition at any time: what is looked
at is how long a recovery takes."""
QUICK = Shape(session_timeout_s=6.0)
POISONED = Shape(env={"LAB_POISON": on_workers.POISON})
SHORT = Fault(
    name="short",
    round=some_of_all,
    rounds=1,
    never=WAITED,
    shape=Shape(
        people=12,
        roles={"ingress": 2, "sessions": 2, "model": 2},
        session_timeout_s=4.0,
        env={"LAB_POISON": on_workers.POISON},
    ),
)
FAULTS: Mapping[str, Fault] = {
    fault.name: fault
    for fault in (
        Fault(name="kill", round=on_workers.kill, rounds=25, shape=CALM),
        Fault(name="join-and-leave", round=on_workers.join_and_leave, rounds=8, shape=QUICK),
        Fault(name="rolling-restart", round=on_workers.rolling_restart, rounds=3),
        Fault(name="zombie", round=on_workers.zombie, rounds=5, shape=QUICK),
        Fault(name="open-transaction", round=on_workers.open_transaction, rounds=10, shape=CALM),
        Fault(name="poison", round=on_workers.poison, rounds=3, shape=POISONED),
        Fault(name="rubbish", round=on_records.rubbish, rounds=6),
        Fault(name="clock", round=on_workers.clock, rounds=8),
        Fault(name="broker", round=on_brokers.broker_dies, rounds=5, never=WAITED),
        Fault(name="long-outage", round=on_brokers.broker_stays_away, rounds=3, never=WAITED),
        Fault(
            name="three-brokers",
            round=on_brokers.one_of_three_dies,
            rounds=4,
            shape=Shape(brokers=3),
            never=WAITED,
        ),
        Fault(
            name="disk",
            round=on_brokers.disk_fills,
            rounds=2,
            shape=Shape(disk_mb=800),
            never=WAITED,
        ),
        Fault(
            name="network",
            round=on_brokers.network_cut,
            rounds=6,
            shape=Shape(far=True, session_timeout_s=6.0),
            never=WAITED,
        ),
        SHORT,
    )
}
