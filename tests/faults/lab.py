"""One installation under test, from its brokers to the people, and what is done to it.

Faults (`catalogue`) call `kill`, `restart` and their like, between which people talk; `rest` waits
until everything is done. What a fault may do to a process is here, so that each blow is noted with
its time and with whom it concerned; what became of it is read from the people, in `recovery`.
"""

import asyncio
import os
import random
import sys
import time
from asyncio.subprocess import PIPE, STDOUT
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from adapters.kafka.clients import KafkaSettings
from deploy.kafka.cluster import Cluster, Plan
from tests.crash.engines import ROOT
from tests.crash.people import Habits, Person
from tests.faults.crew import Crew, End, Post, Worker
from tests.faults.network import Network
from tests.faults.records import Records
from tests.faults.shim.lab_skill import WORD
from tests.faults.small_disk import SmallDisk

PREFIX = "lab."
PARTITIONS = 4
ROLES = {"ingress": 2, "sessions": 2, "model": 2, "skill": 1, "egress": 1, "clock": 1}
SKILL = "skill"
SHIM = Path(__file__).parent / "shim"
REST_WITHIN_S = 180.0
LOOK_S = 0.5
BETWEEN_S = 0.05
QUICK_TALK = Habits(think_s=0.25)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What is built: brokers, processes of each role, and how people talk.

    `session_timeout_s`: of the workers. `disk_mb`: of the brokers' disk, a small one of its own.
    `far`: the second worker of each role reaches its broker through a network that can be cut.
    `env`: of all processes.
    """

    brokers: int = 1
    roles: Mapping[str, int] = field(default_factory=lambda: dict(ROLES))
    people: int = 60
    habits: Habits = QUICK_TALK
    session_timeout_s: float = 30.0
    disk_mb: int = 0
    far: bool = False
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(kw_only=True)
class Blow:
    """One thing that was done. `people`: those whom it concerns; None: it is its partitions'.

    `measured`: from here to the first new reply is a recovery time.
    """

    what: str
    at_s: float
    people: frozenset[int] | None = None
    measured: bool = True
    ready_s: float | None = None


class Lab:
    """One run's installation. `async with` starts it, and leaves nothing behind."""

    def __init__(self, folder: Path, *, shape: Shape, seed: int) -> None:
        self.folder = folder
        self.shape = shape
        self.chance = random.Random(seed)
        self._seed = seed
        self.disk = SmallDisk(folder / "disk", mb=shape.disk_mb) if shape.disk_mb else None
        self.network = Network() if shape.far else None
        self.cluster = Cluster(self._plan())
        self.kafka = KafkaSettings(brokers=self.cluster.bootstrap, prefix=PREFIX)
        self.crew = Crew(folder, self._env())
        self.records = Records(self.kafka, partitions=PARTITIONS)
        self.people: list[Person] = []
        self.blows: list[Blow] = []
        self.broken: list[str] = []
        self.allowed: set[str] = set()  # instances that may end by themselves
        self.notes: Counter[str] = Counter()
        self.poison: set[str] = set()  # ids of messages that have to become dead letters
        self.rubbish: set[tuple[int, int]] = set()  # where in the log what is no event stands
        self._lives: list[asyncio.Task[None]] = []
        self._clerk: asyncio.Task[None] | None = None

    # ---- life ------------------------------------------------------------------------------------

    async def __aenter__(self) -> "Lab":
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _start(self) -> None:
        if self.disk is not None:
            self.disk.mount()
        if self.network is not None:
            await self.network.open()
        await asyncio.to_thread(self.cluster.start)
        await self._install()
        for role, count in self.shape.roles.items():
            for number in range(count):
                self.crew.add(Post(role=role, number=number, env=self._way(number)))
        await self.crew.start()
        await self.records.open()
        urls = [worker.url for worker in self.crew.of("ingress")]
        self.people = [
            Person(f"person{n:02}", urls, seed=self._seed, habits=self._habits())
            for n in range(self.shape.people)
        ]
        self._lives = [asyncio.create_task(person.live()) for person in self.people]

    async def close(self) -> None:
        """End everything, in whatever state it is."""
        await self._hush()
        await self.crew.close()
        with suppress(Exception):
            await self.records.close()
        await asyncio.to_thread(self.cluster.kill)
        if self.network is not None:
            await self.network.close()
        if self.disk is not None:
            self.disk.unmount()

    def _plan(self) -> Plan:
        folder, brokers = self.folder / "kafka", self.shape.brokers
        if self.disk is not None:
            return Plan(folder=folder, settings={"log.dirs": str(self.disk.folder / "log")})
        if self.network is not None:
            network = self.network
            return Plan(folder=folder, ports=network.ports, settings=network.settings)
        return Plan(folder=folder, brokers=brokers)

    def _habits(self) -> Habits:
        habits = self.shape.habits
        if SKILL not in self.shape.roles:
            return habits
        return replace(habits, begins=(*habits.begins, f"{WORD} "))

    def _way(self, number: int) -> dict[str, str]:
        if self.network is None or number == 0:
            return {}
        return {"AI_ASSISTANT_KAFKA__BROKERS": self.network.address}

    def _env(self) -> dict[str, str]:
        none = self.folder / "config"
        none.mkdir(parents=True, exist_ok=True)
        path = os.pathsep.join([str(SHIM), *filter(None, sys.path)])
        return {
            **os.environ,
            "PYTHONPATH": path,
            "AI_ASSISTANT_CONFIG": str(none),
            "AI_ASSISTANT_KAFKA__BROKERS": self.cluster.bootstrap,
            "AI_ASSISTANT_KAFKA__PREFIX": PREFIX,
            "AI_ASSISTANT_KAFKA__PARTITIONS": str(PARTITIONS),
            "AI_ASSISTANT_KAFKA__REPLICATION": str(self.shape.brokers),
            "AI_ASSISTANT_KAFKA__SESSION_TIMEOUT_S": str(self.shape.session_timeout_s),
            "AI_ASSISTANT_KAFKA__KEYS_FILE": str(self.folder / "keys.json"),
            "AI_ASSISTANT_OPERATORS__TOKEN": "a token that nobody uses, 32 letters or more",
            "AI_ASSISTANT_MODEL__KIND": "scripted",
            "AI_ASSISTANT_MODEL__CALLS_MAX": "64",
            "AI_ASSISTANT_SKILLS__ENABLED": '["echo"]' if SKILL in self.shape.roles else "[]",
            "AI_ASSISTANT_SERVER__DRAIN_S": "5",
            **self.shape.env,
        }

    async def _install(self) -> None:
        """Topics, the active flow of each partition, and the keys that gateways share."""
        for command in (("keys", "create", str(self.folder / "keys.json")), ("topics", "create")):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "console.main", *command),
                env=self._env(),
                cwd=ROOT,
                stdout=PIPE,
                stderr=STDOUT,
            )
            said, _ = await process.communicate()
            if process.returncode != 0:
                raise RuntimeError(f"{command}: {said.decode(errors='replace')}")

    # ---- talk ------------------------------------------------------------------------------------

    @property
    def said(self) -> int:
        """Messages so far."""
        return sum(person.said for person in self.people)

    async def talk(self, messages: int, *, within_s: float = 600.0) -> None:
        """Return when so many were said in all. Raises TimeoutError."""
        until_s = time.monotonic() + within_s
        while self.said < messages:
            if time.monotonic() > until_s:
                raise TimeoutError(f"only {self.said} of {messages} messages in {within_s:g} s")
            await asyncio.sleep(BETWEEN_S)

    async def wait(self, least_s: float, most_s: float) -> None:
        """A random while."""
        await asyncio.sleep(self.chance.uniform(least_s, most_s))

    # ---- blows -----------------------------------------------------------------------------------

    def one_of(self, role: str) -> Worker:
        """Any worker of the role."""
        return self.chance.choice(self.crew.of(role))

    def blow(self, what: str, *workers: Worker, measured: bool = True) -> Blow:
        """Note what is done now, and to whom."""
        gateways = {worker.url for worker in workers if worker.post.role == "ingress"}
        people = None
        if gateways:
            people = frozenset(n for n, p in enumerate(self.people) if p.at in gateways)
        blow = Blow(what=what, at_s=time.monotonic(), people=people, measured=measured)
        self.blows.append(blow)
        return blow

    async def kill(self, worker: Worker) -> None:
        """SIGKILL; it is started again at once. Returns when it is ready."""
        blow = self.blow(f"kill {worker.post.role}", worker)
        await worker.kill()
        await asyncio.sleep(0)  # its successor
        await self._back(worker, blow)

    async def restart(self, worker: Worker) -> None:
        """SIGTERM, and started again once it has ended. Returns when it is ready."""
        blow = self.blow(f"restart {worker.post.role}", worker)
        await worker.restart()
        await self._back(worker, blow)

    async def _back(self, worker: Worker, blow: Blow) -> None:
        lives = len(worker.ends)
        with suppress(TimeoutError):
            async with asyncio.timeout(5):
                while worker.process is None or not worker.living or len(worker.ends) < lives:
                    await asyncio.sleep(BETWEEN_S)
        await worker.ready()
        blow.ready_s = time.monotonic() - blow.at_s

    # ---- the end ---------------------------------------------------------------------------------

    def may_end(self, *workers: Worker) -> None:
        """These may end by themselves from now on: they are started again."""
        self.allowed |= {worker.post.instance for worker in workers or self.crew.workers}

    async def rest(self) -> None:
        """Nobody says anything more; wait until all is done; let everybody read to the end."""
        for person in self.people:
            person.talking = False
        until_s = time.monotonic() + REST_WITHIN_S
        while unrest := await self._unrest():
            if time.monotonic() > until_s:
                self.broken.append(f"not at rest {REST_WITHIN_S:g} s after the last blow: {unrest}")
                break
            await asyncio.sleep(LOOK_S)
        await self._hush()
        heads = self.records.heads()
        for person in self.people:
            try:
                await person.read_to(heads)
            except TimeoutError:
                self.broken.append("somebody could not read to the end within 30 s")
        await asyncio.gather(*(worker.dismiss() for worker in self.crew.workers))
        await self.records.read()
        self.notes["ended by themselves"] = sum(
            not (end.killed or end.asked) for end in self.crew.ends
        )
        self.broken += [f"{e.instance} ended: {e.code}, {e.last}" for e in self._surprises()]

    async def _unrest(self) -> str:
        unsettled = sum(not person.settled for person in self.people)
        if unsettled:
            return f"{unsettled} people have messages that were not acknowledged"
        await self.records.read()
        return self.records.unrest()

    async def _hush(self) -> None:
        """End the people's lives; one that had ended before by itself is no witness."""
        for life in self._lives:
            if life.done() and not life.cancelled():
                self.broken.append(f"a person is gone: {life.exception()!r}")
            life.cancel()
        await asyncio.gather(*self._lives, return_exceptions=True)
        self._lives.clear()

    def _surprises(self) -> list[End]:
        """Ends that nobody brought about, and orderly ones that were not in order."""
        return [
            end
            for end in self.crew.ends
            if not end.killed and end.code != 0 and end.instance not in self.allowed
        ]
