"""From one process with its own log to a cluster: every session goes on with equal bytes."""

import asyncio
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from adapters.kafka.clients import KafkaSettings
from adapters.kafka.copying import Copier
from adapters.kafka.partitions import partition_of
from adapters.kafka.records import Fetched, Row
from adapters.kafka.transactions import Transactions
from adapters.logs.sqlite import SqliteLog
from console.commands import assistant
from deploy.kafka.cluster import Cluster
from engine import codec
from engine.errors import Refused
from engine.events import Event, FlowActivated
from engine.session import Session
from engine.step import new_session, step
from statemachines import registry
from streams import wire
from streams.cluster.bites import USUAL, bites
from streams.cluster.promotion import audit_row
from streams.embedded import LOG_FILE, data_dir
from streams.sessions import activation, first_due
from streams.topics import TOPICS, T
from streams.wire import Promotion
from tests.host_tests.folding import folds
from tests.kafka_tests import embedded_logs, processes
from tests.kafka_tests.installation import PARTITIONS, appending, everything, installed, written
from tests.kafka_tests.promoting import promoted

WITHIN_S = 60
COPIED = [t.name for t in TOPICS if t.name not in (T.AUDIT, T.WORKERS, T.FRAMES)]
MANY = 1_000_000
REQUESTS = 5 + 5  # of web chat, and of the other channel


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory that a stopped engine has left; not to be changed."""
    directory = tmp_path_factory.mktemp("left") / "data"
    asyncio.run(embedded_logs.make(directory))
    assert folds(directory) > 100
    return directory


@pytest.fixture
def data(left: Path, tmp_path: Path) -> Path:
    """A copy of it, of the test's own."""
    shutil.copytree(left, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def log(data: Path) -> Iterator[SqliteLog]:
    """Its log, for reading."""
    log = SqliteLog(data / LOG_FILE, read_only=True)
    yield log
    log.close()


def width(topic: str) -> int:
    return 1 if topic == T.DEAD else PARTITIONS


async def whole(settings: KafkaSettings) -> dict[str, list[tuple[object, ...]]]:
    """All that stands on the copied topics, but for times and offsets."""
    return {
        topic: [
            (r.partition, r.key, r.value, r.headers)
            for r in await everything(settings, topic, partitions=width(topic))
        ]
        for topic in COPIED
    }


def newest(records: list[Fetched]) -> dict[bytes, Fetched]:
    return {record.key: record for record in records}


def sessions_of(log: SqliteLog) -> dict[str, bytes]:
    return {key: value for key, value in log.sessions(limit=MANY) if key}


# ---- the copy ------------------------------------------------------------------------------------


async def test_everything_of_a_log_stands_where_a_cluster_looks_for_it(
    broker: Cluster, prefix: str, data: Path, log: SqliteLog
) -> None:
    settings = await installed(broker.bootstrap, prefix)
    done = await promoted(settings, data / LOG_FILE)
    assert (done.resumed, done.requests) == (False, REQUESTS)
    await _events_stand_in_order(settings, log)
    rows = newest(await everything(settings, T.SESSIONS))
    shown = [wire.shown_of(r.value) for r in await everything(settings, T.OUTBOX)]
    for session_id, value in sessions_of(log).items():
        row = rows[session_id.encode()]
        kept = wire.kept_of(row.value or b"", row.headers)
        assert kept.value == value
        session = codec.decode_session(value)
        assert kept.due_ms == first_due(session.pending)
        assert (kept.since_ms is not None) == (session.state == "person"), session.state
        lines = [s.line for s in shown if isinstance(s, wire.Said) and _is_of(s, session_id)]
        before = log.lines(session_id, after=0, limit=MANY)
        assert lines[: len(before)] == before
        assert [line.n for line in lines] == list(range(1, kept.lines + 1))
        undelivered = [d.text for d in log.undelivered() if d.session_id == session_id]
        if session_id.startswith("webchat:"):
            assert [line.text for line in lines[len(before) :]] == undelivered
    letters = wire.letters_of(await everything(settings, T.DEAD, partitions=1))
    assert len(letters) == len(log.dead_letters()) == 2
    for letter in letters:
        (there,) = [
            r
            for r in await everything(settings, T.EVENTS)
            if (r.partition, r.offset) == (letter.partition, letter.offset)
        ]
        assert (there.key.decode(), there.value) == (letter.session_id, letter.value)
    assert sum(bool(wire.kept_of(r.value or b"", r.headers).excused) for r in rows.values()) == 1
    await _deliveries_stand_in_order(settings, log)


def _is_of(said: wire.Said, session_id: str) -> bool:
    return said.line.session_id == session_id


async def _events_stand_in_order(settings: KafkaSettings, log: SqliteLog) -> None:
    records = log.read(0, after=0, limit=MANY)
    assert sum(record.session_id == "" for record in records) == 2
    found = await everything(settings, T.EVENTS)
    steps = {(r.key, wire_number(r, "seq")): r for r in await everything(settings, T.STEPS)}
    offsets: dict[int, dict[int, int]] = defaultdict(dict)
    for partition in range(PARTITIONS):
        mine = [
            record
            for record in records
            if record.session_id == ""
            or partition_of(record.session_id.encode(), PARTITIONS) == partition
        ]
        there = [record for record in found if record.partition == partition]
        assert [(r.key.decode(), r.value) for r in there] == [(r[1], r[2]) for r in mine]
        assert [wire.appended_ms(r) for r in there] == [r.appended_ms for r in mine]
        offsets[partition] = {a.offset: b.offset for a, b in zip(mine, there, strict=True)}
    count = 0
    for session_id in sessions_of(log):
        times = dict(log.step_times(session_id, after_seq=0, limit=MANY))
        moved = offsets[partition_of(session_id.encode(), PARTITIONS)]
        for row in log.steps(session_id, after_seq=0, limit=MANY):
            step_record = steps[session_id.encode(), row.seq]
            assert step_record.value == row.value
            assert wire_number(step_record, "stepped") == times[row.seq]
            assert wire_number(step_record, "offset") == (moved[row.offset] if row.offset else 0)
            count += 1
    assert count == len(steps)


def wire_number(record: Fetched, name: str) -> int:
    return int(dict(record.headers).get(name, b"0"))


async def _deliveries_stand_in_order(settings: KafkaSettings, log: SqliteLog) -> None:
    records = await everything(settings, T.DELIVERIES)
    open_ones = [d for d in log.undelivered() if d.address.channel == "im"]
    assert {d.state for d in open_ones} == {"queued", "sending"}
    found = sorted((int(dict(r.headers)["order"]), r) for r in records if r.headers)
    assert [wire.delivery_of(r.value) for _, r in found] == open_ones
    assert all(order < 0 for order, _ in found)


# ---- it goes on ----------------------------------------------------------------------------------


async def test_sessions_go_on_as_the_embedded_engine_would_have_gone_on(
    broker: Cluster, prefix: str, data: Path, log: SqliteLog, tmp_path: Path
) -> None:
    settings = await installed(broker.bootstrap, prefix)
    await promoted(settings, data / LOG_FILE)
    before = sessions_of(log)
    waiting = [k for k, v in before.items() if _awaits(codec.decode_session(v))]
    assert len(waiting) == REQUESTS
    env = processes.environment(settings, tmp_path, instance="all-0")
    command = [*processes.sessions_command(), "--role", "model"]
    ways = embedded_logs.routes(data_dir.keys(data))
    people = [f"person {n}" for n in range(40)] + [f"waiting {n}" for n in range(5)]
    people += [f"handed {n}" for n in range(3)] + [f"undelivered {n}" for n in range(3)]
    async with appending(settings) as appender:
        out = tmp_path / "worker.log"
        with processes.running(command, env, log=out) as worker:
            await appender.append_many(
                [
                    ways.message(
                        embedded_logs.incoming("and one more", who=who, id=f"more {who}"),
                        now_ms=appender.now_ms(),
                    ).append
                    for who in people
                ]
            )
            async with asyncio.timeout(WITHIN_S):
                while await _undone(settings):
                    assert worker.poll() is None, out.read_text()
                    await asyncio.sleep(0.2)
            worker.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(worker.wait, 20) == 0, out.read_text()
    rows = newest(await everything(settings, T.SESSIONS))
    after = {k.decode(): r.value or b"" for k, r in rows.items() if not k.startswith(b"#")}
    assert after == await _folded(settings)
    more = [k for k, v in before.items() if after[k] != v]
    assert len(more) == len(people) + 5  # those of the other channel whose request is answered
    numbers: dict[str, list[int]] = defaultdict(list)
    for record in await everything(settings, T.OUTBOX):
        if isinstance(said := wire.shown_of(record.value), wire.Said):
            numbers[said.line.session_id].append(said.line.n)
    for session_id, found in numbers.items():
        assert found == list(range(1, len(found) + 1)), session_id
        old = log.lines(session_id, after=0, limit=MANY)
        assert len(found) > len(old)
    letters = wire.letters_of(await everything(settings, T.DEAD, partitions=1))
    assert len(letters) == 2  # and none of what was promoted is stepped again


def _awaits(session: Session) -> bool:
    return any(pending.kind != "timer" for pending in session.pending)


async def _undone(settings: KafkaSettings) -> bool:
    """Whether anything waits to be stepped, or for an answer."""
    rows = await everything(settings, T.SESSIONS)
    marks = {
        r.partition: wire.watermark_of(r.value or b"").offset
        for r in rows
        if r.key == wire.WATERMARK
    }
    ends = {r.partition: r.offset for r in await everything(settings, T.EVENTS)}
    values = [r.value for k, r in newest(rows).items() if not k.startswith(b"#")]
    return marks != ends or any(_awaits(codec.decode_session(v)) for v in values if v)


async def _folded(settings: KafkaSettings) -> dict[str, bytes]:
    """Each session as the engine alone makes it of the cluster's log, from its first event on."""
    letters = {
        (one.partition, one.offset)
        for one in wire.letters_of(await everything(settings, T.DEAD, partitions=1))
    }
    found: dict[str, Session] = {}
    control: Event | None = None
    partition = -1
    for record in await everything(settings, T.EVENTS):
        if (record.partition, record.offset) in letters:
            continue
        event = codec.decode_event(record.value or b"")
        if partition != record.partition:
            partition, control = record.partition, None
        if isinstance(event.body, FlowActivated):
            control = event
            flow = registry.build(event.body.flow, bytes(event.body.config))
            continue
        assert control is not None
        session = found.get(event.session_id) or new_session(flow, event.session_id)
        if session.flow != flow.ref:
            session = step(flow, session, activation(control, session)).session
        found[session.id] = step(flow, session, event).session
    return {session_id: codec.encode(session) for session_id, session in found.items()}


async def test_no_transaction_of_a_copy_takes_more_than_its_share(
    broker: Cluster, prefix: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm = await installed(broker.bootstrap, f"{prefix}-calm")
    await promoted(calm, data / LOG_FILE)
    written_at_once: list[int] = []
    write = Transactions.write

    async def measured(self: Transactions, rows: Sequence[Row]) -> None:
        written_at_once.append(sum(len(row.key) + len(row.value or b"") for row in rows))
        await write(self, rows)

    monkeypatch.setattr(Transactions, "write", measured)
    settings = await installed(broker.bootstrap, prefix)
    share = 20_000
    done = await promoted(settings, data / LOG_FILE, pages=USUAL._replace(bytes=share))
    assert done.requests == REQUESTS
    assert sum(size > share // 2 for size in written_at_once) > 5
    assert max(written_at_once) < share + 1_000  # and how far the copy is
    assert _but_how_far(await whole(settings)) == _but_how_far(await whole(calm))


def _but_how_far(copied: dict[str, list[tuple[object, ...]]]) -> dict[str, list[object]]:
    return {
        topic: [record for record in records if record[1] != wire.PROMOTION]
        for topic, records in copied.items()
    }


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], []),
        ([9], [[9]]),
        ([4, 6, 1], [[4, 6], [1]]),
        ([1, 99, 1, 1], [[1], [99], [1, 1]]),
        ([5, 5, 5, 5, 5], [[5, 5], [5, 5], [5]]),
    ],
)
def test_a_bite_is_as_large_as_it_may_be(sizes: list[int], expected: list[list[int]]) -> None:
    assert list(bites(sizes, most=10, size=lambda size: size)) == expected


