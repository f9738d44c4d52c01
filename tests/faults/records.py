"""What stands in the topics, read by consumers of its own that see only what is committed.

For the lab: is everything at rest, and what is to be judged. It belongs to no group, and touches
nothing of the workers.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from adapters.kafka.clients import KafkaSettings, closed, consumer_of, fetched
from adapters.kafka.records import Fetched
from engine import codec
from engine.effects import CloseReply, SendMessage
from engine.events import Address
from engine.ports import Delivery, DeliveryState, Line
from engine.session import Session, StepRecord
from streams import wire
from streams.topics import T
from streams.wire import Said
from tests.crash.judge import Found, Told

READ = (T.EVENTS, T.STEPS, T.SESSIONS, T.OUTBOX, T.DEAD)
WAIT_MS = 200
RUBBISH = (
    b"\xff\xfe no text",
    b"",
    b"[]",
    b'{"v":1}',
    b'{"v":9999,"state":"x"}',
    b"{" * 5_000,
)
"""What `on_records` writes: it is nothing of ours, wherever it stands."""


@dataclass
class Kept:
    """All records of one topic that were read, partition by partition; of a table the newest."""

    consumer: AIOKafkaConsumer
    partitions: list[TopicPartition]
    records: dict[int, list[Fetched]] = field(default_factory=lambda: defaultdict(list))
    newest: dict[tuple[int, bytes], bytes | None] | None = None

    def take(self, records: list[Fetched]) -> None:
        """Records of one partition."""
        if self.newest is None:
            self.records[records[0].partition] += records
        else:
            self.newest.update(((r.partition, r.key), r.value) for r in records)


class Records:
    """The topics of one installation; `read` goes on where it was."""

    def __init__(self, settings: KafkaSettings, *, partitions: int) -> None:
        self._settings = settings
        self._partitions = partitions
        self._topics: dict[T, Kept] = {}

    async def open(self) -> None:
        """Connect."""
        for topic in READ:
            numbers = range(1 if topic is T.DEAD else self._partitions)
            name = self._settings.named(topic)
            at = [TopicPartition(name, number) for number in numbers]
            consumer = consumer_of(self._settings)
            await consumer.start()
            consumer.assign(at)
            self._topics[topic] = Kept(consumer, at, newest={} if topic is T.SESSIONS else None)

    async def close(self) -> None:
        """Let go."""
        for kept in self._topics.values():
            await closed(kept.consumer)

    async def read(self) -> None:
        """Read to what is committed now, everywhere."""
        for kept in self._topics.values():
            ends = await kept.consumer.end_offsets(kept.partitions)
            while any([await kept.consumer.position(at) < ends[at] for at in kept.partitions]):
                found = await kept.consumer.getmany(timeout_ms=WAIT_MS)
                for records in filter(None, found.values()):
                    kept.take(fetched(self._settings, records))

    async def open_transactions(self) -> int:
        """In how many partitions of conversation.sessions a transaction is open just now."""
        kept = self._topics[T.SESSIONS]
        committed = await kept.consumer.end_offsets(kept.partitions)
        everything = consumer_of(self._settings, committed=False)
        await everything.start()
        try:
            ends = await everything.end_offsets(kept.partitions)
        finally:
            await everything.stop()
        return sum(committed[at] < ends[at] for at in kept.partitions)

    def all(self, topic: T) -> dict[int, list[Fetched]]:
        """What was read of a topic, by partition."""
        return self._topics[topic].records

    # ---- at rest ---------------------------------------------------------------------------------

    def unrest(self) -> str:
        """What is not done yet; empty where everything is."""
        for number, records in self.all(T.EVENTS).items():
            watermark = self._watermark(number)
            if records and watermark < records[-1].offset:
                behind = records[-1].offset - watermark
                return f"{behind} events of partition {number} are not applied"
        for session, _ in self.sessions().values():
            if session.unanswered:
                return f"{session.id} has messages without an answer"
            if any(pending.kind != "timer" for pending in session.pending):
                return f"{session.id} awaits an outcome"
        return ""

    def _watermark(self, partition: int) -> int:
        value = self._rows.get((partition, wire.WATERMARK))
        return -1 if value is None else wire.watermark_of(value).offset

    @property
    def _rows(self) -> dict[tuple[int, bytes], bytes | None]:
        rows = self._topics[T.SESSIONS].newest
        assert rows is not None
        return rows

    # ---- what is there ---------------------------------------------------------------------------

    def sessions(self) -> dict[str, tuple[Session, bytes]]:
        """Each session with the newest bytes that are stored of it."""
        return {
            key.decode(): (codec.decode_session(value), value)
            for (_, key), value in self._rows.items()
            if value and not key.startswith(b"#") and value not in RUBBISH
        }

    def heads(self) -> dict[str, int]:
        """How many lines each conversation has."""
        lines = self._lines()
        return {
            session.address.conversation: len(lines[session.id])
            for session, _ in self.sessions().values()
            if session.address is not None
        }

    def found(self) -> Found:
        """All of it, session by session, for the judge."""
        letters = [one for one in wire.letters_of(self.all(T.DEAD)[0]) if not one.topic]
        aside = {(letter.partition, letter.offset) for letter in letters}
        activated: bytes | None = None
        events: dict[bytes, list[bytes]] = defaultdict(list)
        for record in (r for records in self.all(T.EVENTS).values() for r in records):
            if (record.partition, record.offset) in aside:
                continue
            if record.key:
                events[record.key].append(record.value or b"")
            else:
                activated = activated or record.value
        assert activated is not None, "no flow was ever activated"
        return Found(codec.decode_event(activated), self._told(events), letters)

    def _told(self, events: dict[bytes, list[bytes]]) -> Iterator[Told]:
        """Decoded one session after the other: all at once would not fit a long run."""
        steps: dict[bytes, list[bytes]] = defaultdict(list)
        for record in (r for records in self.all(T.STEPS).values() for r in records):
            steps[record.key].append(record.value or b"")
        lines = self._lines()
        for session_id, (session, value) in self.sessions().items():
            key = session_id.encode()
            its_steps = [codec.decode_step(step) for step in steps[key]]
            its_lines = lines[session_id]
            yield Told(
                session,
                value,
                [codec.decode_event(event) for event in events[key]],
                its_steps,
                its_lines,
                _deliveries(session, its_steps, its_lines),
            )

    def _lines(self) -> dict[str, list[Line]]:
        found: dict[str, list[Line]] = defaultdict(list)
        for record in (r for records in self.all(T.OUTBOX).values() for r in records):
            if record.value in RUBBISH:
                continue
            shown = wire.shown_of(record.value)
            if isinstance(shown, Said):
                found[shown.line.session_id].append(shown.line)
        return found


def _deliveries(session: Session, steps: list[StepRecord], lines: list[Line]) -> list[Delivery]:
    """Orders of a channel that keeps its lines here: sent means that the line is there.

    A reply may close without a text of its own, and without a line where nothing was ever shown.
    """
    if session.address is None:
        return []
    there = {line.id for line in lines}
    found = []
    for effect in (effect for step in steps for effect in step.effects):
        body = effect.body
        if not isinstance(body, SendMessage | CloseReply):
            continue
        state: DeliveryState = "sent" if body.reply_id in there else "failed"
        if state == "failed" and isinstance(body, CloseReply) and body.text is None:
            state = "closed"
        found.append(_delivery(body, effect.cause, session.address, state=state))
    return found


def _delivery(
    body: SendMessage | CloseReply, cause: str, address: Address, *, state: DeliveryState
) -> Delivery:
    return Delivery(
        reply_id=body.reply_id,
        session_id="",
        cause=cause,
        kind="message" if isinstance(body, SendMessage) else "reply",
        address=address,
        state=state,
        text=body.text,
    )
