"""What a simulated world is like, beside its flow, its words, its stimuli and its seed.

Drawn with each plan, derived from each seed of a search, and written at the top of a saved dialog:
whoever runs that again builds the same world. It judges nothing.
"""

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

from msgspec.structs import replace

from engine.flow import Flow
from testkit.script import Script
from testkit.simulator import Simulator


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """`idempotent`: the platform recognises a repeated reply. `limit`: max calls of each account in
    a period of so many ms. `outbox`: the log keeps people's lines, as for web chat. `changes_flow`:
    the flow becomes the active one when a partition is first taken over; until then it is one that
    behaves alike, under another ref."""

    idempotent: bool = True
    limit: tuple[int, int] | None = None
    outbox: bool = False
    changes_flow: bool = False

    def __str__(self) -> str:
        return ", ".join(self._words())

    def _words(self) -> Iterator[str]:
        knows = "knows" if self.idempotent else "does not know"
        yield f"a platform that {knows} repeated replies"
        if self.limit is not None:
            yield f"at most {self.limit[0]} calls in {self.limit[1]} ms"
        if self.outbox:
            yield "lines are kept"
        if self.changes_flow:
            yield "the flow changes at a move"


PLAIN = Surroundings()
_FORGETFUL = Surroundings(idempotent=False)
SOME = (
    PLAIN,
    _FORGETFUL,
    Surroundings(limit=(2, 1_000)),
    Surroundings(outbox=True),
    Surroundings(changes_flow=True),
    PLAIN,
    _FORGETFUL,
    Surroundings(idempotent=False, limit=(1, 500)),
    Surroundings(outbox=True, limit=(2, 1_000)),
    PLAIN,
    _FORGETFUL,
    Surroundings(idempotent=False, limit=(2, 1_000), changes_flow=True),
)
"""What is drawn from. The plainest comes first: a failure shrinks to it where it can."""


def of_seed(seed: int) -> Surroundings:
    """What a search's run with this seed has around it."""
    return SOME[seed % len(SOME)]


def simulator(flow: Flow, script: Script, *, seed: int, around: Surroundings) -> Simulator:
    """The simulator with these surroundings."""
    return Simulator(
        flow,
        script=script,
        seed=seed,
        idempotent=around.idempotent,
        limit=around.limit,
        outbox=around.outbox,
        versions=(alike(flow),) if around.changes_flow else (),
    )


def alike(flow: Flow) -> Flow:
    """A flow that does the same under another ref, as after a setting that changes no dialog."""
    return _alike((flow,))


@lru_cache(maxsize=64)  # much is remembered of a flow: it had to be found out anew for each run
def _alike(of: tuple[Flow]) -> Flow:
    (flow,) = of
    other = copy(flow)
    digest = blake2b(flow.ref.digest.encode(), digest_size=16).hexdigest()
    # A flow takes no attribute once it is built; this one is being built.
    object.__setattr__(other, "ref", replace(flow.ref, digest=digest))
    return other
