"""Does an event cost the same in a partition of a million sessions as in one of a thousand?

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
from bench.kafka.contestants import OURS, our_message
from bench.kafka.processes import ROOT
from console.listening import calm_collector
from engine import codec
from statemachines import registry
from streams import wire
from streams.outbox import OUTBOX_CHANNELS
from streams.partition import Partition
from streams.sessions import activated
from streams.topics import T
from streams.wire import Kept

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
    """A partition with so many sessions, all alike."""

    def __init__(self, count: int) -> None:
        self.partition = Partition(
            0, build=lambda body: registry.build(body.flow, bytes(body.config)),
            outbox=OUTBOX_CHANNELS,
        )  # fmt: skip
        self._offset = 0
        self._number = 0
        self.last: dict[str, Kept] = {}
        control = activated(registry.build("assistant"), b"{}", at_ms=NOW_MS)
        self.batch([(b"", codec.encode(control))])
        self._many(count)

    def _many(self, count: int) -> None:
        """As a new owner gets them: read, not stepped."""
        first = _session_id(0)
        self.messages([0])
        value = self.last[first].value
        for n in range(1, count):
            key = _session_id(n).encode()
            row = wire.session_row(
                key.decode(), Kept(value.replace(first.encode(), key)), partition=0
            )
            self.partition.recover(
                [Fetched(T.SESSIONS, 0, n, NOW_MS, row.key, row.value, row.headers)]
            )

    def messages(self, people: list[int]) -> float:
        """A message of each; CPU seconds."""
        self._number += 1
        events = [our_message(_person(n), self._number, now_ms=NOW_MS) for n in people]
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
        self.last = decided.kept
        return time.process_time() - begun_s


def _person(n: int) -> str:
    return f"p{n:07}"


def _session_id(n: int) -> str:
    return f"{OURS}:{_person(n)}"


def main() -> None:
    """Measure one count; print it."""
    calm_collector()  # as a worker does
    count = int(sys.argv[1])
    busy, chance = Busy(count), random.Random(count)
    costs = [busy.messages(chance.sample(range(count), BATCH)) / BATCH for _ in range(BATCHES)]
    print(json.dumps({"us": round(median(costs) * 1e6, 1)}))


if __name__ == "__main__":
    main()
