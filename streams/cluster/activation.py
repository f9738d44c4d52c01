"""Makes a flow the active one: a control record in each partition of the log of record.

Called by `ai-assistant topics create`, for the first, and by `flow activate`. A repetition, also
after a death in the middle, writes only where it is still missing.
"""

from typing import NamedTuple

from adapters.kafka.appender import Appender
from adapters.kafka.batches import append_rows
from adapters.kafka.clients import KafkaSettings
from adapters.kafka.reading import Looker, read_partition
from adapters.kafka.records import Row
from engine import codec
from engine.errors import InvalidRecord, Refused, Unavailable
from engine.events import Event, FlowActivated
from engine.flow import Flow
from streams.machine_clock import MachineClock
from streams.sessions import activated
from streams.topics import T
from streams.wire import FLOW, WATERMARK, watermark_of

CONTROL = b""
"""The key of control records: no session has the empty id."""


class Active(NamedTuple):
    """A partition's newest control record, applied or not; None where it has none.

    `at_ms`: log time of the record.
    """

    partition: int
    body: FlowActivated | None
    at_ms: int


async def first(
    settings: KafkaSettings, flow: Flow, *, config: bytes, partitions: int
) -> list[int]:
    """Write the first control record of each partition that has no record; which those were."""
    async with Looker(settings) as looker:
        empty = [p for p in range(partitions) if await looker.is_empty(T.EVENTS, p)]
    await _write(settings, flow, config=config, partitions=empty)
    return empty


async def activate(
    settings: KafkaSettings, flow: Flow, *, config: bytes, partitions: int
) -> list[int]:
    """Make this flow the active one in each partition where it is not; which those were.

    Raises: Refused where a flow of this name and version is active whose code is another: workers
    that have the one would have to step what the other decided.
    """
    active = [await newest(settings, partition) for partition in range(partitions)]
    for partition, body, _ in active:
        if body is not None and _is_other_code(body, flow, config):
            raise Refused(
                f"partition {partition} runs {body.flow} with the same configuration, and here it "
                f"is {flow.ref}: its code was changed, so give it another version"
            )
    missing = [p for p, body, _ in active if body is None or body.flow != flow.ref]
    await _write(settings, flow, config=config, partitions=missing)
    return missing


async def newest(settings: KafkaSettings, partition: int) -> Active:
    """The newest control record of a partition: the applied one, or one that still waits."""
    found, applied = Active(partition, None, 0), -1
    async for batch in read_partition(settings, T.SESSIONS, partition=partition):
        for record in batch:
            if record.key == FLOW and record.value is not None:
                found = _control(partition, record.value) or found
            elif record.key == WATERMARK and record.value is not None:
                applied = watermark_of(record.value).offset
    async for batch in read_partition(settings, T.EVENTS, partition=partition, start=applied + 1):
        for record in batch:
            if record.key == CONTROL:
                found = _control(partition, record.value or b"") or found
    return found


def _is_other_code(active: FlowActivated, flow: Flow, config: bytes) -> bool:
    ref = active.flow
    same = (ref.name, ref.version) == (flow.ref.name, flow.ref.version)
    return same and ref.digest != flow.ref.digest and bytes(active.config) == config


async def _write(
    settings: KafkaSettings, flow: Flow, *, config: bytes, partitions: list[int]
) -> None:
    if not partitions:
        return
    control = codec.encode(await _event(settings, flow, config))
    rows = [Row(T.EVENTS, CONTROL, control, partition=partition) for partition in partitions]
    await append_rows(settings, rows, what="activate the flow")


async def _event(settings: KafkaSettings, flow: Flow, config: bytes) -> Event:
    """The control record, at the log's time. Raises Unavailable where the clock is off."""
    appender = Appender(settings, clock=MachineClock(), instance="activation")
    try:
        await appender.start()
        if appender.fault:
            raise Unavailable(appender.fault)
        return activated(flow, config, at_ms=appender.now_ms())
    finally:
        await appender.stop()


def _control(partition: int, value: bytes) -> Active | None:
    try:
        event = codec.decode_event(value)
    except InvalidRecord:
        return None  # the sessions role sets it aside
    if not isinstance(event.body, FlowActivated):
        return None
    return Active(partition, event.body, event.at_ms)
