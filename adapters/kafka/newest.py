"""Sends the newest value of each key, soon; what is older and was not sent yet is dropped.

For frames: of use while somebody looks, and only the latest. Nobody waits for them, and a broker
that is away makes them no more than one for each key.
"""

import asyncio
import logging

from aiokafka import AIOKafkaProducer

from adapters.kafka.clients import KafkaSettings, begun, ended, producer_of, told
from adapters.kafka.records import Row
from engine.errors import EngineError, trace_of

log = logging.getLogger(__name__)

KEYS_MAX = 10_000
"""Of values that wait: beyond it new ones are dropped."""
RETRY_S = 1.0


class NewestSender:
    """A plain producer: one copy is enough, and a loss is made good by the next value."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._rows: dict[str, Row] = {}
        self._come = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin; it connects when it can."""
        self._task = asyncio.create_task(self._run(), name="frames")

    async def stop(self) -> None:
        """Drop what waits, and let go."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def put(self, key: str, row: Row) -> None:
        """The newest value of this key. Never blocks, never raises."""
        if len(self._rows) < KEYS_MAX or key in self._rows:
            self._rows[key] = row
            self._come.set()

    async def _run(self) -> None:
        while True:
            producer = producer_of(self._settings, durable=False)
            try:
                await begun(producer, self._settings, what="send frames")
                with told("send frames"):
                    await self._send(producer)
            except EngineError as error:
                log.warning("frames are not shown just now: %s", error)
                await asyncio.sleep(RETRY_S)
            except Exception as error:  # they are not worth the process
                log.error("frames are not shown just now: %s", trace_of(error))
                await asyncio.sleep(RETRY_S)
            finally:
                await ended(producer)

    async def _send(self, producer: AIOKafkaProducer) -> None:
        while True:
            await self._come.wait()
            self._come.clear()
            rows, self._rows = self._rows, {}
            sent = [
                await producer.send(
                    self._settings.named(row.topic),
                    value=row.value,
                    key=row.key,
                    partition=row.partition,
                    headers=list(row.headers),
                )
                for row in rows.values()
            ]
            if sent:
                await asyncio.gather(*sent)
