"""What is looked up on a cluster is a scan with a bound, and says what it did not look at."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.kafka.clients import KafkaSettings
from adapters.kafka.partitions import partition_of
from adapters.kafka.records import Row
from console import cluster_scan
from console.cluster_records import ClusterRecords
from deploy.kafka.cluster import Cluster
from engine import codec
from engine.ports import Append, DeadLetter, StepRow
from streams.ingress import operator_said
from streams.topics import T
from streams.wire import Kept, account_key, letter_row, session_row, step_row, watermark_row
from tests.kafka_tests.installation import PARTITIONS, appending, installed, written

ANN = "webchat:web:k1:" + "a" * 24
BEN = "webchat:web:k1:" + "b" * 24
N = 30


def account() -> int:
    return partition_of(account_key(ANN), PARTITIONS)


def event(session_id: str, n: int) -> Append:
    taken = operator_said(session_id, f"{n}", operator="o", request_id=f"{n}", now_ms=1_000)
    return taken.append


@pytest.fixture
async def kafka(broker: Cluster, prefix: str, tmp_path: Path) -> KafkaSettings:
    """Ann's events and steps, with many of a neighbour's in the same partition between them."""
    kafka = await installed(broker.bootstrap, prefix)
    partition = partition_of(ANN.encode(), PARTITIONS)
    rows: list[Row] = []
    async with appending(kafka) as appender:
        await appender.append(event("", 0))
        for n in range(1, N + 1):
            appended = event(ANN, n)
            place = await appender.append(appended)
            step = StepRow(ANN, n, appended.event_id, place.offset, b"{}")
            rows.append(step_row(step, stepped_ms=n, partition=partition))
            other = StepRow(BEN, n, "x", 0, b"{}")
            rows.append(step_row(other, stepped_ms=n, partition=partition))
        await appender.append(event(ANN, N + 1))  # not stepped yet
    rows += [
        session_row(ANN, Kept(b"older"), partition=partition),
        session_row(ANN, Kept(b"newest"), partition=partition),
        watermark_row(place.offset, partition=partition),
    ]
    letter = DeadLetter(
        partition=1, offset=9, session_id=BEN, error="e", value=b"?", at_ms=1, redriven_ms=None
    )
    await written(kafka, [*rows, letter_row(letter)])
    return kafka


@pytest.fixture
def records(kafka: KafkaSettings) -> Iterator[ClusterRecords]:
    made = ClusterRecords(kafka, partitions=PARTITIONS)
    yield made
    made.close()


def test_all_of_a_session_is_found(records: ClusterRecords) -> None:
    assert records.get(ANN) == b"newest"
    assert [row.seq for row in records.steps(ANN, after_seq=0, limit=99)] == list(range(1, N + 1))
    assert [row.seq for row in records.steps(ANN, after_seq=28, limit=1)] == [29]
    assert records.step_times(ANN, after_seq=28, limit=9) == [(29, 29), (30, 30)]
    events = [codec.decode_event(record.value) for record in records.history(ANN)]
    assert [one.id for one in events] == [event(ANN, n).event_id for n in range(1, N + 2)]
    found = records.find_event(events[4].id)
    assert found is not None
    assert found.value == codec.encode(events[4])
    step = records.step_of(events[4].id)
    assert step is not None
    assert (step.seq, step.offset) == (5, found.offset)
    assert records.step_of(events[-1].id) is None
    assert records.notes == ()


def test_what_nobody_knows_is_not_found(records: ClusterRecords) -> None:
    assert records.get("a part of an id") is None
    assert records.get(BEN[:-1] + "c") is None
    assert records.find_event("no session") is None
    assert records.history(BEN[:-1] + "c") == []
    assert records.delivery(f"{ANN}/none") is None


def test_sessions_and_letters_are_listed(records: ClusterRecords) -> None:
    assert records.sessions(limit=9) == [(ANN, b"newest")]
    assert records.sessions(limit=9, after=ANN) == []
    assert [one.number for one in records.dead_letters()] == ["1:9"]


async def test_what_cannot_be_read_is_passed_over_and_told(
    kafka: KafkaSettings, records: ClusterRecords
) -> None:
    partition = partition_of(ANN.encode(), PARTITIONS)
    alien = [
        Row(T.DEAD, b"no letter", b"rubbish"),
        Row(T.SESSIONS, b"\xff", b"rubbish", partition=partition),
        Row(T.OUTBOX, ANN.encode(), b"rubbish"),
        Row(T.DELIVERIES, f"{ANN}/reply".encode(), b"rubbish", partition=account()),
    ]
    await written(kafka, alien)

    def look() -> None:
        assert [one.number for one in records.dead_letters()] == ["1:9"]
        assert records.sessions(limit=9) == [(ANN, b"newest")]
        assert records.deliveries_of(ANN) == []

    await asyncio.to_thread(look)
    assert len(records.notes) == len(alien)
    assert all("is passed over" in note for note in records.notes)


def test_a_scan_that_stops_early_finds_the_newest_and_says_so(
    records: ClusterRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_scan, "WINDOW", 10)
    monkeypatch.setattr(cluster_scan.Scan.back, "__kwdefaults__", {"before_ms": None, "most": 20})
    seqs = [row.seq for row in records.steps(ANN, after_seq=0, limit=99)]
    assert seqs == list(range(22, N + 1))  # of 20, one is the transaction's mark, ten are Ben's
    assert any(note.startswith("conversation.steps: 20 records") for note in records.notes)
