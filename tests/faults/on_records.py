"""What stands in the topics that nobody of ours wrote: rounds of the catalogue."""

from adapters.kafka.batches import append_rows
from adapters.kafka.clients import producer_of
from adapters.kafka.records import Row
from engine import codec
from engine.events import ClockReached, Event
from streams.topics import T
from tests.faults.lab import PARTITIONS, Lab
from tests.faults.records import RUBBISH

SOMEBODY = b"webchat:web:k1:nobody-of-ours"
NEW_OWNERS = ("sessions", "clock", "egress", "ingress", "model", "skill")
HEADERS = (("due", b"soon"), ("lines", b"\xff"), ("attempt", b""))
KEYS = (b"", b"\xff\xfe", b"rubbish", b"#rubbish", SOMEBODY)
READ = (T.MODEL, T.SKILL, T.CANCEL, T.EGRESS, T.FRAMES, T.OUTBOX, T.DELIVERIES, T.WORKERS)


async def rubbish(lab: Lab, number: int) -> None:
    """Records that no program of ours would write, in each topic that a role reads; then somebody
    new has to read over them."""
    lab.blow("rubbish", measured=False)
    chance = lab.chance
    topics = [*READ, T.SESSIONS]
    rows = [
        Row(topic, chance.choice(KEYS), value, HEADERS, 0 if topic is T.WORKERS else partition)
        for topic in topics
        for value in RUBBISH
        for partition in range(1 if topic is T.WORKERS else PARTITIONS)
    ]
    await append_rows(lab.kafka, rows, what="write rubbish")
    await _events(lab)
    await lab.wait(0, 1)
    await lab.kill(lab.one_of(NEW_OWNERS[number % len(NEW_OWNERS)]))


async def _events(lab: Lab) -> None:
    """To the log of record: each has to become a dead letter, and nothing else."""
    producer = producer_of(lab.kafka)
    await producer.start()
    try:
        for partition in range(PARTITIONS):
            for key, value in _alien_events():
                sent = await producer.send_and_wait(
                    lab.kafka.named(T.EVENTS), value, key, partition=partition
                )
                lab.rubbish.add((partition, sent.offset))
    finally:
        await producer.stop()


def _alien_events() -> list[tuple[bytes, bytes]]:
    found = [(SOMEBODY, value) for value in (*RUBBISH, b"x" * 800_000)]
    for session_id in ("", "abc", "#watermark", "#flow:a:b"):
        event = Event(
            id=f"{session_id}/1",
            session_id=session_id,
            at_ms=1,
            source="nobody",
            body=ClockReached(due_ms=1),
        )
        found.append((session_id.encode(), codec.encode(event)))
        found.append((SOMEBODY, codec.encode(event)))
    return found
