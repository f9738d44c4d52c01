"""Does an event cost the same where the partition has a million sessions as where it has a thousand?

The partition itself, without a broker: what a batch's commit takes does not depend on how many
sessions there are. Each count in a process of its own, so that none finds the memory of another.
"""

import json
import random
import subprocess
import sys
import time
from statistics import median

from adapters.kafka.records import Fetched
from bench.kafka.contestants import our_message
from bench.kafka.processes import ROOT
from console.listening import calm_collector
from engine import codec
from statemachines import registry
from streams.outbox import OUTBOX_CHANNELS
from streams.partition import Partition
from streams.sessions import activated
from streams.topics import T

COUNTS = (1_000, 10_000, 100_000, 1_000_000)
BATCH = 256
BATCHES = 60
NOW_MS = 1_790_000_000_000


def measured() -> dict[str, float]:
    """CPU microseconds of an event, encoding its rows included, by how many sessions there are."""
    found = {}
    for count in COUNTS:
        command = [sys.executable, "-P", "-m", "bench.kafka.flat", str(count)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        found[str(count)] = json.loads(done.stdout)["us"]
    return found


class Busy:
    """A partition with so many sessions of one turn each."""

    def __init__(self, count: int) -> None:
        self.partition = Partition(
            0, build=lambda body: registry.build(body.flow, bytes(body.config)),
            outbox=OUTBOX_CHANNELS,
        )  # fmt: skip
        self._offset = 0
        self._number = 0
        control = activated(registry.build("assistant"), b"{}", at_ms=NOW_MS)
        self.batch([(b"", codec.encode(control))])
        for first in range(0, count, BATCH):
            self.messages(range(first, min(count, first + BATCH)))

    def messages(self, people: "range | list[int]") -> float:
        """A message of each; CPU seconds."""
        self._number += 1
        events = [our_message(f"p{n:07}", self._number, NOW_MS) for n in people]
        return self.batch(events)

    def batch(self, events: list[tuple[bytes, bytes]]) -> float:
        """Step and confirm; CPU seconds."""
        records = [
            Fetched(T.EVENTS, 0, self._offset + n, NOW_MS, key, value)
            for n, (key, value) in enumerate(events)
        ]
        self._offset += len(records)
        begun_s = time.process_time()
        decided = self.partition.decide(records, now_ms=NOW_MS)
        assert decided is not None
        self.partition.confirm(decided)
        return time.process_time() - begun_s


def main() -> None:
    """Measure one count; print it."""
    calm_collector()  # as a worker does
    count = int(sys.argv[1])
    busy, chance = Busy(count), random.Random(count)
    costs = [busy.messages(chance.sample(range(count), BATCH)) / BATCH for _ in range(BATCHES)]
    print(json.dumps({"us": round(median(costs) * 1e6, 1)}))


if __name__ == "__main__":
    main()
