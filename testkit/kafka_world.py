"""A cluster as a world: the roles of `streams.cluster` over a real broker, driven from outside.

Each role is a process of its own here, in one event loop. What they write they write to the broker:
events for real, each step and each mark in a transaction of its partition's owner. A crash ends one
process at a crash point, and the next one recovers from the topics; a zombie goes on until the
broker fences it. What judges see is read back by a consumer of its own. `testkit.kafka_parts` says
what is simulated; what it has in common with the embedded host's world is `host_world`.

Needs the extra `kafka` and brokers; nothing else of the kit imports this.
"""

from random import Random

from adapters.kafka.clients import KafkaSettings
from engine.effects import RunnerRequest
from engine.errors import Unavailable
from engine.flow import Flow
from streams.cluster.gateway import ClusterGateway
from testkit import stimuli
from testkit.embedded_deaths import Died
from testkit.host_world import HostWorld
from testkit.kafka_cluster import PROCESSES, KafkaCluster, Kind
from testkit.kafka_edges import ClockProcess, EgressProcess, IngressProcess
from testkit.kafka_log import KafkaLog
from testkit.kafka_processes import RunnersProcess, SessionsProcess
from testkit.script import Script
from testkit.stimuli import AnyStimulus

MOVES: tuple[Kind, ...] = (SessionsProcess, EgressProcess, RunnersProcess, ClockProcess)
"""Whose partition moves: the i-th, modulo their number."""


class KafkaWorld(HostWorld):
    """One run of `flow` on topics of its own. Close it, or use it as a context manager.

    `kafka`: where the brokers are, with a prefix that nobody else has. `limit`: max requests and
    period ms of the account. Once closed, the topics stay.
    """

    _untold = (Unavailable, Died)

    def __init__(
        self,
        flow: Flow,
        *,
        script: Script,
        kafka: KafkaSettings,
        seed: int = 0,
        idempotent: bool = True,
        limit: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(flow, script=script, seed=seed, idempotent=idempotent, limit=limit)
        self._rng = Random(seed)
        self._cluster = KafkaCluster(
            kafka,
            flow,
            platform=self._platform,
            ingress=self._scene.ingress,
            seed=seed,
            limit=limit,
        )
        self._seen = self._cluster.seen
        self._time = self._cluster.time
        self._deaths = self._cluster.deaths
        self._calls = self._cluster.calls
        self._loop.run_until_complete(self._cluster.begin())

    # ---- what `HostWorld` asks ---------------------------------------------------------------

    @property
    def _broke_ms(self) -> int:
        return self._cluster.broke_ms

    @_broke_ms.setter
    def _broke_ms(self, at_ms: int) -> None:
        self._cluster.broke_ms = at_ms

    @property
    def _log(self) -> KafkaLog:
        return self._cluster.log

    @property
    def _door(self) -> ClusterGateway:
        gateway = self._cluster.owners[IngressProcess]
        assert isinstance(gateway, IngressProcess)
        return gateway.gateway

    def _log_ms(self) -> int:
        return self._cluster.log_ms()

    def _door_ms(self) -> int:
        return self._cluster.owners[IngressProcess].now_ms()

    def _runners_ms(self) -> int:
        return self._cluster.owners[RunnersProcess].now_ms()

    def _due_ms(self) -> int | None:
        return self._cluster.due_ms()

    async def _settle(self) -> None:
        await self._cluster.settle()

    async def _advance(self, to_ms: int) -> None:
        await self._cluster.advance(to_ms)

    async def _after(self) -> None:
        await self._cluster.settle()
        await self._pass(0)

    async def _wait(self, ms: int | None) -> None:
        await self._cluster.settle()
        await super()._wait(ms)

    async def _late(self, request: RunnerRequest) -> None:
        late, seen = self._scene.late(request, now_ms=self._runners_ms())
        self._seen += seen
        await self._cluster.owners[RunnersProcess].appender.append(late)

    def _mend(self) -> None:
        self._cluster.disk.fails = self._cluster.zombie_at_call = False

    async def _come_to_rest(self) -> None:
        await self._cluster.bury_zombies()
        await super()._come_to_rest()

    async def _end(self) -> None:
        await self._cluster.end()

    def _is_wanted(self, error: object) -> bool:
        """Nor has a producer that was fenced anything to say: its transaction has said it, and the
        client's own futures say it again."""
        return super()._is_wanted(error) or type(error).__name__ == "ProducerFenced"

    # ---- faults ------------------------------------------------------------------------------

    async def _fault(self, stimulus: AnyStimulus) -> None:
        match stimulus:
            case stimuli.Platform(how=how):
                self._platform.moods.append(how)
                self._cluster.note(f"the platform is {how}")
            case stimuli.Disk():
                self._cluster.disk.fails = True
                self._cluster.note("the next transaction fails")
            case stimuli.Crash(point=point):
                self._cluster.deaths.armed.append(point)
            case stimuli.Move(i=i):
                await self._cluster.move(MOVES[i % len(MOVES)], leaves_zombie=False)
            case stimuli.Zombie(i=i):
                await self._zombie(MOVES[i % len(MOVES)])
            case stimuli.Skew(i=i, ms=ms):
                self._cluster.jump(PROCESSES[i % len(PROCESSES)], ms)
                self._cluster.note(f"a wall clock jumps by {ms} ms")
            case _:
                pass

    async def _zombie(self, kind: Kind) -> None:
        """Egress loses its partition at once, or between its next mark and the call."""
        if kind is EgressProcess and self._rng.random() < 0.5:
            self._cluster.zombie_at_call = True
        else:
            await self._cluster.move(kind, leaves_zombie=True)
