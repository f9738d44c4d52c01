"""Laws of the log: what is recorded once, in order, whole, and followed by exactly one step.

They look at records, step records and watermarks alone; nothing is stepped here.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from itertools import pairwise

from engine import codec
from engine.events import ClockReached, FlowActivated, FlowRef, MessageReceived, Redriven
from engine.ids import session_of
from engine.limits import CLOCK_SKEW_MAX_MS, DEATHS_MAX
from engine.ports import LogRecord
from streams.ingress import redriven_id
from testkit.laws.reading import Dialog, Found, Partition, Reading
from testkit.worlds import Fault


def stepped_once(reading: Reading) -> Iterator[Found]:
    """Every event is stepped exactly once or set aside (design 7, 8: exactly-once, dead letters).

    Up to the watermark each record of a session has one step record or one dead letter.
    """
    for partition in reading.partitions:
        steps = Counter(
            row.offset for dialog in _of(reading, partition) for row in dialog.rows if row.offset
        )
        for record in partition.records:
            if record.offset > partition.watermark or not record.session_id:
                continue
            n = steps[record.offset] + (record.offset in partition.letters)
            if n != 1:
                what = f"record {record.offset} was stepped or set aside {n} times"
                yield Found(what, record.appended_ms, session_id=record.session_id)


def watermark(reading: Reading) -> Iterator[Found]:
    """The watermark equals what is stepped (design 2, 8): nothing beyond it, and at rest all."""
    for partition in reading.partitions:
        for dialog in _of(reading, partition):
            for row in dialog.rows:
                if row.offset > partition.watermark:
                    what = f"offset {row.offset} is stepped, the watermark is {partition.watermark}"
                    yield Found(what, session_id=dialog.id)
        for offset in partition.letters:
            if offset > partition.watermark:
                yield Found(f"offset {offset} is set aside, beyond watermark {partition.watermark}")
        if partition.watermark > partition.head:
            yield Found(f"watermark {partition.watermark} beyond head {partition.head}")
        if reading.rested and partition.watermark != partition.head:
            yield Found(f"at rest at {partition.watermark} of {partition.head} records")


def log_time(reading: Reading) -> Iterator[Found]:
    """Log time never goes back (design 4: a host's clock is the last at_ms plus monotonic time)."""
    for partition in reading.partitions:
        last: LogRecord | None = None
        for record in partition.records:
            if last is not None and record.appended_ms < last.appended_ms:
                what = f"record {record.offset} was appended before record {last.offset}"
                yield Found(what, record.appended_ms, session_id=record.session_id)
            last = record
            event = partition.events[record.offset]
            if event is not None and event.at_ms > record.appended_ms + CLOCK_SKEW_MAX_MS:
                what = f"event {event.id} is from {event.at_ms}, after its append"
                yield Found(what, record.appended_ms, session_id=record.session_id)


def early_clock(reading: Reading) -> Iterator[Found]:
    """A host appends `ClockReached` when its clock passes the deadline, not before (design 7)."""
    for partition in reading.partitions:
        for event in partition.events.values():
            if event is None or not isinstance(event.body, ClockReached):
                continue
            if event.at_ms < event.body.due_ms:
                what = f"woken for {event.body.due_ms}"
                yield Found(what, event.at_ms, session_id=event.session_id)


def records_round_trip(reading: Reading) -> Iterator[Found]:
    """Every record can be read, round-trips, and is canonical (law 4; runners cut: design 9).

    But for what a world put there on purpose, and noted as a fault that says `unreadable`.
    """
    faults = [one.what for one in reading.evidence.seen if isinstance(one, Fault)]
    on_purpose = any("unreadable" in what for what in faults)
    for partition in reading.partitions:
        for record in partition.records:
            event = partition.events[record.offset]
            if event is None and not on_purpose:
                what = f"record {record.offset}, of {len(record.value)} bytes, cannot be read"
                yield Found(what, record.appended_ms, session_id=record.session_id)
            if event is not None and codec.encode(event) != record.value:
                what = f"record {record.offset} is written otherwise when it was read"
                yield Found(what, record.appended_ms, session_id=record.session_id)
            if event is not None and event.session_id != record.session_id:
                what = f"record {record.offset} has the key of session {record.session_id}"
                yield Found(what, record.appended_ms, session_id=event.session_id)
            if event is not None and session_of(event.id) != event.session_id:
                yield Found(f"event {event.id} does not lead to its session", event.at_ms)


def dead_letters(reading: Reading) -> Iterator[Found]:
    """Set aside is what cannot be read, or what a process died at three times (design 7, 8).

    Only deaths with that very event standing count. The letter holds the record as it was read.
    """
    died = Counter((one.partition, one.standing) for one in reading.faults if one.standing)
    for partition in reading.partitions:
        values = {record.offset: record.value for record in partition.records}
        for offset, letter in partition.letters.items():
            if values.get(offset) != letter.value:
                yield Found(f"letter {offset} is not its record", session_id=letter.session_id)
            event = partition.events.get(offset)
            no_flow = not any(at < offset for at, _ in partition.controls)
            if event is None or no_flow:
                continue
            deaths = died[partition.number, event.id]
            if deaths < DEATHS_MAX:
                what = f"record {offset} was set aside after {deaths} deaths: {letter.error}"
                yield Found(what, letter.at_ms, session_id=letter.session_id)


def died_of_and_stepped(reading: Reading) -> Iterator[Found]:
    """What a process died at three times is a dead letter, unstepped (design 7, 8)."""
    died: dict[tuple[int, str], list[int]] = {}
    for one in reading.faults:
        if one.standing:
            died.setdefault((one.partition, one.standing), []).append(one.at_ms)
    for dialog in reading.dialogs.values() if died else ():
        for row in dialog.rows:
            deaths = died.get((dialog.partition.number, row.event_id))
            if deaths is None:
                continue
            # What a repetition of it kills later is no matter.
            before = sum(at_ms < dialog.times.get(row.seq, 0) for at_ms in deaths)
            if row.offset and before >= DEATHS_MAX:
                what = f"seq {row.seq} stepped what {before} processes had died at"
                yield Found(what, session_id=dialog.id)


def redriven(reading: Reading) -> Iterator[Found]:
    """A letter is marked as taken again together with the event that takes it (design 11)."""
    for partition in reading.partitions:
        events = {event.id: event for event in partition.events.values() if event is not None}
        bodies = [event.body for event in events.values()]
        again = {body.of for body in bodies if isinstance(body, Redriven)}
        for offset, letter in partition.letters.items():
            event = partition.events.get(offset)
            taken = events.get(redriven_id(letter))
            if letter.redriven_ms is not None and taken is None:
                yield Found(f"nothing takes letter {offset} again", session_id=letter.session_id)
            if letter.redriven_ms is None and taken is not None:
                what = f"letter {offset} was taken again, and does not say so"
                yield Found(what, taken.at_ms, session_id=letter.session_id)
            if event is None or not isinstance(event.body, MessageReceived | Redriven):
                continue
            of = event.body.of if isinstance(event.body, Redriven) else event.id
            if letter.redriven_ms is not None and of not in again:
                yield Found(f"letter {offset} is marked as redriven", session_id=letter.session_id)


def seq_without_gaps(dialog: Dialog) -> Iterator[Found]:
    """seq counts a session's records from 1, and their order is the log's (design 2, 4)."""
    for n, row in enumerate(dialog.rows, start=1):
        if row.seq != n:
            yield Found(f"step record {n} has seq {row.seq}")
            return
    offsets = [row.offset for row in dialog.rows if row.offset]
    for before, after in pairwise(offsets):
        if after <= before:
            yield Found(f"offset {after} was stepped after offset {before}")


def records_name_themselves(dialog: Dialog) -> Iterator[Found]:
    """A step record's row, its bytes and its event agree (design 4: the step record)."""
    for row, record in zip(dialog.rows, dialog.records, strict=True):
        if record is None:
            yield Found(f"the step record of seq {row.seq} cannot be read")
            continue
        named = (record.session_id, record.seq, record.event_id)
        if named != (dialog.id, row.seq, row.event_id):
            yield Found(f"the row of seq {row.seq} holds the record of {named}")
        if row.offset:
            event = dialog.partition.events.get(row.offset)
            if event is None or event.id != row.event_id:
                yield Found(f"seq {row.seq} stepped {row.event_id}, not what is at {row.offset}")
        if codec.encode(record) != row.value:
            yield Found(f"the step record of seq {row.seq} is written otherwise when it was read")


def stored_is_the_last_step(dialog: Dialog) -> Iterator[Found]:
    """Session, step records and watermark become durable together (design 7, 8).

    The stored bytes are those whose digest the last step record holds.
    """
    if not dialog.rows:
        if dialog.stored is not None:
            yield Found("a session is stored that was never stepped")
        return
    last = dialog.records[-1]
    if dialog.stored is None:
        yield Found(f"stepped to seq {dialog.rows[-1].seq}, and not stored")
    elif last is not None and digest(dialog.stored) != last.digest:
        yield Found(f"what is stored has not the digest that seq {last.seq} recorded")


def digest(encoded: bytes) -> str:
    """BLAKE2b-16 of canonical bytes, of their first line (design 4)."""
    return blake2b(encoded.partition(b"\n")[0], digest_size=16).hexdigest()


def active_flow(dialog: Dialog) -> Iterator[Found]:
    """A session is stepped by the flow that was active for its partition (design 4: a flow ref)."""
    controls = dialog.partition.controls
    last = max((offset for offset, _ in controls), default=0)
    active: FlowRef | None = None
    is_last = False
    for row, record in zip(dialog.rows, dialog.records, strict=True):
        if record is None or not row.offset:
            continue
        if not is_last:  # else it is the same as for the row before
            before = [event.body for offset, event in controls if offset < row.offset]
            body = before[-1] if before else None
            active = body.flow if isinstance(body, FlowActivated) else None
            is_last = row.offset > last
        if active != record.flow:
            yield Found(f"seq {row.seq} was stepped by {record.flow}, active was {active}")


def _of(reading: Reading, partition: Partition) -> list[Dialog]:
    return [dialog for dialog in reading.dialogs.values() if dialog.partition is partition]


WHOLE_LAWS: Mapping[str, Callable[[Reading], Iterator[Found]]] = {
    "every event stepped exactly once or set aside": stepped_once,
    "watermark equals what is stepped": watermark,
    "log time never goes back": log_time,
    "no clock early": early_clock,
    "records round-trip": records_round_trip,
    "dead letters have a reason": dead_letters,
    "what kills is set aside": died_of_and_stepped,
    "redriven once asked": redriven,
}
DIALOG_LAWS: Mapping[str, Callable[[Dialog], Iterator[Found]]] = {
    "seq without gaps, order within a session": seq_without_gaps,
    "step records name themselves": records_name_themselves,
    "stored is the last step": stored_is_the_last_step,
    "stepped by the active flow": active_flow,
}
