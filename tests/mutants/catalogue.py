"""All mutants, by name."""

from tests.mutants import (
    blind,
    delivery,
    durable,
    embedded,
    engine_steps,
    engine_turns,
    flows,
    hops,
    readers,
    sqlite,
)
from tests.mutants.patch import Mutant

MUTANTS: tuple[Mutant, ...] = (
    *engine_steps.MUTANTS,
    *engine_turns.MUTANTS,
    *hops.MUTANTS,
    *delivery.MUTANTS,
    *durable.MUTANTS,
    *flows.MUTANTS,
    *readers.MUTANTS,
    *embedded.MUTANTS,
    *sqlite.MUTANTS,
    *blind.MUTANTS,
)
BY_NAME = {mutant.name: mutant for mutant in MUTANTS}
assert len(BY_NAME) == len(MUTANTS), "two mutants have one name"
