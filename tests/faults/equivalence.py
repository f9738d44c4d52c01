"""The same events on the embedded host: its log in SQLite, its pipeline, its bytes.

For the lab, after a run: whatever happened on the cluster, its log means the same sessions to both
hosts, byte for byte. The engine alone, event by event, is `tests.crash.judge`.
"""

import time
from collections.abc import Mapping
from pathlib import Path

from adapters.kafka.records import Fetched
from adapters.logs.sqlite import SqliteLog
from engine import codec
from engine.events import FlowActivated
from engine.ports import Append
from streams.egress import Account, Egress
from streams.embedded.pipeline import PARTITION, Pipeline
from streams.outbox import OUTBOX_CHANNELS
from streams.parts import flow_of

TOGETHER = 512


def other_sessions(
    events: Mapping[int, list[Fetched]], stored: Mapping[str, bytes], *, folder: Path
) -> list[str]:
    """Ids of the sessions that the embedded host folds to other bytes than these, or not at all.

    `events`: conversation.events, by partition, without those that were set aside.
    """
    log = SqliteLog(folder / "equivalence.db")
    try:
        flow = _fill(log, events)
        pipeline = Pipeline(
            log,
            egress=Egress(
                {("webchat", "web"): Account(idempotent=True)},
                delivery=log.delivery,
                jitter=lambda: 0.5,
            ),
            build=flow_of,
            outbox=OUTBOX_CHANNELS,
            stepping=lambda event_id: None,
        )
        now_ms = time.time_ns() // 1_000_000
        pipeline.recover(flow_of(flow), bytes(flow.config), now_ms=now_ms)
        there = {key: log.get(key) for key in stored}
        extra = log.session_count() - len(stored)
        others = [key for key, value in stored.items() if there[key] != value]
        return others + [f"{extra} sessions that are not on the cluster"] * (extra > 0)
    finally:
        log.close()


def _fill(log: SqliteLog, events: Mapping[int, list[Fetched]]) -> FlowActivated:
    """Append all of them, partition after partition; the flow of the first control record."""
    owner = log.claim(PARTITION)
    first: FlowActivated | None = None
    records = [record for number in sorted(events) for record in events[number]]
    for start in range(0, len(records), TOGETHER):
        some, appends = records[start : start + TOGETHER], []
        for record in some:
            event = codec.decode_event(record.value or b"")
            appends.append(Append(event.session_id, event.id, record.value or b""))
            if first is None and isinstance(event.body, FlowActivated):
                first = event.body
        with log.transaction(owner) as tx:
            tx.append(appends, at_ms=some[-1].timestamp_ms)
    assert first is not None, "no flow was ever activated"
    return first
