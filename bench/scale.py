"""`python -m bench.scale`: does a turn cost the same for the ten-thousandth as for the tenth?

Drives the pipeline of the embedded host without its event loop, on a clock of its own, so that log
time can run a minute a turn: sessions 10² to 10⁵, turns 10 to 10 000 of one session, what the log
grows by, how fast a history folds, what an idle session takes, and how fast a long log opens. All
over the real SQLite file. Prints one JSON object.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from adapters.logs.sqlite import SqliteLog
from bench.load import REPLY, fresh, text
from console.listening import calm_collector
from engine import codec
from engine.effects import ModelRequest
from engine.events import ModelReplied
from engine.fold import fold
from engine.ports import Incoming, Receipt
from engine.pseudonym import Key
from statemachines import registry
from streams.egress import Account, Egress
from streams.embedded.pipeline import Called, Pipeline
from streams.ingress import Ingress, Taken
from streams.runners import outcome_append

START_MS = 1_790_000_000_000
FLOW = "assistant"


class Conversations:
    """Turns over a log, a batch at a time, with a clock that is set."""

    def __init__(self, path: Path) -> None:
        self.store = SqliteLog(path)
        self.now_ms = START_MS
        self.flow = registry.build(FLOW)
        self._turns = 0
        self.ingress = Ingress(
            "bench", "bench", keys=(Key(id="k1", secret=b"0123456789abcdef"),), known=lambda _: True
        )
        account = Account(idempotent=True)
        self.pipeline = Pipeline(
            self.store,
            egress=Egress(
                {("bench", "bench"): account}, delivery=self.store.delivery, jitter=random.random
            ),
            build=lambda body: registry.build(body.flow, bytes(body.config)),
            outbox=frozenset(),
            stepping=lambda event_id: None,
        )
        self.pipeline.recover(self.flow, b"{}", now_ms=self.now_ms)

    def turns(self, people: list[str]) -> None:
        """One turn of each of these sessions, together."""
        self._turns += 1
        asked = [self._message(person) for person in people]
        requests = self._batch(asked, [])
        answers = [
            Taken(outcome_append(effect, ModelReplied(text=REPLY), now_ms=self.now_ms))
            for effect in requests
        ]
        self._batch(answers, [])

    def _message(self, person: str) -> Taken:
        return self.ingress.message(
            Incoming(
                account="bench",
                conversation=person,
                sender=person,
                message_id=f"m{self._turns}",
                text=text(self._turns),
            ),
            now_ms=self.now_ms,
        )

    def _batch(self, taken: list[Taken], called: list[Called]) -> list[str]:
        decided = self.pipeline.decide(taken, called, now_ms=self.now_ms)
        self.pipeline.commit(decided)
        self.pipeline.confirm(decided)
        if decided.marked:
            self._batch([], [Called(d.reply_id, Receipt()) for d in decided.marked])
        return [r.effect_id for r in decided.requests if isinstance(r, ModelRequest)]


def chunks(people: list[str], size: int) -> Iterator[list[str]]:
    """The list in parts."""
    for start in range(0, len(people), size):
        yield people[start : start + size]


def by_sessions(counts: list[int]) -> dict[str, float]:
    """CPU microseconds of a turn when so many sessions have turns, in batches of 100."""
    found = {}
    for count in counts:
        made = Conversations(fresh("scale") / "log.sqlite")
        people = [f"p{n}" for n in range(count)]
        for some in chunks(people, 1_000):
            made.turns(some)
        chooser = random.Random(count)
        costs = []
        for _ in range(40):
            some = chooser.sample(people, 100)
            begun = time.process_time()
            made.turns(some)
            costs.append((time.process_time() - begun) / 100 * 1e6)
        found[str(count)] = round(median(costs), 1)
        made.store.close()
    return found


def by_turns(turns: int) -> dict[str, float]:
    """CPU microseconds of one session's n-th turn, turns 60 s apart; what the log grew by."""
    path = fresh("scale") / "log.sqlite"
    made = Conversations(path)
    people = [f"p{n}" for n in range(20)]  # twenty in step, so that a batch is not one turn
    costs: dict[int, list[float]] = {}
    size_at_1000 = 0
    for n in range(1, turns + 1):
        begun = time.process_time()
        made.turns(people)
        spent = (time.process_time() - begun) / len(people) * 1e6
        for mark in (10, 100, 1_000, turns):
            if abs(n - mark) <= max(5, mark // 50):
                costs.setdefault(mark, []).append(spent)
        if n == 1_000:
            made.store.close()
            size_at_1000 = path.stat().st_size
            made = Conversations(path)
        made.now_ms += 60_000
    grown_mb = size_at_1000 / len(people) / 1e6
    said_mb = sum(len(text(n).encode()) for n in range(1_000)) / 1e6
    found = {f"turn_{mark}_us": round(median(each), 1) for mark, each in costs.items()}
    found["log_mb_1000_turns_beyond_text"] = round(grown_mb - said_mb, 2)
    made.store.close()
    return found


def folding(turns: int = 1_000) -> dict[str, float]:
    """Folding a session's history from the log, and opening it from its stored form."""
    made = Conversations(fresh("scale") / "log.sqlite")
    for _ in range(turns):
        made.turns(["p0"])
        made.now_ms += 1_000
    session_id = made.ingress.session_id("p0", "p0")
    begun = time.perf_counter()
    events = (codec.decode_event(record.value) for record in made.store.history(session_id))
    folded = fold(made.flow, events)
    fold_ms = (time.perf_counter() - begun) * 1e3
    begun = time.perf_counter()
    stored = made.store.get(session_id)
    assert stored is not None
    opened = codec.decode_session(stored)
    open_ms = (time.perf_counter() - begun) * 1e3
    assert folded == opened, "the folded session is not the stored one"
    made.store.close()
    return {"fold_1000_turns_ms": round(fold_ms, 1), "open_ms": round(open_ms, 3)}


def idle(count: int) -> dict[str, float]:
    """Bytes of memory that a session takes that had one turn and nothing since."""
    made = Conversations(fresh("scale") / "log.sqlite")
    people = [f"p{n}" for n in range(count)]
    made.turns(people[:1_000])
    before = _rss()
    for some in chunks(people[1_000:], 1_000):
        made.turns(some)
    grown = _rss() - before
    made.store.close()
    return {"idle_session_bytes": round(grown / (count - 1_000))}


def start_up(events: int) -> dict[str, float]:
    """Seconds from the start of the engine's process to readiness, over a log of so many events."""
    data = fresh("scale")
    made = Conversations(data / "log.sqlite")
    people = [f"p{n}" for n in range(1_000)]
    while made.store.head(0) < events:
        made.turns(people)
        made.now_ms += 1_000
    made.store.close()
    (data / "config").mkdir()
    settings = {
        "AI_ASSISTANT_SERVER__BIND": "127.0.0.1:0",
        "AI_ASSISTANT_MODEL__KIND": "scripted",
        "AI_ASSISTANT_CONFIG": str(data / "config"),
    }
    taken = []
    for _ in range(5):
        begun = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "console.main", "--data", str(data), "run", "--engine"],
            env={**os.environ, **settings},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parent.parent,
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        taken.append(time.perf_counter() - begun)
        assert b"http://" in line, line
        process.terminate()
        process.wait()
    return {f"start_s_with_{events}_events": round(median(taken), 2)}


def _rss() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    calm_collector()  # as the engine's own process does
    share = 10 if parser.parse_args().quick else 1
    found: dict[str, object] = {
        "cpu_us_turn_by_sessions": by_sessions([100, 1_000, 10_000, 100_000 // share]),
        **by_turns(10_000 // share),
        **folding(),
        **idle(50_000 // share),
        **start_up(1_000_000 // share),
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
