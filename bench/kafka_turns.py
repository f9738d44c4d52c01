"""`python -m bench.kafka_turns`: what a turn costs on Kafka, ours and the peers', on one broker.

A turn: a message is appended, the model is asked (scripted, no latency), its answer is durable, the
reply's line is committed and read by the driver. Workers and broker are processes as they are
deployed; the driver is this process, and counts nowhere. `--peers` measures a plain Faust agent and
Quix Streams in the same run. `bench/README.md` says how to install them.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict, dataclass, field

from bench.kafka import aims, flat, recovery, share
from bench.kafka.aims import Figures
from bench.kafka.contestants import PARTITIONS, PEERS, Contestant, Size, ours, peer
from bench.kafka.driver import Driver, LostReplies, Measured
from bench.kafka.meter import GroupMeter
from bench.kafka.processes import ProcessFailed
from bench.load import LOW_RATE, LOW_SESSIONS, closed_sessions, fresh, percentile
from deploy.kafka.cluster import Cluster, Plan

PARTS = ("turns", "sustained", "share", "recovery", "flat")
LOADS = ("sat1000", "sat4000", "low")
WARM_S = 4.0
LONG_WARM_S = 20.0
BROKER_WARM_S = 40.0
"""Its Java compiles what it does often; whoever came first would pay for that."""
SUSTAINED_SESSIONS = 4_000
JAVA = ("-XX:+UseSerialGC",)
"""As a broker is run for throughput: with the compiler that a quick start leaves out."""
BROKER = {"num.network.threads": "2", "num.io.threads": "4"}
HEAP_MB = 512


@dataclass(kw_only=True)
class Wanted:
    """The command line."""

    json: bool
    peers: bool
    seconds: float
    minutes: float
    rate: float
    profile: str
    partitions: int
    workers: int
    parts: Sequence[str]
    loads: Sequence[str]
    runs: list[Figures] = field(default_factory=list)
    failed: bool = False


def main() -> int:
    """Measure, print; 1 where a contestant failed."""
    wanted = _parsed()
    folder = fresh("kafka")
    plan = Plan(folder=folder, settings=BROKER, heap_mb=HEAP_MB, java_options=JAVA)
    cluster = Cluster(plan)
    try:
        cluster.start()
        more = asyncio.run(_measured(wanted, cluster))
    finally:
        cluster.kill()
        fresh("kafka")
    found = aims.summary(wanted.runs, more)
    if wanted.json:
        print(json.dumps({**found, "runs": [asdict(run) for run in wanted.runs]}))
    else:
        aims.show(wanted.runs, found)
    return int(wanted.failed)


def _parsed() -> Wanted:
    parser = argparse.ArgumentParser(prog="python -m bench.kafka_turns", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--peers", action="store_true", help="a Faust agent and Quix Streams too")
    parser.add_argument("--seconds", type=float, default=20, help="for each load (default 20)")
    parser.add_argument("--minutes", type=float, default=5, help="of the sustained load")
    parser.add_argument("--rate", type=float, default=1_160, help="its messages a second")
    parser.add_argument("--partitions", type=int, default=PARTITIONS, help="of our topics")
    parser.add_argument("--workers", type=int, default=1, help="of ours, of the role sessions")
    parser.add_argument("--profile", default="", choices=("", "sessions", "model"), help="cProfile")
    parser.add_argument(
        "--part", action="append", dest="parts", choices=PARTS, help="only this; may be repeated"
    )
    parser.add_argument(
        "--load", action="append", dest="loads", choices=LOADS, help="of the turns, only this"
    )
    given = vars(parser.parse_args())
    chosen = {"parts": given["parts"] or PARTS, "loads": given["loads"] or LOADS}
    return Wanted(**{**given, **chosen})


async def _measured(wanted: Wanted, cluster: Cluster) -> dict[str, object]:
    """All that was asked for; what is no load is returned."""
    brokers, more = cluster.bootstrap, {}
    if {"turns", "sustained"} & set(wanted.parts):
        async with _driven(wanted, "ours", cluster) as (driver, meter):
            await driver.busy(1_000, warm_s=0, seconds=BROKER_WARM_S, meter=meter)
    if "turns" in wanted.parts:
        await _turns(wanted, cluster)
    if "sustained" in wanted.parts:
        async with _driven(wanted, "ours", cluster) as (driver, meter):
            measured = await driver.steady(
                wanted.rate,
                sessions=SUSTAINED_SESSIONS,
                warm_s=LONG_WARM_S,
                seconds=wanted.minutes * 60,
                meter=meter,
            )
            _keep(wanted, "ours", measured, what="sustained")
    if "share" in wanted.parts:
        more |= {"faust": await share.measured(brokers)}
    if "recovery" in wanted.parts:
        more |= {"recovery": await recovery.measured(brokers)}
    if "flat" in wanted.parts:
        more |= {"event_us_by_sessions": flat.measured()}
    return more


async def _turns(wanted: Wanted, cluster: Cluster) -> None:
    """Ours before and after the peers, each at full load and at a quiet office's."""
    for name in ("ours", *PEERS, "ours") if wanted.peers else ("ours",):
        try:
            async with _driven(wanted, name, cluster) as (driver, meter):
                for load in wanted.loads:
                    measured = await _load(driver, meter, load, wanted.seconds)
                    _keep(wanted, name, measured, what=load)
        except (ProcessFailed, LostReplies) as error:
            print(f"{name}: {error}", file=sys.stderr)
            wanted.failed = True


