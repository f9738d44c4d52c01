"""Copies the log of a stopped embedded engine to a cluster, where every session then goes on.

In: `adapters.logs.sqlite_export`; out: the rows of `streams.cluster.promoted_rows`. Events go to
the log of record by a plain producer, because that log holds no transactions: each must come to
stand at its own offset, or the copy ends. All else, with how far the copy is, is written in
transactions, and the last one says that it is finished. So a copy that dies goes on where it was,
nothing is there twice, and nobody works on half of it.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from msgspec.structs import replace

from adapters.kafka.clients import KafkaSettings
from adapters.kafka.copying import Copier, commit_offsets
from adapters.kafka.partitions import partition_of
from adapters.kafka.reading import Looker
from adapters.kafka.records import Fetched, Row
from adapters.kafka.transactions import Transactions
from adapters.logs.sqlite_export import Exported, SqliteExport
from engine import codec
from engine.effects import RunnerRequest
from engine.errors import EngineError, Refused
from engine.events import FlowActivated
from engine.flow import Flow
from engine.ports import Delivery, LogRecord
from engine.session import Session
from streams import wire
from streams.cluster import promoted_rows
from streams.cluster.bites import USUAL, Item, Pages, bites, event_bytes, item_bytes
from streams.cluster.found import KEPT_MS
from streams.cluster.promoted_before import ANOTHER, Before, there
from streams.cluster.promotion import audit_row, last_promotion, reached
from streams.embedded.looking_back import handed_over_ms, pending_requests
from streams.embedded.store import last_at_ms
from streams.handed_over import in_a_persons_hands
from streams.outbox import OUTBOX_CHANNELS
from streams.partition_worker import GROUP
from streams.parts import flow_of
from streams.topics import BY_NAME, T
from streams.wire import REQUEST_TOPICS, Promotion

log = logging.getLogger(__name__)

CONTROLS_MAX = 1_000
"""Control records that may stand in a partition before the copy: `topics create` writes one."""
EMPTY = (T.SESSIONS, T.STEPS, T.MODEL, T.SKILL, T.INTENT, T.EGRESS, T.OUTBOX, T.DELIVERIES, T.DEAD)
"""What an installation of which nobody has worked has no record in."""
PHASES = ("events", "sessions", "deliveries", "letters")


class Progress(NamedTuple):
    """How far the copy is in one of its phases."""

    phase: str
    done: int
    total: int


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be copied where. `actor`: who does it. `said`: told after each page."""

    kafka: KafkaSettings
    partitions: int
    source: SqliteExport
    actor: str
    said: Callable[[Progress], None] = lambda progress: None
    pages: Pages = USUAL


class Promoted(NamedTuple):
    """What was done. `resumed`: an earlier run had begun it. `requests`: asked again."""

    resumed: bool
    requests: int


async def survey(job: Job) -> bool:
    """All that `promote` looks at before it writes; whether it would go on with what was begun.

    Raises as `promote`.
    """
    applied(job.source)
    begun = await _begun(job)
    if begun is None:
        await _bases(job)
    return begun is not None


async def promote(job: Job) -> Promoted:
    """Copy it, or go on with it.

    Raises: Refused (with what is wrong and what to do), Unavailable, Conflict where another one
    copies to the same place.
    """
    control, flow = applied(job.source)
    transactions = Transactions(job.kafka, "promotion")
    try:
        # The transaction that an earlier run left open ends here, before anything is looked at.
        await transactions.begin()
        begun = await _begun(job)
        if begun is None:
            mark = await _begin(job, transactions)
        else:
            mark = await reached(job.kafka, begun)
        await _fence(job)
        copy = _Copy(job, transactions, mark=mark)
        await copy.events()
        await copy.sessions(flow)
        await copy.deliveries()
        await copy.letters()
        await copy.finish(control)
        return Promoted(begun is not None, copy.requests)
    finally:
        await transactions.stop()


def applied(source: SqliteExport) -> tuple[LogRecord, Flow]:
    """The last control record and its flow. Raises Refused where something is left to be done."""
    store = source.log
    waiting = store.head(0) - store.watermark(0)
    if waiting:
        raise Refused(
            f"{waiting} events of {source.path} are not applied yet: start `ai-assistant run` "
            "once, and stop it"
        )
    control = store.last_control(up_to=store.head(0))
    if control is None:
        raise Refused(f"{source.path} is empty: there is nothing to copy")
    body = codec.decode_event(control.value).body
    assert isinstance(body, FlowActivated)
    return control, flow_of(body)


# ---- the target ----------------------------------------------------------------------------------


