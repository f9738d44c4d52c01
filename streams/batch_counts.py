"""What the sessions hop did, counted for Prometheus: the same names and numbers on every host.

Fed once per durable batch, so that counting costs a turn next to nothing. Label values are few and
fixed: never a session, never a text.
"""

from prometheus_client import CollectorRegistry, Counter, Histogram

from streams.sessions import Batch


class BatchCounts:
    """The counts of one process, in its registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._events = Counter("assistant_events", "Events stepped", registry=registry)
        self._batch = Histogram(
            "assistant_batch_events",
            "Events in one commit",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 1_024),
            registry=registry,
        )
        self._dispositions = Counter(
            "assistant_messages", "Messages by how they ended", ["disposition"], registry=registry
        )
        self._effects = Counter("assistant_effects", "Effects by kind", ["kind"], registry=registry)
        self._dead = Counter("assistant_dead_letters", "Records set aside", registry=registry)
        self._errors = Counter("assistant_step_errors", "Steps that failed", registry=registry)

    def committed(self, batch: Batch, *, events: int) -> None:
        """A batch of so many events is durable."""
        self._events.inc(events)
        self._batch.observe(events)
        if batch.dead:
            self._dead.inc(len(batch.dead))
        if batch.errors:
            self._errors.inc(batch.errors)
        for how, count in batch.dispositions.items():
            self._dispositions.labels(how).inc(count)
        for kind, count in batch.effects.items():
            self._effects.labels(kind).inc(count)