async def _load(driver: Driver, meter: GroupMeter, what: str, seconds: float) -> Measured:
    sessions = closed_sessions(what)
    if sessions is not None:
        return await driver.busy(sessions, warm_s=WARM_S, seconds=seconds, meter=meter)
    return await driver.steady(
        LOW_RATE, sessions=LOW_SESSIONS, warm_s=1, seconds=seconds, meter=meter
    )


@asynccontextmanager
async def _driven(
    wanted: Wanted, name: str, cluster: Cluster
) -> AsyncIterator[tuple[Driver, GroupMeter]]:
    """A contestant that has had its first turn, and what it is measured with."""
    prefix = f"{name}-{time.time_ns()}."
    made: AbstractAsyncContextManager[Contestant]
    if name == "ours":
        size = Size(partitions=wanted.partitions, workers=wanted.workers)
        made = ours(cluster.bootstrap, prefix, size=size, profile=wanted.profile)
    else:
        made = peer(name, cluster.bootstrap, prefix=prefix)
    async with made as contestant, Driver(contestant.kafka, contestant.route) as driver:
        await driver.first()
        groups = {role: [process.pid] for role, process in contestant.processes.items()}
        yield driver, GroupMeter({"broker": [cluster.brokers[0].pid], **groups})


def _keep(wanted: Wanted, name: str, measured: Measured, *, what: str = "") -> None:
    spent, turns = measured.spent, measured.turns
    if not turns:
        raise LostReplies(f"no reply at {measured.what}")
    figures = Figures(
        peer=name,
        what=what or measured.what,
        turns=turns,
        turns_s=round(turns / spent.wall_s, 1),
        cpu_us_turn=round(spent.total_cpu_s / turns * 1e6, 1),
        cpu_us_by={who: round(s / turns * 1e6, 1) for who, s in spent.cpu_s.items()},
        p50_ms=_ms(measured.latencies_s, 0.5),
        p99_ms=_ms(measured.latencies_s, 0.99),
        appended_p50_ms=_ms(measured.appended_s, 0.5),
        appended_p99_ms=_ms(measured.appended_s, 0.99),
        memory_mb=dict(spent.memory_mb),
        driver_cores=spent.driver_cores,
        foreign_cores=spent.foreign_cores,
    )
    wanted.runs.append(figures)
    print(json.dumps(asdict(figures)), file=sys.stderr, flush=True)


def _ms(values_s: Sequence[float], share: float) -> float:
    return round(percentile(values_s, share) * 1e3, 2)


if __name__ == "__main__":
    sys.exit(main())