async def _begun(job: Job) -> Promotion | None:
    """What an earlier run of the same copy wrote. Raises Refused where it was another copy."""
    last = await last_promotion(job.kafka)
    if last is None:
        return None
    if last.source != job.source.identity():
        raise Refused(
            "another log was copied here, or this one before an engine ran on it again: " + ANOTHER
        )
    if last.state == "finished":
        raise Refused("this log was copied here already, and all of it: start the workers")
    return last


async def _bases(job: Job) -> tuple[int, ...]:
    """Where the copy begins in each partition of the log. Raises Refused where it is not empty."""
    bases = []
    async with Looker(job.kafka) as looker:
        for topic in EMPTY:
            for partition in range(1 if BY_NAME[topic].width == "one" else job.partitions):
                if not await looker.is_empty(topic, partition):
                    raise Refused(f"{topic}:{partition} holds records already: {ANOTHER}")
        for partition in range(job.partitions):
            begin, end = await looker.bounds(T.EVENTS, partition)
            found: list[Fetched] = []
            if end - begin <= CONTROLS_MAX:
                found = await looker.between(
                    T.EVENTS, partition, start=begin, end=end, keep=lambda record: not record.key
                )
            if len(found) < end:
                raise Refused(f"{T.EVENTS}:{partition} holds conversations already: {ANOTHER}")
            bases.append(end)
    return tuple(bases)


async def _begin(job: Job, transactions: Transactions) -> Promotion:
    """Say in every partition that a copy has begun. Raises as `_bases`."""
    mark = Promotion(
        source=job.source.identity(), state="begun", bases=await _bases(job), phase=PHASES[0]
    )
    rows = [wire.promotion_row(mark, partition=p) for p in range(job.partitions)]
    await transactions.write([*rows, audit_row(mark, actor=job.actor)])
    return mark


async def _fence(job: Job) -> None:
    """Whoever owned a partition before it said that a copy has begun can write nothing there."""
    for partition in range(job.partitions):
        owner = Transactions(job.kafka, f"{GROUP}-{partition}")
        try:
            await owner.begin()
        finally:
            await owner.stop()


# ---- the copy ------------------------------------------------------------------------------------


