"""Writes to Kafka whole or not at all, as the one owner of a partition.

A transactional id belongs to one partition: whoever begins with it last is the owner, and nothing
that an earlier one still writes is taken. What that one left open is settled by the beginning.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from adapters.kafka.batches import write_rows
from adapters.kafka.clients import KafkaSettings, begun, ended, producer_of, told
from adapters.kafka.records import Row
from engine.errors import Conflict, Unavailable


class Open:
    """The transactions of a process that are open just now. Whoever reads committed records waits
    for each of them."""

    def __init__(self) -> None:
        self._since_s: dict[object, float] = {}

    def __len__(self) -> int:
        """How many they are."""
        return len(self._since_s)

    def oldest_s(self) -> float:
        """For how long the oldest has been."""
        now_s = time.monotonic()
        return now_s - min(self._since_s.values(), default=now_s)

    @contextmanager
    def one(self) -> Iterator[None]:
        """While this one is. An owner that ends may still abort its own where the next one of its
        partition, in this very process, has opened another."""
        this = object()
        self._since_s[this] = time.monotonic()
        try:
            yield
        finally:
            del self._since_s[this]


class Transactions:
    """The transactions of one owner, one at a time. `open_now`: those of the process."""

    def __init__(
        self, settings: KafkaSettings, transactional_id: str, *, open_now: Open | None = None
    ) -> None:
        self._settings = settings
        self._id = transactional_id
        self._producer: AIOKafkaProducer | None = None
        self._over: Conflict | Unavailable | None = None
        self._open_now = Open() if open_now is None else open_now
        self._ahead_ms = 0

    async def begin(self) -> None:
        """Become the owner: from now on every older one's `write` raises Conflict."""
        producer = producer_of(self._settings, transactional_id=self._id)
        await begun(producer, self._settings, what=f"begin as {self._id}")
        self._producer, self._over = producer, None
        # The wall clock may jump while we own the partition; brokers take nothing of tomorrow.
        self._ahead_ms = (time.time_ns() - time.monotonic_ns()) // 1_000_000

    async def stop(self) -> None:
        """Let go; what was not committed never was."""
        if self._producer is not None:
            await ended(self._producer)

    async def write(self, rows: Sequence[Row]) -> None:
        """All of these, visible at once and durable on return.

        Raises Conflict where there is a newer owner: nothing of it is written then. After any other
        error nobody knows. Either way this owner can write no more: it is told the same again.

        It takes no longer than the brokers leave a transaction open: after that they fence us
        themselves, which would look like a newer owner.
        """
        if self._over is not None:
            raise type(self._over)(str(self._over))
        try:
            with self._open_now.one():
                await self._write(rows)
        except (Conflict, Unavailable) as error:
            self._over = error
            raise

    async def _write(self, rows: Sequence[Row]) -> None:
        producer = self._producer
        assert producer is not None, "begin first"
        within_s = self._settings.transaction_timeout_ms / 1_000
        with told(f"write as {self._id}"):
            try:
                async with asyncio.timeout(within_s) as limit:
                    await producer.begin_transaction()
                    try:
                        now_ms = time.monotonic_ns() // 1_000_000 + self._ahead_ms
                        await write_rows(producer, rows, settings=self._settings, now_ms=now_ms)
                    except BaseException:
                        # Past the limit there is nobody to tell: whoever begins next ends it.
                        if not (limit.expired() or producer._txn_manager.is_fatal_error()):
                            await producer.abort_transaction()
                        raise
                    await producer.commit_transaction()
            except KafkaError:
                # Its own futures say the same: nobody asks them, and asyncio would complain.
                waiter = producer._txn_manager.wait_for_transaction_end()
                if waiter is not None and waiter.done():
                    waiter.exception()
                raise
