"""The sessions role as a process on a real broker: nothing twice, nothing lost, whoever dies."""

import asyncio
import random
import signal
import socket
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from aiokafka.errors import TopicAuthorizationFailedError
from prometheus_client import CollectorRegistry

from adapters.kafka.clients import KafkaSettings
from adapters.kafka.records import Fetched
from deploy.kafka.cluster import Cluster
from engine import codec
from engine.errors import Refused, Unavailable
from engine.fold import fold
from engine.ports import Append, Incoming
from engine.pseudonym import Key
from engine.step import new_session
from statemachines import registry
from streams import faust_app, wire
from streams.cluster.stepping import Stepping
from streams.cluster.stepping_metrics import SteppingMetrics
from streams.embedded.assemble import OUTBOX_CHANNELS, flow_of
from streams.ingress import Ingress
from streams.machine_clock import awake_ms
from streams.topics import T
from tests.kafka_tests import processes
from tests.kafka_tests.conftest import started
from tests.kafka_tests.installation import PARTITIONS, appending, everything, installed

pytestmark = pytest.mark.asyncio

WEB = Ingress(
    "webchat", "web", keys=(Key(id="k1", secret=b"s" * 32),), known=lambda session_id: False
)
WITHIN_S = 60


def said(number: int, *, people: int, now_ms: int) -> Append:
    who = f"person {number % people}"
    incoming = Incoming(
        account="web",
        conversation=who,
        sender=who,
        message_id=f"message {number}",
        text=f"this is {number}",
    )
    return WEB.message(incoming, now_ms=now_ms).append


async def watermarks(settings: KafkaSettings) -> dict[int, int]:
    found: dict[int, int] = {}
    for record in await everything(settings, T.SESSIONS):
        if record.key == wire.WATERMARK:
            found[record.partition] = wire.watermark_of(record.value or b"").offset
    return found


