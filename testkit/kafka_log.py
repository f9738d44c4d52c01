"""What a cluster's topics say, for `testkit.kafka_world`: read back from the real broker.

`Tape` is a consumer of its own that sees what is committed and nothing else; `KafkaLog` gives it
the shape of `testkit.worlds.Logged`, by the wire's own words. It takes part in nothing: what judges
see is what any reader of the topics would.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from adapters.kafka.clients import KafkaSettings, begun, consumer_of, fetched, told
from adapters.kafka.records import Fetched, Headers
from engine import codec
from engine.errors import InvalidRecord
from engine.ports import DeadLetter, Delivery, Line, LogRecord, StepRow
from streams import wire
from streams.topics import T
from streams.wire import Attempt, Kept

FETCH_MS = 200
SHOWN_WITHIN_S = 30.0
NOT_READ = frozenset({T.AUDIT, T.WORKERS})
"""Nothing of a dialog stands there."""
READ = tuple(topic for topic in T if topic not in NOT_READ)
UNDELIVERED = ("queued", "sending")


class Tape:
    """All committed records of the world's topics, each topic in its order."""

    def __init__(self, settings: KafkaSettings) -> None:
        self.records: dict[str, list[Fetched]] = {topic: [] for topic in READ}
        self._settings = settings
        self._consumer: Any = None
        self._asks: Any = None

    async def start(self) -> None:
        """Connect; the topics are there."""
        # A broker answers a connection in order: who asked there where a topic ends would wait for
        # the next record.
        self._consumer = consumer_of(self._settings)
        self._asks = consumer_of(self._settings, committed=False)
        self._consumer.subscribe([self._settings.named(topic) for topic in READ])
        for one in (self._consumer, self._asks):
            await begun(one, self._settings, what="read a world's topics")

    async def stop(self) -> None:
        """Let go."""
        for one in (self._consumer, self._asks):
            if one is not None:
                await one.stop()

    async def catch_up(self) -> list[Fetched]:
        """What was committed since the last time, up to now.

        A transaction is durable a moment before its partitions show it, so all that was written by
        now is waited for: until it is shown, or was never to be. Raises AssertionError where
        somebody left one open whom nobody has followed.
        """
        found: list[Fetched] = []
        until_s = time.monotonic() + SHOWN_WITHIN_S
        with told("read a world's topics"):
            ends = await self._asks.end_offsets(list(self._consumer.assignment()))
            while not await self._has_reached(ends):
                for some in (await self._consumer.getmany(timeout_ms=FETCH_MS)).values():
                    found += fetched(self._settings, some)
                assert time.monotonic() < until_s, "a transaction was left open"
        for record in found:
            self.records[record.topic].append(record)
        return found

    async def _has_reached(self, ends: dict[Any, int]) -> bool:
        # The position goes past what is no record, such as the ends of transactions.
        for at, end in ends.items():
            if await self._consumer.position(at) < end:
                return False
        return True


