"""A promotion in small bites, as a process of its own: one that a test may kill anywhere.

Says a line for each bite. `python -m tests.kafka_tests.promoting BROKERS PREFIX LOG`
"""

import asyncio
import sys
from pathlib import Path

from adapters.kafka.clients import KafkaSettings
from adapters.logs.sqlite_export import SqliteExport
from streams.cluster.bites import Pages
from streams.cluster.promote import Job, Progress, Promoted, promote
from tests.kafka_tests.installation import PARTITIONS

BITES = Pages(events=7, sessions=3, deliveries=4, letters=1)


def say(progress: Progress) -> None:
    print(*progress, flush=True)


async def promoted(settings: KafkaSettings, log: Path, *, pages: Pages = BITES) -> Promoted:
    """Promote it, or go on with it."""
    source = SqliteExport(log)
    try:
        return await promote(
            Job(
                kafka=settings,
                partitions=PARTITIONS,
                source=source,
                actor="a-test",
                said=say,
                pages=pages,
            )
        )
    finally:
        source.close()


if __name__ == "__main__":
    brokers, prefix, log = sys.argv[1:]
    asyncio.run(promoted(KafkaSettings(brokers=brokers, prefix=prefix), Path(log)))
