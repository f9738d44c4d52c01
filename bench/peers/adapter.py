"""What every peer's process does with its command line: take each load, print each result.

The processes are started by `bench.peers.run_peer` with the arguments SECONDS LOAD..., and write
one JSON line a load to standard output and nothing else.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from bench.load import AsyncTurn, BlockingTurn, Result, measure_async, measure_threads


def show(result: Result) -> None:
    """Print a result as one JSON line."""
    print(json.dumps(asdict(result)), flush=True)


async def each_load_async(
    peer: str, arguments: Sequence[str], *, turn: AsyncTurn, pids: Iterable[int] = ()
) -> None:
    """Warm up with one turn, then measure each load in order."""
    await turn("warm", 0)
    for what in arguments[1:]:
        show(await measure_async(peer, what, seconds=float(arguments[0]), turn=turn, pids=pids))


def each_load_threads(
    peer: str, arguments: Sequence[str], *, turn: BlockingTurn, threads: int
) -> None:
    """Do the same for a turn that blocks."""
    turn("warm", 0)
    for what in arguments[1:]:
        seconds = float(arguments[0])
        show(measure_threads(peer, what, seconds=seconds, turn=turn, threads=threads))
