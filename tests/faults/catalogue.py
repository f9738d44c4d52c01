"""The faults by name: what each builds, what it does in one round, and how often.

A round is one blow, or one sequence that belongs together; rounds are spread over the messages of a
run. What may not happen is the same for all of them: see `trial`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tests.faults.lab import Lab, Shape

Round = Callable[[Lab, int], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """`rounds`: of the long form. `round` is given the round's number."""

    name: str
    round: Round
    rounds: int
    shape: Shape = field(default_factory=Shape)


async def kill(lab: Lab, number: int) -> None:
    """A sessions worker each time, and one of each other role in turn."""
    await lab.wait(0, 1)
    await lab.kill(lab.one_of("sessions"))
    others = [role for role in lab.shape.roles if role != "sessions"]
    if number % 5 < len(others):
        await lab.wait(0, 1)
        await lab.kill(lab.one_of(others[number % 5]))


FAULTS: dict[str, Fault] = {
    fault.name: fault for fault in (Fault(name="kill", round=kill, rounds=25),)
}
