"""What the roles of one process count, for Prometheus.

Label values are few and fixed: never a session, never a text.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge

from adapters.kafka.transactions import Open


def open_transactions(registry: CollectorRegistry) -> Open:
    """Those of the process, told whenever somebody asks."""
    found = Open()
    count = Gauge("assistant_transactions_open", "Transactions open now", registry=registry)
    count.set_function(lambda: len(found))
    oldest = Gauge(
        "assistant_transaction_oldest_seconds",
        "For how long the oldest of them has been open: all readers of its partitions wait for it",
        registry=registry,
    )
    oldest.set_function(found.oldest_s)
    return found


class Metrics:
    """The numbers of all roles of one process, in its registry. `open_now`: its transactions."""

    def __init__(self, registry: CollectorRegistry, *, open_now: Open | None = None) -> None:
        self.open_now = Open() if open_now is None else open_now
        self.registry = registry
        self.in_hand = Gauge(
            "assistant_in_hand", "Records read and not done", ["role"], registry=registry
        )
        self.lag = Gauge(
            "assistant_lag", "Committed records that are not read yet", ["role"], registry=registry
        )
        self.outcomes = Counter(
            "assistant_outcomes", "Outcomes appended", ["role"], registry=registry
        )
        self.cancelled = Counter(
            "assistant_cancelled",
            "Requests that nobody awaited any more",
            ["role"],
            registry=registry,
        )
        self.unreadable = Counter(
            "assistant_unreadable", "Records that were passed over", ["role"], registry=registry
        )
        self.woken = Counter("assistant_woken", "Sessions woken by the clock", registry=registry)
        self.deliveries = Counter(
            "assistant_deliveries",
            "Deliveries by the state they reached",
            ["state"],
            registry=registry,
        )
        self.recovery_s = Gauge(
            "assistant_recovery_seconds",
            "What the last recovery of a partition took",
            ["role"],
            registry=registry,
        )