# ---- interrupted ---------------------------------------------------------------------------------


async def test_a_promotion_that_is_killed_again_and_again_is_the_undisturbed_one(
    broker: Cluster, prefix: str, data: Path, tmp_path: Path
) -> None:
    calm = await installed(broker.bootstrap, f"{prefix}-calm")
    await promoted(calm, data / LOG_FILE)
    settings = await installed(broker.bootstrap, prefix)
    command = [sys.executable, "-P", "-m", "tests.kafka_tests.promoting"]
    command += [settings.brokers, settings.prefix, str(data / LOG_FILE)]
    chance = random.Random(7)
    bites = _bites(data)
    kills = 0
    while kills < 12:
        # Half of them inside the first bites, where little stands yet.
        until = chance.randint(0, 4) if kills % 2 else chance.randint(5, bites)
        died = await asyncio.to_thread(_killed, command, until, chance.uniform(0, 0.02))
        kills += died
        if not died:
            break
    assert kills >= 5
    if died:
        assert (await promoted(settings, data / LOG_FILE)).resumed
    assert await whole(settings) == await whole(calm)
    with pytest.raises(Refused, match="already, and all of it"):
        await promoted(settings, data / LOG_FILE)


def _bites(data: Path) -> int:
    log = SqliteLog(data / LOG_FILE, read_only=True)
    try:
        return log.head(0) // 7
    finally:
        log.close()


