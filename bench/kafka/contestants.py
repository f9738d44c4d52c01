"""Who takes the load: our workers as they are deployed, and the peers, on topics of their own."""

import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from adapters.kafka.admin import Wanted, create_topics
from adapters.kafka.clients import KafkaSettings
from adapters.kafka.records import Fetched
from bench.kafka.driver import Route
from bench.kafka.processes import ROOT, Process, ProcessFailed, running, said_by
from bench.load import LOCAL, fresh, text
from engine import codec
from engine.events import Address, Event, MessageReceived
from engine.ids import message_event_id
from streams.topics import BY_NAME, T

PARTITIONS = 4
SAID = text(0).partition("#")[0].encode()
OURS = "webchat:bench"
PEERS = {"faust": "faust_agent.py", "quix": "quix_app.py"}
PEER_TOPICS = ("in", "effects", "outcomes", "egress")
BROKER_TIME = {"message.timestamp.type": "LogAppendTime"}
"""So that what the driver takes from a reply's record is when it was appended."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """Of our installation: the partitions of its topics, and its sessions workers."""

    partitions: int = PARTITIONS
    workers: int = 1


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """One that runs. `processes`: by name."""

    name: str
    kafka: KafkaSettings
    route: Route
    processes: Mapping[str, Process]


# ---- ours ----------------------------------------------------------------------------------------


@asynccontextmanager
async def ours(
    brokers: str, prefix: str, *, size: Size = Size(), profile: str = ""
) -> AsyncIterator[Contestant]:
    """Workers of the role sessions and one of the role model, as processes."""
    env = environment(brokers, prefix, partitions=size.partitions)
    kafka = KafkaSettings(brokers=brokers, prefix=prefix)
    lines = Wanted(T.OUTBOX, size.partitions, 1, {**BY_NAME[T.OUTBOX].config, **BROKER_TIME})
    await create_topics(kafka, [lines])
    install(env)
    roles = {f"sessions-{number}": "sessions" for number in range(size.workers)}
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(running(f"kafka-{name}", worker(role, profile), env=env))
            for name, role in {**roles, "model": "model"}.items()
        }
        for each in workers.values():
            each.wait_ready()
        route = Route(T.EVENTS, T.OUTBOX, our_message, our_reply)
        yield Contestant(name="ours", kafka=kafka, route=route, processes=workers)


def environment(brokers: str, prefix: str, *, partitions: int = PARTITIONS) -> dict[str, str]:
    """All settings of our workers."""
    folder = fresh("kafka-workers")
    (folder / "config").mkdir()
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "AI_ASSISTANT_CONFIG": str(folder / "config"),
        "AI_ASSISTANT_DATA": str(folder / "data"),
        "AI_ASSISTANT_SERVER__BIND": "127.0.0.1:0",
        "AI_ASSISTANT_MODEL__KIND": "scripted",
        "AI_ASSISTANT_MODEL__CALLS_MAX": "64",
        "AI_ASSISTANT_SKILLS__ENABLED": "[]",
        "AI_ASSISTANT_KAFKA__BROKERS": brokers,
        "AI_ASSISTANT_KAFKA__PREFIX": prefix,
        "AI_ASSISTANT_KAFKA__PARTITIONS": str(partitions),
        "AI_ASSISTANT_KAFKA__REPLICATION": "1",
    }


def install(env: Mapping[str, str]) -> None:
    """The topics, and the flow of each partition."""
    said_by(["-m", "console.main", "topics", "create"], env)


def worker(role: str, profile: str = "") -> list[str]:
    """The command line of a worker; `profile`: the role whose process is profiled."""
    command = ["-m", "console.main", "worker", "--role", role]
    if role == profile:
        command = ["-m", "bench.kafka.profiled", str(LOCAL / f"{role}.prof"), *command[2:]]
    return [sys.executable, "-P", *command]


def our_message(session: str, number: int, *, now_ms: int) -> tuple[bytes, bytes]:
    """What a gateway would append: web chat keeps its lines in the log, so no egress is needed."""
    session_id = f"{OURS}:{session}"
    address = Address(channel="webchat", account="bench", conversation=session, sender=session)
    event = Event(
        id=message_event_id(session_id, "bench", message_id=f"m{number}"),
        session_id=session_id,
        at_ms=now_ms,
        source=OURS,
        body=MessageReceived(message_id=f"m{number}", text=text(number), address=address),
    )
    return session_id.encode(), codec.encode(event)


def our_reply(record: Fetched) -> str:
    """The session whose reply this record of the outbox is."""
    value = record.value or b""
    if b'"author":"bot"' not in value:
        return ""
    if SAID not in value:
        raise ProcessFailed(f"this was no reply: {value!r}")
    return record.key.decode().removeprefix(f"{OURS}:")


# ---- peers ---------------------------------------------------------------------------------------


@asynccontextmanager
async def peer(name: str, brokers: str, *, prefix: str) -> AsyncIterator[Contestant]:
    """A peer's two processes, in its own environment."""
    python = LOCAL / name / "bin" / "python"
    if not python.exists():
        raise ProcessFailed(f"{name} is not installed: run bench/peers/setup.sh {name}")
    kafka = KafkaSettings(brokers=brokers, prefix=prefix)
    await create_topics(kafka, [Wanted(topic, PARTITIONS, 1, BROKER_TIME) for topic in PEER_TOPICS])
    folder = fresh(f"kafka-{name}")
    with ExitStack() as stack:
        processes = {
            role: stack.enter_context(_peer_process(name, role, kafka, folder=folder))
            for role in ("sessions", "model")
        }
        route = Route("in", "egress", peer_message, peer_reply)
        yield Contestant(name=name, kafka=kafka, route=route, processes=processes)


def _peer_process(
    name: str, role: str, kafka: KafkaSettings, *, folder: Path
) -> AbstractContextManager[Process]:
    path = ROOT / "bench" / "peers" / PEERS[name]
    command = [str(LOCAL / name / "bin" / "python"), str(path)]
    if name == "faust":
        command += ["-D", str(folder / role), "-L", "uvloop"]
        command += ["worker", "-l", "warn", "--without-web"]
    env = {
        **os.environ,
        "BENCH_ROLE": role,
        "BENCH_GROUP": kafka.prefix,
        "BENCH_BROKERS": kafka.brokers,
        "BENCH_FOLDER": str(folder),
        "BENCH_PARTITIONS": str(PARTITIONS),
    }
    return running(f"kafka-{name}-{role}", command, env=env, cwd=folder)


def peer_message(session: str, number: int, *, now_ms: int) -> tuple[bytes, bytes]:
    """A message as the peers' applications read it."""
    value = {"kind": "message", "s": session, "n": number, "text": text(number)}
    return session.encode(), json.dumps(value).encode()


def peer_reply(record: Fetched) -> str:
    """Every record of theirs is a reply, keyed by its session."""
    return record.key.decode()