async def all_applied(settings: KafkaSettings, ends: dict[int, int]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while await watermarks(settings) != ends:
            await asyncio.sleep(0.2)


async def is_up(log: Path, *, starts: int) -> None:
    """So many processes have come far enough to stop in order."""
    async with asyncio.timeout(WITHIN_S):
        while log.read_text().count("probes at") < starts:
            await asyncio.sleep(0.1)


def by_session(records: list[Fetched]) -> dict[str, list[Fetched]]:
    found: dict[str, list[Fetched]] = defaultdict(list)
    for record in records:
        if record.key and record.key[:1] != b"#":
            found[record.key.decode()].append(record)
    return found


async def judge(settings: KafkaSettings) -> int:
    """Held against the log of record: each event is stepped once, in order, to the bytes that the
    engine's own fold gives; lines have no gap. How many events that were."""
    flow = registry.build("assistant", processes.CONFIG)
    events = by_session(await everything(settings, T.EVENTS))
    steps = by_session(await everything(settings, T.STEPS))
    sessions = by_session(await everything(settings, T.SESSIONS))
    shown = by_session(await everything(settings, T.OUTBOX))
    assert events.keys() == steps.keys() == sessions.keys()
    for session_id, records in events.items():
        read = [codec.decode_event(record.value or b"") for record in records]
        told = [codec.decode_step(record.value or b"") for record in steps[session_id]]
        assert [step.event_id for step in told] == [event.id for event in read]
        assert [step.seq for step in told] == list(range(1, len(read) + 1))
        folded = fold(flow, read, new_session(flow, session_id))
        assert sessions[session_id][-1].value == codec.encode(folded)
        shows = [wire.shown_of(record.value) for record in shown[session_id]]
        numbers = [one.line.n for one in shows if isinstance(one, wire.Said)]
        assert numbers == list(range(1, len(numbers) + 1))
    return sum(map(len, events.values()))


async def test_a_worker_that_is_killed_again_and_again_steps_each_event_once(
    broker: Cluster, prefix: str, tmp_path: Path
) -> None:
    settings = await installed(broker.bootstrap, prefix)
    await processes.activate(settings, partitions=PARTITIONS, at_ms=time.time_ns() // 1_000_000)
    env = processes.environment(settings, tmp_path, instance="sessions-0")
    chance = random.Random(prefix)
    ends: dict[int, int] = dict.fromkeys(range(PARTITIONS), 0)
    log = tmp_path / "worker.log"
    kills, number = 0, 0
    async with appending(settings) as appender:
        while kills < 4:
            with processes.running(processes.sessions_command(), env, log=log) as worker:
                until_s = time.monotonic() + chance.uniform(2.5, 5.0)
                while time.monotonic() < until_s:
                    places = await appender.append_many(
                        [
                            said(number + i, people=60, now_ms=appender.now_ms())
                            for i in range(chance.randint(1, 40))
                        ]
                    )
                    number += len(places)
                    for place in places:
                        ends[place.partition] = max(ends[place.partition], place.offset)
                    await asyncio.sleep(0.05)
                assert worker.poll() is None, log.read_text()
                worker.send_signal(signal.SIGKILL)
                kills += 1
        # On a busy machine some of them died before they said so.
        starts = log.read_text().count("probes at") + 1
        with processes.running(processes.sessions_command(), env, log=log) as worker:
            await all_applied(settings, ends)
            await is_up(log, starts=starts)
            worker.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(worker.wait, 20) == 0, log.read_text()
    assert await judge(settings) == number
    assert number > 500


async def test_fausts_own_command_line_runs_the_same_and_serves_no_web_page(
    broker: Cluster, prefix: str, tmp_path: Path
) -> None:
    settings = await installed(broker.bootstrap, prefix)
    await processes.activate(settings, partitions=PARTITIONS, at_ms=time.time_ns() // 1_000_000)
    env = processes.environment(settings, tmp_path)
    command = [sys.executable, "-P", "-m", "faust", "-A", "streams.faust_app", "worker"]
    log = tmp_path / "faust.log"
    ends: dict[int, int] = {}
    async with appending(settings) as appender:
        places = await appender.append_many(
            [said(i, people=10, now_ms=appender.now_ms()) for i in range(50)]
        )
        for partition in range(PARTITIONS):
            offsets = [place.offset for place in places if place.partition == partition]
            ends[partition] = max(offsets, default=0)
        with processes.running(command, env, log=log) as worker:
            await all_applied(settings, ends)
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", 6066)) != 0
            worker.send_signal(signal.SIGTERM)
            await asyncio.to_thread(worker.wait, 30)
    assert await judge(settings) == 50


async def test_a_worker_without_the_active_version_says_so_and_ends(
    broker: Cluster, prefix: str, tmp_path: Path
) -> None:
    settings = await installed(broker.bootstrap, prefix)
    log = tmp_path / "worker.log"
    async with appending(settings) as appender:
        await appender.append(said(1, people=1, now_ms=appender.now_ms()))
        env = processes.environment(settings, tmp_path)
        with processes.running(processes.sessions_command(), env, log=log) as worker:
            code = await asyncio.to_thread(worker.wait, 30)
    assert code == 70
    assert "no flow was activated for partition" in log.read_text()


@asynccontextmanager
async def stepping(
    settings: KafkaSettings, *, partitions: int = PARTITIONS
) -> AsyncIterator[Stepping]:
    """The role in this process, with so many partitions and ready."""
    role = Stepping(
        settings,
        instance="",
        build=flow_of,
        outbox=OUTBOX_CHANNELS,
        metrics=SteppingMetrics(CollectorRegistry()),
    )
    await role.start()
    try:
        async with asyncio.timeout(WITHIN_S):
            while len(role._members.lag()) < partitions or role.ready:
                await asyncio.sleep(0.01)
        yield role
    finally:
        await role.stop(drain_s=5)


async def test_how_far_behind_it_is_can_be_asked_at_every_moment_of_a_move(
    broker: Cluster, prefix: str, tmp_path: Path
) -> None:
    settings = await installed(broker.bootstrap, prefix)
    await processes.activate(settings, partitions=PARTITIONS, at_ms=time.time_ns() // 1_000_000)
    async with stepping(settings) as role:
        members = role._members
        env = processes.environment(settings, tmp_path)
        command = processes.sessions_command()
        with processes.running(command, env, log=tmp_path / "other.log"):
            async with asyncio.timeout(WITHIN_S):
                while len(members.lag()) == PARTITIONS:
                    await asyncio.sleep(0)


async def test_a_partition_that_waits_for_brokers_holds_up_no_member_of_the_group(
    broker: Cluster, prefix: str
) -> None:
    """Faust lets go of its partitions when nothing is in hand; the group would put it out first."""
    settings = await installed(broker.bootstrap, prefix)
    await processes.activate(settings, partitions=PARTITIONS, at_ms=time.time_ns() // 1_000_000)
    async with stepping(settings) as role, appending(settings) as appender:
        sick = role._members.workers[0]

        async def away(rows: object) -> None:
            raise Unavailable("a partition has no leader")

        sick._ledger.commit = away  # type: ignore[method-assign]
        count = 0
        while not sick.waiting:
            await appender.append(said(count, people=20, now_ms=appender.now_ms()))
            count += 1
        ours = role._members.workers
        async with stepping(settings, partitions=PARTITIONS // 2) as other:
            assert not ours.keys() & other._members.workers.keys()
            async with asyncio.timeout(WITHIN_S):
                while len(ours) != PARTITIONS // 2:
                    await asyncio.sleep(0.1)
            if ours.get(0) is sick:
                del sick._ledger.commit  # type: ignore[method-assign]
            async with asyncio.timeout(WITHIN_S):
                while len(await everything(settings, T.STEPS)) < count:
                    await asyncio.sleep(0.1)
    assert await judge(settings) == count


async def test_what_faust_answers_with_an_end_of_its_own_ends_the_process(
    broker: Cluster, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would stop and fetch nothing more, in a process that is ready and alive."""
    died: asyncio.Queue[BaseException] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    heard = partial(loop.call_soon_threadsafe, died.put_nowait)
    monkeypatch.setattr(faust_app, "die", heard)

    async def forbidden(offsets: object) -> None:
        raise TopicAuthorizationFailedError

    settings = await installed(broker.bootstrap, prefix)
    await processes.activate(settings, partitions=PARTITIONS, at_ms=time.time_ns() // 1_000_000)
    async with stepping(settings) as role, appending(settings) as appender:
        monkeypatch.setattr(role.app.consumer._thread._consumer, "commit", forbidden)
        await appender.append(said(1, people=1, now_ms=appender.now_ms()))
        error = await asyncio.wait_for(died.get(), WITHIN_S)
    assert isinstance(error, TopicAuthorizationFailedError)


async def test_a_process_gets_on_while_it_looks_for_records_whether_it_has_partitions_or_not(
    broker: Cluster, prefix: str
) -> None:
    def stands_ms(role: Stepping) -> int:
        return awake_ms() - role.progressed_ms

    settings = await installed(broker.bootstrap, prefix, partitions=1)
    await processes.activate(settings, partitions=1, at_ms=time.time_ns() // 1_000_000)
    async with stepping(settings, partitions=1) as role, stepping(settings, partitions=0) as other:
        async with asyncio.timeout(WITHIN_S):
            while role.ready or other.ready:
                await asyncio.sleep(0.01)
        await asyncio.sleep(8)
        assert stands_ms(role) < 2_500
        assert stands_ms(other) < 2_500
        assert not (role._members.workers and other._members.workers)
        looks = role if role._members.workers else other
        await looks.app._fetcher.stop()  # nobody would hear of it
        async with asyncio.timeout(WITHIN_S):
            while stands_ms(looks) < 5_000:
                await asyncio.sleep(0.1)


async def test_what_ends_a_process_quotes_nobody(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os._exit", lambda code: None)
    faust_app.die(ValueError("what a person wrote"))
    faust_app.die(Refused("no flow was activated"))
    told = capfd.readouterr().err
    assert told.splitlines()[0].startswith("fatal: ValueError by way of")
    assert "a person" not in told
    assert "fatal: Refused: no flow was activated" in told


@pytest.mark.parametrize("instance", ["", "sessions-0"])
async def test_it_ends_when_it_is_told_to_though_the_brokers_are_away(
    prefix: str, tmp_path: Path, instance: str
) -> None:
    log = tmp_path / "worker.log"
    with started() as cluster:
        settings = await installed(cluster.bootstrap, prefix)
        await processes.activate(settings, partitions=PARTITIONS, at_ms=time.time_ns() // 1_000_000)
        env = processes.environment(settings, tmp_path, instance=instance)
        env["AI_ASSISTANT_SERVER__DRAIN_S"] = "1"
        with processes.running(processes.sessions_command(), env, log=log) as worker:
            async with appending(settings) as appender:
                await is_up(log, starts=1)
                await appender.append(said(1, people=1, now_ms=appender.now_ms()))
                async with asyncio.timeout(WITHIN_S):
                    while not await everything(settings, T.STEPS):
                        await asyncio.sleep(0.05)
                cluster.brokers[0].pause()  # with offsets to commit
                worker.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(worker.wait, 20) == 0, log.read_text()
