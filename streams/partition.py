"""One partition of a cluster: the sessions hop, and the rows that one transaction makes durable.

In: records of `conversation.events`, and at the start those of `conversation.sessions`. Out: a
`Decided` batch whose rows `streams.partition_worker` commits whole. Requests go to `effects.*`,
orders to `im.egress`; a channel that keeps its lines here (web chat) gets them in the same
transaction, by `streams.outbox`. It does no I/O and reads no clock: `now_ms` is given.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial

from msgspec import structs

from adapters.kafka.records import Fetched, Row
from engine import codec
from engine.errors import InvalidRecord, Refused
from engine.events import Event, FlowActivated
from engine.flow import Flow
from engine.limits import DEATHS_MAX
from engine.ports import LogRecord
from streams import wire
from streams.outbox import Outbox
from streams.sessions import Batch, Sessions
from streams.wire import Attempt, Kept

log = logging.getLogger(__name__)

BEGIN = -1
"""The watermark of a partition of which nothing is applied: offsets begin with 0."""
NO_ATTEMPT = Attempt(offset=BEGIN, last=BEGIN, begun=0)


class Decided:
    """What a run of records decided: all its rows are one transaction."""

    __slots__ = ("batch", "kept", "rows", "watermark")

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.watermark = batch.watermark
        self.kept: dict[str, Kept] = {}
        self.rows: list[Row] = []


class Partition:
    """What the owner of a partition holds of it.

    `outbox`: the channels whose lines are kept here. `build`: the flow of an activation; raises
    Refused where this version does not have it. `shown`: what was last shown of a reply.
    """

    def __init__(
        self,
        number: int,
        *,
        build: Callable[[FlowActivated], Flow],
        outbox: frozenset[str],
        shown: Callable[[str], str | None] = lambda reply_id: None,
    ) -> None:
        self.number = number
        self._same = partial(Partition, number, build=build, outbox=outbox, shown=shown)
        self._kept: dict[str, Kept] = {}
        self._attempt = NO_ATTEMPT
        self._outlived: set[Attempt] = set()
        self._control: Event | None = None  # durable
        self._is_whole = True
        self._hop = Sessions(number, load=self._load, build=build)
        self._outbox = Outbox(outbox, shown=shown)
        self.watermark = BEGIN
        self.unreadable = 0  # rows that were passed over

    def anew(self) -> "Partition":
        """The same with nothing read yet. What this process attempted it lives to tell."""
        again = self._same()
        again._outlived = self._outlived
        return again

    def __len__(self) -> int:
        """How many sessions it has."""
        return len(self._kept)

    @property
    def flow(self) -> Flow | None:
        """The active flow; None before the first activation."""
        return self._hop.flow

    # ---- recovery ----------------------------------------------------------------------------

    def recover(self, records: Iterable[Fetched]) -> None:
        """Take these rows of `conversation.sessions` in; call it until all are.

        A session's row that cannot be read is as if it had not been written. Raises Refused where
        one of the partition's own cannot be.
        """
        for record in records:
            is_own = record.key.startswith(b"#")
            try:
                self._take_own(record) if is_own else self._take(record)
            except InvalidRecord as error:
                at = f"{record.topic}:{record.partition}:{record.offset}"
                if is_own:  # to guess a watermark or a flow would lose or repeat events
                    raise Refused(f"{at}: {error}; write the row anew, or restore it") from None
                log.error("%s is passed over: %s", at, error)
                self.unreadable += 1

    def _take(self, record: Fetched) -> None:
        session_id, value = wire.session_of_key(record.key), record.value
        if value is None:
            self._kept.pop(session_id, None)
        else:
            self._kept[session_id] = wire.kept_of(value, record.headers)

    def _take_own(self, record: Fetched) -> None:
        key, value = record.key, record.value
        if value is None:
            return
        if key == wire.WATERMARK:
            self.watermark = wire.watermark_of(value).offset
        elif key == wire.ATTEMPT:
            self._attempt = wire.attempt_of(value)
        elif key == wire.FLOW:
            self._control = codec.decode_event(value)
        elif key == wire.PROMOTION:
            self._is_whole = wire.promotion_of(value).state == "finished"

    def recovered(self) -> None:
        """All rows were taken in.

        Raises Refused where the active flow is not in this version, or a promotion is half-done.
        """
        if not self._is_whole:
            raise Refused(wire.HALF_PROMOTED)
        self._forget_outlived()
        if self._control is not None:
            self._hop.activate(self._control)

    # ---- one batch ---------------------------------------------------------------------------

    def fresh(self, records: Iterable[Fetched]) -> list[Fetched]:
        """Those that are not applied yet, each once: after a death or a move, or where the reader
        went back, some come a second time."""
        found, last = [], self.watermark
        for record in records:
            if record.offset > last:
                last = record.offset
                found.append(record)
        return found

    @property
    def doubtful(self) -> int:
        """The last offset of an attempt that was begun and never ended; BEGIN where none stands."""
        return self._attempt.last if self._attempt.last > self.watermark else BEGIN

    def attempt(self, first: Fetched, *, last: int) -> Row | None:
        """The row to commit before the records from `first` to offset `last` are stepped.

        None: this one record was begun alone too often, and is to be set aside unstepped.
        """
        now, was = Attempt(offset=first.offset, last=last, begun=1), self._attempt
        if was.offset == was.last == first.offset == last:
            if was.begun >= DEATHS_MAX:
                return None
            now = Attempt(offset=first.offset, last=last, begun=was.begun + 1)
        self._attempt = now
        self._outlived.add(now)
        return wire.attempt_row(now, partition=self.number)

    def withdrawn(self) -> Row | None:
        """The row that takes this process's attempt back; None where it has none."""
        if self._attempt not in self._outlived:
            return None
        self._forget_outlived()
        return wire.attempt_row(self._attempt, partition=self.number)

    def decide(
        self, records: Sequence[Fetched], *, now_ms: int, deadly: bool = False
    ) -> Decided | None:
        """Step these; None where all of them are applied already. `deadly`: set them aside.

        Raises Refused where a record activates a flow that this version does not have, or no flow
        was ever activated.
        """
        fresh = self.fresh(records)
        if not fresh:
            return None
        self._require_flow(fresh[0])
        events = [_log_record(record) for record in fresh]
        ids = frozenset(_event_ids(events)) if deadly else frozenset()
        decided = Decided(self._hop.apply(events, now_ms=now_ms, deadly=ids))
        self._rows(decided, now_ms)
        return decided

    def confirm(self, decided: Decided) -> None:
        """It is durable: memory may rely on it."""
        self._hop.committed(decided.batch)
        self._kept.update(decided.kept)
        self.watermark = decided.watermark
        self._control = self._hop.control

    # ---- inside ------------------------------------------------------------------------------

    def _forget_outlived(self) -> None:
        """An attempt of this process counts as no death: of a batch it goes, of one event it is as
        often as it was before."""
        was = self._attempt
        if was in self._outlived:
            self._attempt = (
                structs.replace(was, begun=was.begun - 1) if was.begun > 1 else NO_ATTEMPT
            )

    def _load(self, session_id: str) -> bytes | None:
        found = self._kept.get(session_id)
        return found.value or None if found is not None else None

    def _require_flow(self, first: Fetched) -> None:
        """Events before the first activation would all be dead letters."""
        if self._hop.flow is None and first.key != b"":
            raise Refused(
                f"no flow was activated for partition {self.number} before its offset "
                f"{first.offset}: `ai-assistant topics create` does it for new topics"
            )

    def _rows(self, decided: Decided, now_ms: int) -> None:
        batch, number, rows = decided.batch, self.number, decided.rows
        rows += [wire.step_row(one, stepped_ms=now_ms, partition=number) for one in batch.steps]
        rows += [wire.request_row(request, partition=number) for request in batch.requests.values()]
        rows += [wire.cancel_row(effect_id) for effect_id in batch.cancels]
        rows += [wire.letter_row(letter) for letter in batch.dead]
        for session_id, (session, encoded) in batch.stepped.items():
            before = self._kept.get(session_id)
            decided.kept[session_id] = wire.kept(session, encoded, before=before)
        for session_id, due_ms in batch.unwoken:
            asleep = self._kept.get(session_id)
            if asleep is not None and session_id not in batch.stepped:
                decided.kept[session_id] = wire.unwoken(asleep, due_ms, now_ms=now_ms)
        flow, control = self._hop.flow, self._hop.control
        if flow is not None:
            taken = self._outbox.take(
                batch, kept=decided.kept, before=self._kept, flow=flow, now_ms=now_ms
            )
            rows += [wire.outbox_row(one, partition=number) for one in taken.shown]
            rows += [wire.order_row(order) for order in taken.orders]
        rows += [wire.session_row(k, one, partition=number) for k, one in decided.kept.items()]
        if control is not None and control is not self._control:
            rows.append(wire.flow_row(codec.encode(control), partition=number))
        rows.append(wire.watermark_row(decided.watermark, partition=number))


def _log_record(record: Fetched) -> LogRecord:
    # A key that is no text is no session's: its event will be of another one, and set aside.
    session_id = record.key.decode(errors="replace")
    return LogRecord(record.offset, session_id, record.value or b"", record.timestamp_ms)


def _event_ids(records: Sequence[LogRecord]) -> Iterator[str]:
    for record in records:
        # What cannot be read is set aside in any case.
        with suppress(InvalidRecord):
            yield codec.decode_event(record.value).id
