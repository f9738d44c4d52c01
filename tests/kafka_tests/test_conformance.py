"""What the adapters of a cluster promise of the log's ports, by the suites that fit them.

`OwnersLog` is no more than a face in step with the test: it claims by the real `Ledger`, commits
the rows that a partition's owner writes, in one transaction, and reads the topics as any reader of
them does. Events do not go through it: nobody appends in a transaction here (docs/adapters.md).
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from adapters.kafka.clients import KafkaSettings
from adapters.kafka.ledger import Ledger
from adapters.kafka.records import Row
from deploy.kafka.cluster import Cluster
from engine.ports import Append, DeadLetter, Owner, SessionRow, StepRow
from streams import wire
from streams.topics import T
from streams.wire import Kept
from testkit.conformance import OwnedLogSuite, SessionStoreSuite
from testkit.conformance.storage import A, B, an_event, decide
from testkit.kafka_log import KafkaLog, Tape
from tests.kafka_tests.installation import appending, everything, installed

DUE_MS = 1


class Rows:
    """One transaction to be: the host folds first, and opens it with all its rows."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def put_sessions(self, sessions: Sequence[SessionRow]) -> None:
        for session_id, value, waits in sessions:
            kept = Kept(value, due_ms=DUE_MS if waits else None)
            self.rows.append(wire.session_row(session_id, kept, partition=0))

    def put_steps(self, steps: Sequence[StepRow], *, at_ms: int) -> None:
        self.rows += [wire.step_row(step, stepped_ms=at_ms, partition=0) for step in steps]

    def put_dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        self.rows += [wire.letter_row(letter) for letter in letters]

    def put_watermark(self, offset: int) -> None:
        self.rows.append(wire.watermark_row(offset, partition=0))


class OwnersLog(KafkaLog):
    """The port as far as a partition's owner has it, over a broker."""

    def __init__(self, settings: KafkaSettings, tape: Tape, loop: asyncio.AbstractEventLoop):
        super().__init__()
        self._settings = settings
        self._tape = tape
        self._loop = loop
        self._ledgers: list[Ledger] = []

    def claim(self, partition: int) -> Owner:
        ledger = Ledger(
            self._settings, role="sessions", partition=partition, log=T.EVENTS, state=T.SESSIONS
        )
        self._loop.run_until_complete(ledger.claim())
        self._ledgers.append(ledger)
        return Owner(partition, len(self._ledgers))

    @contextmanager
    def transaction(self, owner: Owner) -> Iterator[Rows]:
        batch = Rows()
        yield batch
        self._loop.run_until_complete(self._ledgers[owner.token - 1].commit(batch.rows))

    def append(self, events: Sequence[Append]) -> list[int]:
        """By another process."""

        async def append() -> list[int]:
            async with appending(self._settings) as appender:
                return [place.offset for place in await appender.append_many(events)]

        return self._loop.run_until_complete(append())

    def let_go(self) -> None:
        for ledger in self._ledgers:
            self._loop.run_until_complete(ledger.close())

    # ---- reads: of what is committed when they are asked ---------------------------------------

    def _look(self) -> None:
        for record in self._loop.run_until_complete(self._tape.catch_up()):
            self.take(record)

    def watermark(self, partition: int) -> int:
        self._look()
        return super().watermark(partition)

    def get(self, session_id: str) -> bytes | None:
        self._look()
        return super().get(session_id)

    def waiting(self) -> Iterator[SessionRow]:
        self._look()
        for session_id, kept in self.kept.items():
            if kept.due_ms is not None:
                yield SessionRow(session_id, kept.value, True)

    def sessions(self, *, limit: int, after: str = "") -> Sequence[tuple[str, bytes]]:
        self._look()
        return super().sessions(limit=limit, after=after)

    def steps(self, session_id: str, *, after_seq: int, limit: int) -> Sequence[StepRow]:
        self._look()
        return super().steps(session_id, after_seq=after_seq, limit=limit)

    def step_times(
        self, session_id: str, *, after_seq: int, limit: int
    ) -> Sequence[tuple[int, int]]:
        self._look()
        return super().step_times(session_id, after_seq=after_seq, limit=limit)

    def dead_letters(self) -> Sequence[DeadLetter]:
        self._look()
        return super().dead_letters()


@pytest.fixture
def log(broker: Cluster, prefix: str) -> Iterator[OwnersLog]:
    with asyncio.Runner() as runner:
        settings = runner.run(installed(broker.bootstrap, prefix, partitions=1))
        tape = Tape(settings)
        runner.run(tape.start())
        owners = OwnersLog(settings, tape, runner.get_loop())
        owners.append([an_event("", 0)])  # the first record of any partition activates a flow
        try:
            yield owners
        finally:
            owners.let_go()
            runner.run(tape.stop())


class TestOwnedLog(OwnedLogSuite):
    def append(self, log: OwnersLog, events: Sequence[Append]) -> Sequence[int]:
        return log.append(events)


class TestSessionStore(SessionStoreSuite):
    pass


# ---- what is appended, by whomever ---------------------------------------------------------------


async def test_events_stand_in_the_order_of_their_appends_byte_by_byte(
    broker: Cluster, prefix: str
) -> None:
    settings = await installed(broker.bootstrap, prefix, partitions=1)
    events = [an_event((A, B, "")[n % 3], n) for n in range(30)]
    async with appending(settings) as appender:
        places = await appender.append_many(events)
    offsets = [place.offset for place in places]
    assert offsets == sorted(set(offsets))
    found = await everything(settings, T.EVENTS, partitions=1)
    assert [(one.key.decode(), one.value) for one in found] == [
        (event.session_id, event.value) for event in events
    ]
    assert [one.offset for one in found] == offsets


async def test_what_is_appended_is_seen_at_once_whatever_transaction_is_open(
    broker: Cluster, prefix: str
) -> None:
    """Not so on the embedded log, where an event is there together with what came of it."""
    settings = await installed(broker.bootstrap, prefix, partitions=1)
    ledger = Ledger(settings, role="sessions", partition=0, log=T.EVENTS, state=T.SESSIONS)
    batch = Rows()
    decide(batch, 1, offset=0)
    async with appending(settings) as appender:
        try:
            await ledger.claim()
            await ledger.commit(batch.rows)
            for n in range(2):
                await appender.append(an_event(A, 1))
                assert len(await everything(settings, T.EVENTS, partitions=1)) == n + 1
        finally:
            await ledger.close()
