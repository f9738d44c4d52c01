"""The Faust app of the sessions role: group membership, fetching, acknowledgement. All of Faust.

Between `conversation.events` and the partition workers. Started by `ai-assistant worker --role
sessions`, or by `faust -A streams.faust_app worker`. It never looks into an event.

Faust delivers events one by one, at 100 to 200 µs each; its consumer here hands the agent *one
batch for each partition and fetch*, at 8 to 10. That needs names that Faust does not promise:
`PRIVATE` lists them, `checked_names` looks for them at the start, and the version is pinned.

Not used, since each loses or misplaces events: `exactly_once`, `take`, tables, an agent's
`concurrency`. Faust's own end of a crashed app can hang, so a fatal error is `os._exit`.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Protocol, cast

import faust
import faust.app.base
import faust.streams
from faust.tables import manager
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from yarl import URL

from adapters.kafka.clients import KafkaSettings, tls_context
from adapters.kafka.records import Fetched
from engine.errors import Refused, trace_of
from streams.machine_clock import awake_ms
from streams.partition_worker import GROUP, PartitionWorker
from streams.topics import T

log = logging.getLogger(__name__)

PINNED = "0.15.3"
PRIVATE: dict[type, tuple[str, ...]] = {
    driver.Consumer: (
        "_new_consumer_thread",
        "_new_offset",
        "_drain_messages",
        "_wait_next_records",
        "_get_active_partitions",
        "_to_message",
        "perform_seek",
        "_clean_unacked_messages",
    ),
    driver.AIOKafkaConsumerThread: ("_fetch_records",),
    faust.App: ("_crash",),
    faust.Schema: ("compile",),
    manager.TableManager: ("_update_channels", "recovery"),
}
POLL_NEVER_S = 1e7
"""Faust does not poll while all partitions wait; the group would expel it, for good."""
FATAL = 70


def checked_names() -> None:
    """Raises Refused where Faust is not the one that this file was written against."""
    if faust.__version__ != PINNED:
        raise Refused(f"faust-streaming is {faust.__version__}: this version works with {PINNED}")
    if not getattr(faust.streams, "_CStreamIterator", None):
        raise Refused("faust-streaming has no compiled parts here, without which it loses events")
    for kind, names in PRIVATE.items():
        for name in names:
            if not hasattr(kind, name):
                raise Refused(f"faust-streaming {PINNED} has no {kind.__name__}.{name}")


def die(error: BaseException) -> None:
    """End the process at once, saying why: the next owner begins with what is durable."""
    told = f"Refused: {error}" if isinstance(error, Refused) else trace_of(error)
    os.write(2, f"fatal: {told}\n".encode(errors="replace"))
    os._exit(FATAL)


@contextmanager
def fatal_errors() -> Iterator[None]:
    """What goes wrong inside ends the process: Faust would log it, and go on as if it had not."""
    try:
        yield
    except Exception as error:
        die(error)


class Thread(driver.AIOKafkaConsumerThread):
    """The thread that talks to the brokers."""

    async def _fetch_records(self, consumer: Any, *args: Any, **more: Any) -> Any:
        # Faust never looks: an error of the coordinator would stop it in silence.
        consumer._coordinator.check_errors()
        return await super()._fetch_records(consumer, *args, **more)


class Consumer(driver.Consumer):
    """Hands over batches; their acks come in order, one for each. `looked_ms`: for records."""

    looked_ms: int

    def _new_consumer_thread(self) -> Thread:
        self.looked_ms = awake_ms()
        return Thread(self, loop=self.loop, beacon=self.beacon)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        # Faust forgets what was acknowledged before it commits that.
        self.stop_flow()
        await self.commit()
        await super().on_partitions_revoked(revoked)

    def _clean_unacked_messages(self) -> None:
        # Faust looks once a second whether it may let go of its partitions, or end. One that waits
        # for brokers would hold up all members of the group until they put this one out.
        for mark in cast(App, self.app).members.given_back():
            self.unacked.discard(mark)
        super()._clean_unacked_messages()

    def _new_offset(self, tp: TP) -> int | None:
        # Faust looks for gaps offset by offset. There are none: batches end in order.
        acked = self._acked[tp]
        if not acked:
            return None
        top: int = max(acked)
        acked.clear()
        self._acked_index[tp].clear()
        return top + 1

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            while not (self.should_stop or fetcher.should_stop):
                await self._drain_once()
        except Exception as error:
            if isinstance(error, self.consumer_stopped_errors):
                raise
            die(error)

    async def _drain_once(self) -> None:
        self.looked_ms = awake_ms()
        full = self._buffered_partitions and not self._get_active_partitions()
        # Faust would sleep for a second where every partition has enough.
        await self.sleep(0.005 if full else 0)
        if full:
            return
        generation = self.app.consumer_generation_id
        records, active = await self._wait_next_records(1.0)
        if self.should_stop or not records or active is None:
            return
        if not self.flow_active or generation != self.app.consumer_generation_id:
            # Fetched before a rebalance: they are read again from the committed offsets.
            await self.perform_seek()
            return
        for tp, some in records.items():
            if some and (tp in active or tp in self._buffered_partitions):
                batch: Any = self._to_message(tp, some[-1])
                batch.key, batch.value = None, some
                await self.wait_first(self.callback(batch), self.suspend_flow.wait())


class Transport(driver.Transport):
    """Faust's own, but for the consumer."""

    Consumer = Consumer


