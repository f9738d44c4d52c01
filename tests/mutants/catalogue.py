"""All mutants, by name."""

from tests.mutants import delivery, durable, engine_steps, engine_turns, flows, hops
from tests.mutants.patch import Mutant

MUTANTS: tuple[Mutant, ...] = (
    *engine_steps.MUTANTS,
    *engine_turns.MUTANTS,
    *hops.MUTANTS,
    *delivery.MUTANTS,
    *durable.MUTANTS,
    *flows.MUTANTS,
)
BY_NAME = {mutant.name: mutant for mutant in MUTANTS}
assert len(BY_NAME) == len(MUTANTS), "two mutants have one name"