class _Copy:
    """One run. `mark`: how far the runs before it came."""

    def __init__(self, job: Job, transactions: Transactions, *, mark: Promotion) -> None:
        self._job = job
        self._source = job.source
        self._transactions = transactions
        self._mark = mark
        self._counts = job.source.counts()
        self._letters = {letter.offset: letter for letter in job.source.log.dead_letters()}
        self._places: dict[int, tuple[int, int]] = {}  # of the letters' events
        self._partitions: dict[int, int] = {}  # by a session's number
        self._next = dict(enumerate(mark.bases))
        self._before: dict[int, Before] = {}
        self._stepped = mark.after if mark.phase == "events" else 0
        self.requests = 0

    async def events(self) -> None:
        """The log of record, and the steps beside it."""
        copier = Copier(self._job.kafka, T.EVENTS)
        is_mine = self._phase_after("events") is not None
        if is_mine:
            self._before = {
                p: await there(self._job.kafka, p, base=base) for p, base in self._next.items()
            }
        ends = {p: before.end for p, before in self._before.items()}
        after = 0
        try:
            await copier.start()
            while page := self._source.events(after=after, limit=self._job.pages.events):
                for bite in bites(page, most=self._job.pages.bytes, size=event_bytes):
                    events: list[Row] = []
                    steps: list[Row] = []
                    for one in bite:
                        self._place(one, events, steps)
                    after = bite[-1].record.offset
                    if is_mine:
                        await copier.copy(events, at=ends)
                        if after > self._stepped:
                            await self._write(steps, phase="events", after=after)
                    self._said("events", after, self._counts.events)
        finally:
            await copier.stop()
        for partition, end in ends.items():
            if end > self._next[partition]:
                raise Refused(f"{T.EVENTS}:{partition} holds more than this log: {ANOTHER}")

    def _place(self, one: Exported, events: list[Row], steps: list[Row]) -> None:
        """Give an event its places, in one partition or, a control record, in each of them."""
        record = one.record
        partitions = tuple(self._next) if record.session_id == "" else (self._partition(one),)
        if record.offset in self._letters:
            self._places[record.offset] = partitions[0], self._next[partitions[0]]
        for partition in partitions:
            offset = self._next[partition]
            self._next[partition] += 1
            before = self._before.get(partition)
            if before is not None and offset < before.end:
                before.compare(record, offset, partition=partition)
            else:
                events += promoted_rows.copied(one, partitions=(partition,))
            if record.offset > self._stepped:
                steps += promoted_rows.steps(one, partition=partition, offset=offset)

    def _partition(self, one: Exported) -> int:
        found = self._partitions.get(one.session)
        if found is None:
            found = partition_of(one.record.session_id.encode(), self._job.partitions)
            self._partitions[one.session] = found
        return found

    async def sessions(self, flow: Flow) -> None:
        """Each session: its lines, a view, its bytes, and what it still asks for."""
        store, job = self._source.log, self._job

        def requests(session: Session) -> list[RunnerRequest]:
            awaits = any(pending.kind != "timer" for pending in session.pending)
            return pending_requests(store, session) if awaits else []

        def since_ms(session: Session) -> int | None:
            person = in_a_persons_hands(flow, session.state)
            return handed_over_ms(store, session, flow=flow) if person else None

        made = promoted_rows.SessionRows(
            outbox=OUTBOX_CHANNELS,
            partitions=job.partitions,
            letters=self._letters.values(),
            undelivered=store.undelivered(),
            requests=requests,
            since_ms=since_ms,
        )

        def page(after: int) -> list[Item]:
            found = self._source.sessions(after=after, limit=job.pages.sessions)
            return [Item(one.number, made.of(one)) for one in found]

        await self._pages("sessions", page, total=self._counts.sessions)

    async def deliveries(self) -> None:
        """What is on its way to platforms, and late receipts."""
        since_ms = last_at_ms(self._source.log) - KEPT_MS

        def rows(place: int, delivery: Delivery) -> list[Row]:
            return promoted_rows.delivery_rows(
                [(place, delivery)],
                outbox=OUTBOX_CHANNELS,
                partitions=self._job.partitions,
                last=self._counts.deliveries,
                since_ms=since_ms,
            )

        def page(after: int) -> list[Item]:
            found = self._source.deliveries(after=after, limit=self._job.pages.deliveries)
            return [Item(place, rows(place, delivery)) for place, delivery in found]

        await self._pages("deliveries", page, total=self._counts.deliveries)

    async def letters(self) -> None:
        """What was set aside."""
        letters = sorted(self._letters.values(), key=lambda letter: letter.offset)

        def page(after: int) -> list[Item]:
            found = letters[after : after + self._job.pages.letters]
            rows = promoted_rows.letter_rows(found, places=self._places)
            return [Item(n, [row]) for n, row in enumerate(rows, after + 1)]

        await self._pages("letters", page, total=len(letters))

    async def finish(self, control: LogRecord) -> None:
        """Everything is there: from this transaction on the partitions may be worked on."""
        rows: list[Row] = []
        mark = replace(self._mark, state="finished")
        for partition, end in self._next.items():
            rows.append(wire.flow_row(control.value, partition=partition))
            rows.append(wire.watermark_row(end - 1, partition=partition))
            rows.append(wire.promotion_row(mark, partition=partition))
        await self._let_workers_begin_behind()
        await self._transactions.write([*rows, audit_row(mark, actor=self._job.actor)])

    async def _let_workers_begin_behind(self) -> None:
        """Or the first ones would read all of the log, and pass over it: that is all that is lost
        where it fails, as it does while members that died lately are expected back."""
        try:
            await commit_offsets(self._job.kafka, T.EVENTS, group=GROUP, offsets=self._next)
        except EngineError as error:
            log.warning("the first workers read the whole log once: %s", error)

    # ---- pages -------------------------------------------------------------------------------

    async def _pages(self, phase: str, page: Callable[[int], list[Item]], *, total: int) -> None:
        after = self._phase_after(phase)
        while after is not None and (items := page(after)):
            for bite in bites(items, most=self._job.pages.bytes, size=item_bytes):
                rows = [row for item in bite for row in item.rows]
                after = bite[-1].place
                await self._write(rows, phase=phase, after=after)
                self.requests += sum(row.topic in REQUEST_TOPICS.values() for row in rows)
                self._said(phase, after, total)

    def _phase_after(self, phase: str) -> int | None:
        """What of a phase is copied already; None: all of it."""
        reached, this = PHASES.index(self._mark.phase), PHASES.index(phase)
        if reached > this:
            return None
        return self._mark.after if reached == this else 0

    async def _write(self, rows: list[Row], *, phase: str, after: int) -> None:
        self._mark = replace(self._mark, phase=phase, after=after)
        await self._transactions.write([*rows, wire.promotion_row(self._mark, partition=0)])

    def _said(self, phase: str, done: int, total: int) -> None:
        self._job.said(Progress(phase, done, total))
