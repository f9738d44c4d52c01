"""The runner roles on a real broker: each request ends in one outcome, whatever moves or dies."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry

from adapters.kafka.appender import Appender
from adapters.kafka.clients import KafkaSettings
from adapters.kafka.records import Row
from deploy.kafka.cluster import Cluster
from engine import codec
from engine.effects import IntentRequest, ModelRequest, PromptLine
from engine.events import Event, IntentFailed
from engine.ids import derive
from models.scripted import Rule, ScriptedModel
from streams import wire
from streams.cluster.assemble import assemble_worker
from streams.cluster.metrics import Metrics
from streams.cluster.performing import Links, Performing
from streams.performers import Performers
from streams.settings import load
from streams.topics import T
from tests.kafka_tests.conftest import started
from tests.kafka_tests.installation import appending, everything, installed, written
from tests.kafka_tests.processes import environment


def asked(n: int, text: str = "hi", *, expires_ms: int = 2**50) -> ModelRequest:
    """A request of a session of its own."""
    session_id = f"webchat:web:k1:s{n}"
    return ModelRequest(
        effect_id=derive(session_id, "effect", n),
        session_id=session_id,
        reply_id=derive(session_id, "reply", n),
        lines=(PromptLine(role="user", text=text),),
        max_tokens=10,
        stream=True,
        expires_ms=expires_ms,
    )


class Counting(ScriptedModel):
    """Counts what it is asked, whoever asks."""

    def __init__(self, asked: Counter[str], rules: Sequence[Rule]) -> None:
        super().__init__(rules)
        self.asked = asked

    async def run(self, request, show):
        self.asked[request.effect_id] += 1
        return await super().run(request, show)


RULES = (
    Rule(pattern="slow", latency_ms=3_000),
    Rule(pattern="frames", frames=("a", "a b", "a b c"), latency_ms=800),
    Rule(pattern="never", latency_ms=None),
)


@asynccontextmanager
async def performing(
    settings: KafkaSettings, instance: str, *, calls: Counter[str] | None = None, calls_max: int = 8
) -> AsyncIterator[Performing]:
    """A started model role with an appender of its own."""
    async with appending(settings, instance=instance) as appender:
        role = model_role(settings, appender, instance, calls=calls, calls_max=calls_max)
        await role.start()
        try:
            yield role
        finally:
            await role.stop(drain_s=5)


def model_role(
    settings: KafkaSettings,
    appender: Appender,
    instance: str,
    *,
    calls: Counter[str] | None = None,
    calls_max: int = 8,
) -> Performing:
    model = Counting(Counter() if calls is None else calls, RULES)
    performers = Performers(now_ms=appender.now_ms, attempt=0, calls_max=calls_max, model=model)
    return Performing(
        T.MODEL,
        performers,
        links=Links(settings, instance, appender),
        calls_max=calls_max,
        metrics=Metrics(CollectorRegistry()),
        outbox=frozenset({"webchat"}),
    )


async def outcomes(
    settings: KafkaSettings, want: int, *, within_s: float = 60, partitions: int = 4
) -> list[Event]:
    """All events in the log, once there are that many."""
    async with asyncio.timeout(within_s):
        while True:
            found = await everything(settings, T.EVENTS, partitions=partitions)
            if len(found) >= want:
                return [codec.decode_event(record.value or b"") for record in found]
            await asyncio.sleep(0.1)


async def until(true, *, within_s: float = 20) -> None:
    async with asyncio.timeout(within_s):
        while not true():
            await asyncio.sleep(0.02)


def rows(requests: Sequence[ModelRequest]) -> list[Row]:
    return [wire.request_row(request) for request in requests]


async def test_each_request_ends_in_one_outcome_and_is_not_done_again(
    broker: Cluster, prefix: str
) -> None:
    settings = await installed(broker.bootstrap, prefix)
    calls: Counter[str] = Counter()
    requests = [asked(n) for n in range(300)]
    async with performing(settings, "a", calls=calls):
        await written(settings, rows(requests))
        events = await outcomes(settings, 300)
    assert Counter(e.effect for e in events) == Counter(r.effect_id for r in requests)
    assert {e.type for e in events} == {"ModelReplied"}
    async with performing(settings, "a", calls=calls) as role:  # the same place in the group
        await until(lambda: not role.ready)
        await written(settings, rows([asked(300)]))
        assert len(await outcomes(settings, 301)) == 301
    assert set(calls.values()) == {1}


async def test_a_second_copy_and_what_was_cancelled_are_not_performed(
    broker: Cluster, prefix: str
) -> None:
    settings = await installed(broker.bootstrap, prefix)
    calls: Counter[str] = Counter()
    never, later, twice = asked(1, "never"), asked(2), asked(3, "frames")
    async with performing(settings, "a", calls=calls) as role:
        await until(lambda: not role.ready)
        # Its cancel may be read before the request itself.
        await written(settings, [*rows([never, twice, twice]), wire.cancel_row(later.effect_id)])
        await until(lambda: calls[never.effect_id] and later.effect_id in role._over)
        await written(settings, [*rows([later, twice]), wire.cancel_row(never.effect_id)])
        await until(lambda: not role.in_hand)
        await written(settings, rows([twice]))
        await written(settings, rows([asked(4)]))
        events = await outcomes(settings, 2)
        await until(lambda: not role.in_hand)
    assert sorted(e.effect or "" for e in events) == sorted([twice.effect_id, asked(4).effect_id])
    assert calls == Counter([r.effect_id for r in (never, twice, asked(4))])
    frames = [wire.frame_of(r.value) for r in await everything(settings, T.FRAMES)]
    assert frames
    assert frames[-1].text in ("a", "a b", "a b c")


async def test_a_cancel_that_is_no_text_cancels_nothing_and_ends_nobody(
    broker: Cluster, prefix: str
) -> None:
    settings = await installed(broker.bootstrap, prefix)
    never, now = asked(1, "never"), asked(2)
    async with performing(settings, "a") as role:
        await until(lambda: not role.ready)
        await written(settings, rows([never]))
        await until(lambda: role.in_hand)
        alien = [Row(T.CANCEL, b"k", b"\xff\xfe"), Row(T.CANCEL, b"k", None)]
        await written(settings, [*alien, wire.cancel_row(never.effect_id)])
        await until(lambda: not role.in_hand)
        await written(settings, rows([now]))
        (event,) = await outcomes(settings, 1)
        assert not role.ready
    assert event.effect == now.effect_id


async def test_a_worker_of_the_role_model_answers_for_the_recogniser_too(
    broker: Cluster, prefix: str, tmp_path: Path
) -> None:
    """Whoever has none configured says so at once: its session must not wait for a deadline."""
    settings = await installed(broker.bootstrap, prefix)
    env = environment(settings, tmp_path, instance="model-0")
    worker = assemble_worker(load(None, env), ["model"], env=env)
    session_id = "webchat:web:k1:s1"
    request = IntentRequest(
        effect_id=derive(session_id, "effect", 1),
        session_id=session_id,
        text="hi",
        expires_ms=2**50,
    )
    await worker.appender.start()
    try:
        for role in worker.roles:
            await role.start()
        await written(settings, [wire.request_row(request)])
        (event,) = await outcomes(settings, 1)
        await until(lambda: not any(role.ready for role in worker.roles))
    finally:
        for role in worker.roles:
            await role.stop(drain_s=5)
        await worker.appender.stop()
    assert (event.effect, event.body) == (
        request.effect_id,
        IntentFailed(reason="refused", detail="no runner for this is configured"),
    )


async def test_what_expired_unstarted_says_so(broker: Cluster, prefix: str) -> None:
    settings = await installed(broker.bootstrap, prefix)
    async with performing(settings, "a"):
        await written(settings, rows([asked(1, expires_ms=1)]))
        (event,) = await outcomes(settings, 1)
    assert (event.type, event.body.reason) == ("ModelFailed", "expired")


async def test_calls_go_on_here_when_their_partition_moves(broker: Cluster, prefix: str) -> None:
    settings = await installed(broker.bootstrap, prefix)
    first: Counter[str] = Counter()
    second: Counter[str] = Counter()
    requests = [asked(n, "slow") for n in range(8)]
    async with performing(settings, "a", calls=first, calls_max=16) as a:
        await written(settings, rows(requests))
        await until(lambda: len(first) == 8)
        async with performing(settings, "b", calls=second, calls_max=16) as b:
            await until(lambda: not b.ready and len(a._queue.partitions) == 2)
            await until(lambda: not a.in_hand and not b.in_hand and bool(second))
            await written(settings, rows([asked(n) for n in range(8, 40)]))
            events = await outcomes(settings, 40 + len(second) - len(set(second) - set(first)))
            await until(lambda: not a.in_hand and not b.in_hand)
    effects = {e.effect for e in await outcomes(settings, 40)}
    assert effects == {asked(n).effect_id for n in range(40)}
    assert set(first.values()) == {1}
    assert len(events) >= 40
    # Started anew elsewhere: with the same id of the outcome, so that the session takes one.
    moved = Counter(e.id for e in events if e.effect in second and e.effect in first)
    assert len(moved) == len({e for e in second if e in first})


async def test_an_outcome_whose_offset_was_never_committed_is_told_again_with_its_id(
    broker: Cluster, prefix: str
) -> None:
    settings = await installed(broker.bootstrap, prefix, partitions=1)
    calls: Counter[str] = Counter()
    async with appending(settings) as appender:
        role = model_role(settings, appender, "a", calls=calls)
        role._queue.commit = lambda: asyncio.sleep(0)  # type: ignore[method-assign]
        await role.start()
        await written(settings, rows([asked(1)]))
        await outcomes(settings, 1, partitions=1)
        await role.stop(drain_s=1)  # as dead: appended, and nothing committed
    async with performing(settings, "a", calls=calls):
        events = await outcomes(settings, 2, partitions=1)
    assert len({e.id for e in events}) == 1
    assert calls[asked(1).effect_id] == 2


async def test_a_broker_that_dies_under_it_costs_nothing(prefix: str) -> None:
    with started() as cluster:
        settings = await installed(cluster.bootstrap, prefix)
        requests = [asked(n, "frames") for n in range(200)]
        async with performing(settings, "a", calls_max=20) as role:
            await written(settings, rows(requests))
            await until(lambda: role.in_hand > 0)
            await asyncio.sleep(1)
            cluster.brokers[0].kill()
            await asyncio.sleep(2)
            cluster.brokers[0].start()
            await asyncio.to_thread(cluster.brokers[0].wait_ready)
            events = await outcomes(settings, 200, within_s=90)
            await role.stop(drain_s=5)
    assert {e.effect for e in events} == {r.effect_id for r in requests}
    assert len({e.id for e in events}) == 200
