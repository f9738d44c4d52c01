"""What a gateway counts, for Prometheus. Label values are few and fixed: no session, no text."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from streams.cluster.read_model import News


class GatewayMetrics:
    """The numbers of one gateway, in the registry it was given."""

    def __init__(self, registry: CollectorRegistry, *, version: str) -> None:
        self.registry = registry
        self.version = version
        self._records = Counter(
            "assistant_gateway_records",
            "Records of im.outbox taken in",
            ["kind"],
            registry=registry,
        )
        self._sessions = Gauge(
            "assistant_gateway_sessions", "Sessions in the read model", registry=registry
        )
        self._lag = Gauge(
            "assistant_gateway_lag_records",
            "Records of im.outbox that are not in the read model yet",
            registry=registry,
        )
        self._unread = Gauge(
            "assistant_gateway_unread_records", "Records that were left out", registry=registry
        )
        self._frames = Gauge(
            "assistant_gateway_frames", "Frames since the start", ["how"], registry=registry
        )

    def heard(self, news: News) -> None:
        """A batch is in the read model."""
        if news.lines:
            self._records.labels("line").inc(len(news.lines))
        if news.views:
            self._records.labels("view").inc(len(news.views))

    def tell(self, *, sessions: int, lag: int, unread: int, shown: int, dropped: int) -> None:
        """What is looked at now and then."""
        self._sessions.set(sessions)
        self._lag.set(lag)
        self._unread.set(unread)
        self._frames.labels("shown").set(shown)
        self._frames.labels("dropped").set(dropped)