class KafkaLog:
    """One partition of the topics, as `Logged` reads it. `take` adds what was read.

    Offsets are Kafka's: the first record, at 0, is the activation, and no session's event is.
    """

    def __init__(self) -> None:
        self.kept: dict[str, Kept] = {}
        self._records: list[LogRecord] = []
        self._steps: dict[str, list[tuple[StepRow, int]]] = {}
        self._deliveries: dict[str, Delivery] = {}
        self._letters: dict[int, DeadLetter] = {}
        self._watermark = 0
        self._attempt = Attempt(offset=0, last=0, begun=0)
        self._asked: dict[str, int] = {}  # the place of each request among all

    def take(self, record: Fetched) -> None:
        """One record of any topic."""
        key, value = record.key, record.value or b""
        match record.topic:
            case T.EVENTS:
                session_id, at_ms = key.decode(), record.timestamp_ms
                self._records.append(LogRecord(record.offset, session_id, value, at_ms))
            case T.SESSIONS:
                self._take_row(key, value, record.headers)
            case T.STEPS:
                self._take_step(key.decode(), value, dict(record.headers))
            case T.DELIVERIES if key == wire.WATERMARK:
                pass
            case T.DELIVERIES if record.value is None:
                self._deliveries.pop(key.decode(), None)
            case T.DELIVERIES:
                self._deliveries[key.decode()] = wire.delivery_of(value)
            case T.DEAD:
                (letter,) = wire.letters_of([record])
                self._letters[letter.offset] = letter
            case _:
                pass

    def _take_row(self, key: bytes, value: bytes, headers: Headers) -> None:
        if key == wire.WATERMARK:
            self._watermark = wire.watermark_of(value).offset
        elif key == wire.ATTEMPT:
            self._attempt = wire.attempt_of(value)
        elif not key.startswith(b"#"):
            self.kept[key.decode()] = wire.kept_of(value, headers)

    def _take_step(self, session_id: str, value: bytes, headers: dict[str, bytes]) -> None:
        offset = int(headers.get("offset", b"0"))
        row = StepRow(session_id, int(headers["seq"]), headers["event"].decode(), offset, value)
        self._steps.setdefault(session_id, []).append((row, int(headers["stepped"])))
        with suppress(InvalidRecord):  # judges say so
            for effect in codec.decode_step(value).effects:
                self._asked[effect.id] = len(self._asked)

    def asked(self, effect_id: str) -> int:
        """Which request it is, in the order of steps: topics of several kinds have none."""
        return self._asked[effect_id]

    @property
    def standing(self) -> LogRecord | None:
        """The event whose step was begun, durably, alone, and never ended; None where there is
        none: of several at once none is to blame."""
        attempt = self._attempt
        if attempt.last <= self._watermark or attempt.offset != attempt.last:
            return None
        return next(one for one in self._records if one.offset == self._attempt.offset)

    # ---- Logged --------------------------------------------------------------------------------

    def read(self, partition: int, *, after: int, limit: int) -> Sequence[LogRecord]:
        """Records after an offset, in order; after 0 all of them."""
        return [one for one in self._records if one.offset > after or after <= 0][:limit]

    def watermark(self, partition: int) -> int:
        """The last offset applied."""
        return self._watermark

    def head(self, partition: int) -> int:
        """The offset of the last record."""
        return self._records[-1].offset if self._records else 0

    def get(self, session_id: str) -> bytes | None:
        """The last committed bytes, or None."""
        kept = self.kept.get(session_id)
        return kept.value or None if kept is not None else None

    def sessions(self, *, limit: int, after: str = "") -> Sequence[tuple[str, bytes]]:
        """Sessions whose id is greater than `after`, in the order of their ids."""
        ids = sorted(one for one, kept in self.kept.items() if one > after and kept.value)
        return [(one, self.kept[one].value) for one in ids[:limit]]

    def steps(self, session_id: str, *, after_seq: int, limit: int) -> Sequence[StepRow]:
        """The session's step records with seq > after_seq, as they were committed."""
        return [row for row, _ in self._stepped(session_id, after_seq)][:limit]

    def step_times(
        self, session_id: str, *, after_seq: int, limit: int
    ) -> Sequence[tuple[int, int]]:
        """Seq and time (when it was stepped) of what `steps` gives for the same arguments."""
        return [(row.seq, at_ms) for row, at_ms in self._stepped(session_id, after_seq)][:limit]

    def _stepped(self, session_id: str, after_seq: int) -> Iterator[tuple[StepRow, int]]:
        return (one for one in self._steps.get(session_id, ()) if one[0].seq > after_seq)

    def history(self, session_id: str) -> Sequence[LogRecord]:
        """All records of one session, in order; "" gives the control records."""
        return [one for one in self._records if one.session_id == session_id]

    def deliveries_of(self, session_id: str) -> Sequence[Delivery]:
        """All deliveries of a session, in the order in which they were first put."""
        return [one for one in self._deliveries.values() if one.session_id == session_id]

    def delivery(self, reply_id: str) -> Delivery | None:
        """One delivery by its reply."""
        return self._deliveries.get(reply_id)

    def undelivered(self) -> Sequence[Delivery]:
        """All that are queued or sending."""
        return [one for one in self._deliveries.values() if one.state in UNDELIVERED]

    def dead_letters(self) -> Sequence[DeadLetter]:
        """All records set aside, by offset."""
        return [self._letters[offset] for offset in sorted(self._letters)]

    def lines(self, session_id: str, *, after: int, limit: int) -> Sequence[Line]:
        """None: the world's channel is a platform, whose lines are its own."""
        return ()
