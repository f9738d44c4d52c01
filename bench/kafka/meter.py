"""CPU and memory of named groups of processes, between two calls. Linux only: it reads /proc."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.load import cpu_clock_s, machine_busy_s, pss_bytes


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What the groups took. `foreign_cores`: kept busy by whoever is neither of them nor us."""

    wall_s: float
    cpu_s: Mapping[str, float]
    memory_mb: Mapping[str, float]
    driver_cores: float
    foreign_cores: float

    @property
    def total_cpu_s(self) -> float:
        """Of all groups."""
        return sum(self.cpu_s.values())


class GroupMeter:
    """Watches these processes. None of them may have children that work."""

    def __init__(self, groups: Mapping[str, Sequence[int]]) -> None:
        self._groups = groups

    def start(self) -> None:
        """Begin: what was used before does not count."""
        self._begun_s = time.perf_counter()
        self._before, self._busy_s = self._cpu(), machine_busy_s()
        self._own_s = cpu_clock_s(os.getpid())

    def stop(self) -> Spent:
        """End."""
        wall_s = time.perf_counter() - self._begun_s
        after = self._cpu()
        cpu_s = {name: after[name] - self._before[name] for name in after}
        own_s = cpu_clock_s(os.getpid()) - self._own_s
        foreign_s = machine_busy_s() - self._busy_s - own_s - sum(cpu_s.values())
        return Spent(
            wall_s=wall_s,
            cpu_s=cpu_s,
            memory_mb={
                name: round(sum(map(pss_bytes, pids)) / 1e6, 1)
                for name, pids in self._groups.items()
            },
            driver_cores=round(own_s / wall_s, 2),
            foreign_cores=round(max(0.0, foreign_s / wall_s), 2),
        )

    def _cpu(self) -> dict[str, float]:
        return {name: sum(map(cpu_clock_s, pids)) for name, pids in self._groups.items()}