def _killed(command: list[str], until: int, then_s: float) -> bool:
    """Let it say so many lines, and kill it; False where it ended before."""
    with subprocess.Popen(
        command, cwd=processes.ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        said = []
        for _ in range(until):
            said.append(process.stdout.readline())
        time.sleep(then_s)
        process.kill()
        code = process.wait()
        assert code in (0, -signal.SIGKILL), "".join(said) + process.stdout.read()
        return code != 0


# ---- refused -------------------------------------------------------------------------------------


async def test_a_worker_does_not_work_on_half_a_promotion(
    broker: Cluster, prefix: str, tmp_path: Path
) -> None:
    settings = await installed(broker.bootstrap, prefix)
    half = Promotion(source="a log", state="begun", bases=(0,) * PARTITIONS, phase="events")
    rows = [wire.promotion_row(half, partition=p) for p in range(PARTITIONS)]
    await written(settings, [*rows, audit_row(half, actor="a-test")])
    await processes.activate(settings, partitions=PARTITIONS, at_ms=time.time_ns() // 1_000_000)
    for role, code in (("sessions", 70), ("model", 1)):
        env = processes.environment(settings, tmp_path)
        out = tmp_path / f"{role}.log"
        command = [*processes.sessions_command()[:-1], role]
        with processes.running(command, env, log=out) as worker:
            assert await asyncio.to_thread(worker.wait, 30) == code, out.read_text()
        assert "the copy is not finished" in out.read_text()


async def test_what_is_not_this_promotions_is_refused(
    broker: Cluster, prefix: str, data: Path
) -> None:
    path = data / LOG_FILE
    used = await installed(broker.bootstrap, f"{prefix}-used")
    await processes.activate(used, partitions=PARTITIONS, at_ms=1)
    async with appending(used) as appender:
        said = embedded_logs.routes(data_dir.keys(data)).message(
            embedded_logs.incoming("hello", who="a person", id="1"), now_ms=appender.now_ms()
        )
        await appender.append(said.append)
    with pytest.raises(Refused, match="holds conversations already"):
        await promoted(used, path)
    worked = await installed(broker.bootstrap, f"{prefix}-worked")
    await written(worked, [wire.watermark_row(0, partition=1)])
    with pytest.raises(Refused, match="holds records already"):
        await promoted(worked, path)
    # Control records of `topics create` are no conversations.
    fresh = await installed(broker.bootstrap, f"{prefix}-fresh")
    await processes.activate(fresh, partitions=PARTITIONS, at_ms=1)
    await promoted(fresh, path)
    values = [record.value for record in await everything(fresh, T.SESSIONS)]
    assert any(b'"state":"finished"' in (value or b"") for value in values)


async def test_a_copy_ends_where_somebody_else_writes_between_its_records(
    broker: Cluster, prefix: str
) -> None:
    settings = await installed(broker.bootstrap, prefix)
    rows = [Row(T.EVENTS, b"a session", b"%d" % n, partition=2) for n in range(3)]
    copier = Copier(settings, T.EVENTS)
    await copier.start()
    try:
        at = dict.fromkeys(range(PARTITIONS), 0)
        await copier.copy(rows, at=at)
        assert at == {0: 0, 1: 0, 2: 3, 3: 0}
        await processes.activate(settings, partitions=PARTITIONS, at_ms=1)
        with pytest.raises(Refused, match=r"conversation\.events:2: somebody else writes there"):
            await copier.copy(rows, at=at)
    finally:
        await copier.stop()


async def test_a_log_that_was_written_on_since_is_another_one(
    broker: Cluster, prefix: str, data: Path
) -> None:
    settings = await installed(broker.bootstrap, prefix)
    log = SqliteLog(data / LOG_FILE)
    with pytest.raises(Refused, match="in use by"):
        await promoted(settings, data / LOG_FILE)
    log.close()
    await promoted(settings, data / LOG_FILE)
    log = SqliteLog(data / LOG_FILE)
    log.claim(0)  # as every engine does that starts
    log.close()
    with pytest.raises(Refused, match="before an engine ran on it again"):
        await promoted(settings, data / LOG_FILE)


async def test_events_that_are_not_applied_are_refused(
    broker: Cluster, prefix: str, data: Path
) -> None:
    settings = await installed(broker.bootstrap, prefix)
    log = SqliteLog(data / LOG_FILE)
    owner = log.claim(0)
    with log.transaction(owner) as batch:
        said = embedded_logs.routes(data_dir.keys(data)).message(
            embedded_logs.incoming("hello", who="a person", id="1"), now_ms=1
        )
        batch.append([said.append], at_ms=1)
    log.close()
    with pytest.raises(Refused, match=r"1 events of .* are not applied yet"):
        await promoted(settings, data / LOG_FILE)


# ---- the command ---------------------------------------------------------------------------------


def test_the_command_looks_first_copies_once_and_a_message_is_traced_with_its_old_times(
    broker: Cluster, prefix: str, data: Path, log: SqliteLog, tmp_path: Path
) -> None:
    settings = KafkaSettings(brokers=broker.bootstrap, prefix=f"{prefix}.")
    env = {
        **processes.environment(settings, tmp_path),
        "AI_ASSISTANT_DATA": str(data),
        "AI_ASSISTANT_KAFKA__PARTITIONS": "3",
        "AI_ASSISTANT_KAFKA__REPLICATION": "1",
    }

    def asked(*words: str, **more: str) -> tuple[int, str]:
        done = CliRunner().invoke(assistant, list(words), env={**env, **more})
        return done.exit_code, done.stdout if "--json" in words else done.output

    assert asked("topics", "create")[0] == 0
    code, said = asked("promote", AI_ASSISTANT_KAFKA__PARTITIONS="4")
    assert (code, "must be 4" in said) == (1, True), said
    data_dir.make(tmp_path / "other.json")
    other = {"AI_ASSISTANT_KAFKA__KEYS_FILE": str(tmp_path / "other.json")}
    code, said = asked("promote", **other)
    assert (code, "does not hold the keys" in said) == (1, True), said
    code, said = asked("promote", "--dry-run", "--json")
    assert (code, json.loads(said)["copied"]) == (0, False), said
    code, said = asked("promote", "--json")
    assert code == 0, said
    told = json.loads(said)
    assert (told["copied"], told["resumed"], told["requests"]) == (True, False, REQUESTS)
    assert told["events"] == log.head(0)
    code, said = asked("promote")
    assert (code, "all of it" in said) == (1, True), said
    said_by_bot = (
        line
        for session_id in sessions_of(log)
        for line in log.lines(session_id, after=0, limit=MANY)
        if line.author == "bot"
    )
    traces = (
        (line, json.loads(asked("trace", line.id, "--json", AI_ASSISTANT_KAFKA__BROKERS="")[1]))
        for line in said_by_bot
    )
    # A greeting's message may still wait for its answer: its trace has no end to compare.
    line, embedded = next((line, trace) for line, trace in traces if trace["ended"])
    code, said = asked("trace", line.id, "--json")
    assert code == 0, said
    cluster = json.loads(said)
    whats = ("appended", "stepped", "outcome", "receipted")
    assert [hop for hop in embedded["hops"] if hop["what"] in whats] == [
        hop for hop in cluster["hops"] if hop["what"] in whats
    ]
