"""Put load on anything that takes turns, and measure what a turn costs.

A *turn* is the one job that every contestant does: a message for a session is durably recorded,
the session goes from idle to thinking, a model stub of zero latency is asked as a durable side
effect, its outcome is recorded, the session goes back to idle with the reply recorded, and only
then does the caller hear of it. Turns of one session come in order; sessions run side by side.

`bench.turns` (ours) and every module in `bench.peers` drive their turns through this file, so
that no difference in a figure comes from the way it was taken. It runs inside the peers' own
environments too: the standard library only, and Linux only, since it reads /proc.
It never knows whose turns it drives.
"""

import asyncio
import os
import shutil
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

REPLY = "Here is what I found for you."
LOW_RATE = 20  # Turns a second: a quiet office, where latency counts and throughput does not.
LOW_SESSIONS = 100
LOCAL = Path(__file__).resolve().parent / ".peers"
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")

# A turn is told its session's id and its number in that session, from 0; it returns when the
# reply is durably recorded, and raises when it was not the reply that was due.
AsyncTurn = Callable[[str, int], Awaitable[None]]
BlockingTurn = Callable[[str, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """Say what one load on one contestant came to.

    `cpu_us_turn` is user and system time of server, workers and the client that makes the load,
    in microseconds. `rss_mb` counts shared pages once (PSS), at the end of the load, in 10^6
    bytes. `foreign_cores` is how many cores others kept busy meanwhile, those that share a
    hypervisor with us included: above about 0.3 the figures are a trial, not a measurement.
    """

    peer: str
    what: str
    turns: int
    turns_s: float
    cpu_us_turn: float
    p50_ms: float
    p99_ms: float
    rss_mb: float
    foreign_cores: float


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """Say how the time of a turn grows with the turns that its session already has.

    Each time is the median of the twenty turns around (`t_last_ms`: before) that turn;
    `growth` is the last over the tenth.
    """

    turns: int
    t10_ms: float
    t100_ms: float
    t_last_ms: float
    growth: float
    total_s: float


def text(number: int) -> str:
    """Return the user's words of a session's turn; all contestants are told the same."""
    return f"hello, what is the state of my order? #{number}"


def fresh(name: str) -> Path:
    """Return an empty directory for a contestant's data; all of them share one file system."""
    directory = LOCAL / "data" / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory


class Meter:
    """Measure wall time and the CPU of processes with all their children, between two calls."""

    def __init__(self, pids: Iterable[int] = ()) -> None:
        """Watch this process and those of `pids`, such as a server's."""
        self._roots = (os.getpid(), *pids)

    def start(self) -> None:
        """Begin: what was used before does not count."""
        self._cpu0_s, self._busy0_s = self._cpu_s(), machine_busy_s()
        self._start_s = time.perf_counter()

    def stop(self, *, peer: str, what: str, latencies_s: Sequence[float]) -> Result:
        """End, and sum up the turns whose latencies are given."""
        wall_s = time.perf_counter() - self._start_s
        cpu_s = self._cpu_s() - self._cpu0_s
        foreign_s = machine_busy_s() - self._busy0_s - cpu_s
        turns = len(latencies_s)
        return Result(
            peer=peer,
            what=what,
            turns=turns,
            turns_s=round(turns / wall_s, 1),
            cpu_us_turn=round(cpu_s / turns * 1e6, 1),
            p50_ms=round(percentile(latencies_s, 0.50) * 1e3, 3),
            p99_ms=round(percentile(latencies_s, 0.99) * 1e3, 3),
            rss_mb=round(sum(map(pss_bytes, self._pids())) / 1e6, 1),
            foreign_cores=round(max(0.0, foreign_s / wall_s), 2),
        )

    def _pids(self) -> set[int]:
        """Return the roots and all that descend from them."""
        parents = {pid: _stat(pid)[1] for pid in _all_pids()}
        found = {pid for pid in self._roots if pid in parents}
        while more := {p for p, parent in parents.items() if parent in found} - found:
            found |= more
        return found

    def _cpu_s(self) -> float:
        """Return the CPU time of all; a child that ended counts on in its parent's."""
        return sum(cpu_clock_s(pid) + sum(_stat(pid)[13:15]) * _TICK_S for pid in self._pids())


def _all_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def cpu_clock_s(pid: int) -> float:
    """Return the CPU time of a process's threads, in seconds, to the nanosecond.

    /proc/PID/stat counts in ticks of 10 ms, which is 25 us a turn at 20 turns/s for 20 s.
    Source: the Linux encoding of clock_getcpuclockid(3), which Python does not have.
    """
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:  # It ended while we looked.
        return 0.0


def _stat(pid: int) -> list[int]:
    """Return /proc/PID/stat from the state's place on: [1] is the parent, [13:15] are the ticks
    of children that ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):  # It ended while we looked.
        return [0] * 20
    return [0, *map(int, fields[1:20])]


def machine_busy_s() -> float:
    """Return the CPU time that the whole machine used (not idle, not waiting), or was denied.

    The fields are user, nice, system, idle, iowait, irq, softirq, steal; what the hypervisor
    steals from a virtual machine is as good as used by somebody else.
    """
    fields = Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]
    return sum(int(ticks) for n, ticks in enumerate(fields) if n not in (3, 4)) * _TICK_S


def pss_bytes(pid: int) -> int:
    with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` (0 to 1) of `values` are below or at."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def closed_sessions(what: str) -> int | None:
    """Return how many busy sessions a load has: "sat1000" → 1000, "low" → None (open loop).

    Raises:
        ValueError: there is no such load.
    """
    if what == "low":
        return None
    if what.startswith("sat") and what[3:].isdecimal() and int(what[3:]):
        return int(what[3:])
    raise ValueError(f"no load {what!r}: say satN (N busy sessions) or low ({LOW_RATE} turns/s)")


async def measure_async(
    peer: str, what: str, *, seconds: float, turn: AsyncTurn, pids: Iterable[int] = ()
) -> Result:
    """Measure a contestant whose turn is a coroutine; `pids` are those of its servers."""
    sessions, meter, tag = closed_sessions(what), Meter(pids), _tag(what)
    meter.start()
    if sessions is None:
        latencies = await open_async(turn, rate=LOW_RATE, seconds=seconds, prefix=tag)
    else:
        latencies = await closed_async(turn, sessions=sessions, seconds=seconds, prefix=tag)
    return meter.stop(peer=peer, what=what, latencies_s=latencies)


def measure_threads(
    peer: str, what: str, *, seconds: float, turn: BlockingTurn, threads: int
) -> Result:
    """Measure a contestant whose turn blocks; it is called from so many threads."""
    sessions, meter, tag = closed_sessions(what), Meter(), _tag(what)
    meter.start()
    if sessions is None:
        latencies = open_threads(turn, rate=LOW_RATE, seconds=seconds, threads=threads, prefix=tag)
    else:
        latencies = closed_threads(
            turn, sessions=sessions, seconds=seconds, threads=threads, prefix=tag
        )
    return meter.stop(peer=peer, what=what, latencies_s=latencies)


def _tag(what: str) -> str:
    """Return a prefix for session ids that no earlier load of this data has used."""
    return f"{what}-{time.time_ns()}-"


async def closed_async(
    turn: AsyncTurn, *, sessions: int, seconds: float, prefix: str = "s"
) -> list[float]:
    """Let every session send its next message as soon as its last reply is there.

    Turns begun before the end are finished and counted. Returns their latencies in seconds.
    """
    end = time.perf_counter() + seconds
    latencies: list[float] = []

    async def converse(session: str) -> None:
        number = 0
        while (begun := time.perf_counter()) < end:
            await turn(session, number)
            latencies.append(time.perf_counter() - begun)
            number += 1

    await asyncio.gather(*(converse(f"{prefix}{k}") for k in range(sessions)))
    return latencies


def closed_threads(
    turn: BlockingTurn, *, sessions: int, seconds: float, threads: int, prefix: str = "s"
) -> list[float]:
    """Do the same on threads, on which the sessions take turns (so latency leaves out the wait)."""
    end = time.perf_counter() + seconds

    def converse(first: int) -> list[float]:
        latencies: list[float] = []
        number = 0
        while True:
            for k in range(first, sessions, threads):
                if (begun := time.perf_counter()) >= end:
                    return latencies
                turn(f"{prefix}{k}", number)
                latencies.append(time.perf_counter() - begun)
            number += 1

    with ThreadPoolExecutor(threads) as pool:
        return [s for some in pool.map(converse, range(min(threads, sessions))) for s in some]


async def open_async(
    turn: AsyncTurn, *, rate: float, seconds: float, prefix: str = "o"
) -> list[float]:
    """Send `rate` messages a second, whatever happens to the earlier ones.

    A latency runs from when the message was due, so a stall shows in all that it held up. The
    messages come from a thread, as they would from a socket: an event loop's own timers round up to
    the next millisecond, which would be a good part of what is measured.
    """
    latencies: list[float] = []
    loop = asyncio.get_running_loop()
    count = int(rate * seconds)
    start = time.perf_counter() + 0.1

    async def one(n: int, due: float) -> None:
        await turn(f"{prefix}{n % LOW_SESSIONS}", n // LOW_SESSIONS)
        latencies.append(time.perf_counter() - due)

    async with asyncio.TaskGroup() as tasks:

        def send() -> None:
            for n in range(count):
                due = start + n / rate
                time.sleep(max(0.0, due - time.perf_counter()))
                loop.call_soon_threadsafe(lambda n=n, due=due: tasks.create_task(one(n, due)))

        await asyncio.to_thread(send)
    return latencies


def open_threads(
    turn: BlockingTurn, *, rate: float, seconds: float, threads: int, prefix: str = "o"
) -> list[float]:
    """Do the same on threads."""
    latencies: list[float] = []
    start = time.perf_counter() + 0.1

    def one(n: int) -> None:
        turn(f"{prefix}{n % LOW_SESSIONS}", n // LOW_SESSIONS)
        latencies.append(time.perf_counter() - start - n / rate)

    with ThreadPoolExecutor(threads) as pool:
        pending = []
        for n in range(int(rate * seconds)):
            time.sleep(max(0.0, start + n / rate - time.perf_counter()))
            pending.append(pool.submit(one, n))
    for done in pending:
        done.result()  # A turn that failed is an error here, not a missing latency.
    return latencies


async def history_async(turn: AsyncTurn, *, turns: int, session: str) -> History:
    """Lead one session through `turns` (at least 120) turns, one after another."""
    times_s = []
    for number in range(turns):
        begun = time.perf_counter()
        await turn(session, number)
        times_s.append(time.perf_counter() - begun)

    def median_ms(first: int) -> float:
        return round(statistics.median(times_s[first : first + 20]) * 1e3, 3)

    t10, t_last = median_ms(1), median_ms(turns - 20)
    return History(
        turns=turns,
        t10_ms=t10,
        t100_ms=median_ms(90),
        t_last_ms=t_last,
        growth=round(t_last / t10, 3),
        total_s=round(sum(times_s), 2),
    )
