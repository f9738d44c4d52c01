"""The simulator: the hops of `streams/` on a simulated log, clock, platform and runners.

Everything that happens comes from one list of stimuli and one seed, in one thread: no clock, no
chance, no order of a set. It does what the embedded host does, in the same order, for several
workers over several partitions; what a hop decides, it never decides itself.
"""

from testkit.simulator.world import Simulator

__all__ = ["Simulator"]
