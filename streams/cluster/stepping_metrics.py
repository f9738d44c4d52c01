"""What the sessions role counts, for Prometheus and for whoever watches that it lives.

Events are counted, not Faust's batches. Label values are few and fixed: never a session or a text.
"""

import time
from collections.abc import Mapping
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from adapters.kafka.transactions import Open
from streams.batch_counts import BatchCounts
from streams.partition import Decided, Partition


class Stands(NamedTuple):
    """A batch that is being stepped, and for how long."""

    partition: int
    offset: int
    seconds: float


class SteppingMetrics:
    """The numbers of the partition workers of one process. `open_now`: its transactions."""

    def __init__(self, registry: CollectorRegistry, *, open_now: Open | None = None) -> None:
        self.open_now = Open() if open_now is None else open_now
        self._stepping: tuple[int, int, float] | None = None
        self._counts = BatchCounts(registry)
        self._commit = Histogram(
            "assistant_commit_seconds",
            "What a transaction took",
            buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1, 5),
            registry=registry,
        )
        self._sessions = Gauge(
            "assistant_sessions", "Sessions of the partitions here", registry=registry
        )
        self._partitions = Gauge("assistant_partitions", "Partitions here", registry=registry)
        self._recovery = Histogram(
            "assistant_partition_recovery_seconds",
            "From the claim of a partition until it is recovered",
            buckets=(0.1, 0.25, 0.5, 1, 2, 5, 15, 60),
            registry=registry,
        )
        self._rebalances = Histogram(
            "assistant_rebalance_seconds",
            "From the loss of our partitions until the new ones are known",
            buckets=(0.1, 0.5, 1, 2, 5, 15, 60),
            registry=registry,
        )
        self._offsets = Histogram(
            "assistant_offset_commit_seconds",
            "What a commit of offsets took",
            buckets=(0.005, 0.02, 0.1, 0.5, 2, 10),
            registry=registry,
        )
        self._unreadable = Counter(
            "assistant_unreadable_rows",
            "Rows of sessions that a recovery passed over",
            registry=registry,
        )
        self._lag = Gauge("assistant_lag_events", "Events not applied yet", registry=registry)

    def recovered(self, partition: Partition, *, took_s: float) -> None:
        """A partition may be stepped."""
        self._recovery.observe(took_s)
        self._unreadable.inc(partition.unreadable)

    def stepping(self, partition: int, offset: int | None) -> None:
        """A batch is being stepped (`offset`: its first), or has been."""
        self._stepping = None if offset is None else (partition, offset, time.monotonic())

    def stands_since(self) -> Stands | None:
        """The batch that is being stepped; for another thread."""
        now = self._stepping
        return None if now is None else Stands(now[0], now[1], time.monotonic() - now[2])

    def committed(self, decided: Decided, *, took_s: float) -> None:
        """A transaction is durable."""
        self._counts.committed(decided.batch, events=len(decided.batch.steps))
        self._commit.observe(took_s)

    def rebalanced(self, took_s: float) -> None:
        """Partitions were given out anew."""
        self._rebalances.observe(took_s)

    def offsets_committed(self, took_s: float) -> None:
        """Faust has committed what was acknowledged."""
        self._offsets.observe(took_s)

    def looked(self, lag: Mapping[int, int], *, sessions: int) -> None:
        """The partitions that are here, how far behind each is, and what they hold together."""
        self._partitions.set(len(lag))
        self._lag.set(sum(lag.values()))
        self._sessions.set(sessions)
