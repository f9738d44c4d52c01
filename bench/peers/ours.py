"""Ours as one of the contestants: the embedded host with an in-process channel, in its own process.

Run by `bench.peers.run_peer` as every other is, so that no load finds the memory of another.
"""

import asyncio
import sys

from bench.ours import directory, embedded
from bench.peers.adapter import each_load_async
from console.listening import calm_collector


async def main() -> None:
    """Open the host and take the loads."""
    calm_collector()  # as the engine's own process does
    async with embedded(directory()) as (channel, _):
        await each_load_async("ours", sys.argv[1:], turn=channel.turn)


if __name__ == "__main__":
    asyncio.run(main())