class Batches(faust.Schema[Any, Any]):
    """An event's value is the list of records that were fetched."""

    def compile(self, app: Any, **_: Any) -> Callable[..., Any]:
        """How Faust decodes: not at all."""

        async def decode(message: Any, *, propagate: bool = False) -> Any:
            return app.create_event(None, message.value, None, message)

        return decode


def fetched(records: Sequence[Any]) -> list[Fetched]:
    """A batch as the partition's worker takes it."""
    return [
        Fetched(T.EVENTS, r.partition, r.offset, r.timestamp, r.key or b"", r.value, r.headers)
        for r in records
    ]


class Members:
    """The partition workers of this process, as Faust assigns partitions.

    `make`: the worker of a partition, not yet started, that reports to this reader.
    """

    def __init__(
        self, app: faust.App, topic: str, *, make: Callable[[int, "Members"], PartitionWorker]
    ) -> None:
        self._app = app
        self._topic = topic
        self._make = make
        self.workers: dict[int, PartitionWorker] = {}
        self.assigned_once = False

    def put(self, message: Any, records: Sequence[Any]) -> None:
        """Hand a batch over to its partition's worker."""
        self._worker(message.partition).put(fetched(records), message)

    async def assigned(self, partitions: set[int]) -> None:
        """Let go of what is not ours any more; begin to recover what is."""
        self.assigned_once = True
        for number in self.workers.keys() - partitions:
            await self.workers.pop(number).stop()
        for number in sorted(partitions):
            self._worker(number)
        log.info("partitions of this process: %s", sorted(partitions) or "none")

    def given_back(self) -> Iterator[Any]:
        """The marks of what waits in partitions that are not at work: it is read again."""
        for worker in self.workers.values():
            yield from worker.give_back()

    def _worker(self, number: int) -> PartitionWorker:
        worker = self.workers.get(number)
        if worker is None:
            worker = self.workers[number] = self._make(number, self)
            worker.start()
        return worker

    def lag(self) -> dict[int, int]:
        """How many events of each partition are not applied yet, as far as was fetched."""
        found: dict[int, int] = {}
        for number, worker in self.workers.items():
            end = self._end(TP(self._topic, number)) if self.assigned_once else 0
            found[number] = max(0, end - worker.partition.watermark - 1)
        return found

    def _end(self, at: TP) -> int:
        try:
            return self._app.consumer.highwater(at) or 0
        except AssertionError:
            # It moves away, at this very moment perhaps, and its end is not known here any more.
            return 0

    def looked_ms(self) -> int:
        """When Faust last looked for records, by `awake_ms`; now, where it need not."""
        if not self.assigned_once:
            return awake_ms()
        consumer = cast(Consumer, self._app.consumer)
        if self._app.rebalancing:
            consumer.looked_ms = awake_ms()
        return consumer.looked_ms

    def hold_all(self) -> None:
        """Fetch nothing more."""
        if self.assigned_once:
            self._app.consumer.stop_flow()

    async def commit(self) -> None:
        """Commit what was acknowledged."""
        if self.assigned_once:
            await self._app.consumer.commit()

    # ---- what a worker asks of its reader ------------------------------------------------------

    def acknowledge(self, mark: Any) -> None:
        """Only now may Faust commit the offsets."""
        self._app.consumer.ack(mark)

    def hold(self, partition: int, *, full: bool) -> None:
        """Take a partition out of the next fetches, or back in."""
        tp = TP(self._topic, partition)
        if full:
            self._app.consumer.on_buffer_full(tp)
        else:
            self._app.consumer.on_buffer_drop(tp)

    def fatal(self, error: BaseException) -> None:
        """Ends the process."""
        die(error)


class Heard(Protocol):
    """What is told of the group and of Faust's commits."""

    def rebalanced(self, took_s: float) -> None: ...
    def offsets_committed(self, took_s: float) -> None: ...


