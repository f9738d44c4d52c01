"""What the embedded host counts, for Prometheus and for `HostState`.

Fed once per batch, so that counting costs a turn next to nothing. Label values are few and fixed:
never a session, never a text.
"""

from collections import Counter as Tally

from prometheus_client import CollectorRegistry, Counter, Gauge

from streams.batch_counts import BatchCounts
from streams.embedded.pipeline import Decided
from streams.version import own_version


class Metrics:
    """The host's own registry and its numbers."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.version = own_version()
        self.events = 0
        self.sessions = 0
        self.dead_letters = 0
        registry = self.registry
        self._counts = BatchCounts(registry)
        self._deliveries = Counter(
            "assistant_deliveries",
            "Deliveries by the state they reached",
            ["state"],
            registry=registry,
        )
        self._rolled = Counter(
            "assistant_commits_rolled_back", "Commits that failed", registry=registry
        )
        self._sessions = Gauge("assistant_sessions", "Sessions in the log", registry=registry)
        self._skew = Gauge(
            "assistant_clock_skew_seconds",
            "How far the machine's clock is ahead of log time",
            registry=registry,
        )
        Gauge("assistant_info", "Its version", ["version"], registry=registry).labels(
            self.version
        ).set(1)

    def recovered(self, *, events: int, sessions: int, dead_letters: int) -> None:
        """What the log held at the start."""
        self.events, self.sessions, self.dead_letters = events, sessions, dead_letters
        self._sessions.set(sessions)

    def committed(self, decided: Decided) -> None:
        """A batch is durable."""
        batch = decided.batch
        events = len(decided.appends)
        self._counts.committed(batch, events=events)
        self.events += events
        self.dead_letters += len(batch.dead)
        if batch.born:
            self.sessions += batch.born
            self._sessions.set(self.sessions)
        for state, count in Tally(d.state for d in decided.deliveries.values()).items():
            self._deliveries.labels(state).inc(count)

    def skewed(self, skew_ms: int) -> None:
        """How far the machine's clock is ahead of log time."""
        self._skew.set(skew_ms / 1_000)

    def rolled_back(self) -> None:
        """A commit failed."""
        self._rolled.inc()