class Tables(manager.TableManager):
    """Faust's own, but for the second that it waits for tables: we have none."""

    async def on_start(self) -> None:
        """Let the consumer subscribe."""
        await self._update_channels()
        await self.recovery.start()


class Sensor(faust.Sensor):
    """Faust's own counts go to ours. It would count batches as events: those are counted where they
    are stepped."""

    def __init__(self, heard: Heard) -> None:
        super().__init__()
        self._heard = heard

    def on_rebalance_start(self, app: Any) -> dict[str, float]:
        """Our partitions are to be given out anew."""
        return {"began_s": time.monotonic()}

    def on_rebalance_end(self, app: Any, state: Any) -> None:
        """They are, and what we had in hand is settled."""
        self._heard.rebalanced(time.monotonic() - state["began_s"])

    def on_commit_initiated(self, consumer: Any) -> float:
        """Offsets are being committed."""
        return time.monotonic()

    def on_commit_completed(self, consumer: Any, state: Any) -> None:
        """They are."""
        self._heard.offsets_committed(time.monotonic() - state)


class Boot(faust.app.base.BootStrategy):
    """Faust's web server would serve to anyone; `faust worker` turns it on by default."""

    enable_web = False


# Each part of Faust logs its starts and stops under the name of the module that it stands in.
for part in (Consumer, Thread, Tables, Sensor):
    part.logger = logging.getLogger("faust.parts")


class App(faust.App):
    """Faust's own, without a web server, and without a life after a crash."""

    logger = logging.getLogger("faust.parts")

    BootStrategy = Boot
    members: "Members"

    def _crash(self, reason: BaseException) -> None:
        # Whichever part of Faust crashes, its parents hear of it here. It would stop, fetch nothing
        # more, and leave the process alive: an offset that may not be committed is enough.
        if self._stopped.is_set():  # nobody needs it any more
            super()._crash(reason)
        else:
            die(reason)


def sessions_app(
    kafka: KafkaSettings,
    *,
    instance: str,
    make: Callable[[int, Members], PartitionWorker],
    heard: Heard,
) -> tuple[faust.App, Members]:
    """The app of one sessions process. `instance`: its name in the group over restarts, if any.

    Raises Refused where Faust is not the one that this was written against.
    """
    checked_names()
    topic = kafka.named(T.EVENTS)
    app = App(
        kafka.named(GROUP),
        broker=[URL(f"kafka://{one}") for one in kafka.brokers.split(",")],
        broker_credentials=_credentials(kafka),
        store="memory://",
        # It makes one, though nothing is ever written to it; the working directory may be nobody's.
        datadir=str(Path(gettempdir()) / "ai-assistant-faust"),
        broker_commit_interval=1.0,
        broker_max_poll_interval=POLL_NEVER_S,
        broker_max_poll_records=2_000,
        broker_session_timeout=kafka.session_timeout_ms / 1_000,
        broker_heartbeat_interval=min(2.0, kafka.session_timeout_ms / 3_000),
        broker_rebalance_timeout=60,
        broker_request_timeout=60,
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=instance or None,
        stream_buffer_maxsize=64,
        TableManager=Tables,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
    )
    app.sensors.add(Sensor(heard))
    app.transport = Transport(app.conf.broker_consumer, app)
    events = app.topic(topic, schema=Batches(key_type=bytes, value_type=bytes))
    members = app.members = Members(app, topic, make=make)

    @app.agent(events, name="sessions")
    async def sessions(stream: Any) -> None:
        async for event in stream.noack().events():
            with fatal_errors():
                members.put(event.message, event.value)

    @app.on_partitions_assigned.connect(weak=False)
    async def assigned(app: faust.App, assigned: set[TP], **_: Any) -> None:
        with fatal_errors():
            await members.assigned({tp.partition for tp in assigned if tp.topic == topic})

    return app, members


def _credentials(kafka: KafkaSettings) -> Any:
    """How Faust's own clients show who we are: the same as all others of this process."""
    context = tls_context(kafka)
    if kafka.sasl:
        return faust.SASLCredentials(
            username=kafka.username,
            password=kafka.password,
            mechanism=kafka.sasl.upper(),
            ssl_context=context,
        )
    return None if context is None else faust.SSLCredentials(context)


@cache
def _app_of_environment() -> faust.App:
    from streams.cluster.assemble import stepping_of_environment

    role = stepping_of_environment(os.environ)
    role.app.task(role.beside)
    return role.app


def __getattr__(name: str) -> Any:
    """`app`, for `faust -A streams.faust_app worker`, by the settings of the environment."""
    if name == "app":
        return _app_of_environment()
    raise AttributeError(name)
