"""What a restart's own steps bring about: performed, listed, and told once."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from adapters.logs.sqlite import SqliteLog
from engine import codec
from engine.ports import Incoming, Receipt
from engine.pseudonym import Key
from statemachines.assistant import Assistant
from statemachines.assistant_config import AssistantConfig
from streams.egress import Account, Egress
from streams.embedded.pipeline import Called, Decided, Pipeline, Recovered
from streams.ingress import Ingress, Taken

START_MS = 1_800_000_000_000
KEYS = (Key(id="k1", secret=b"a secret of tests"),)


class Process:
    """A process over the file, with a platform that does not recognise a repetition."""

    def __init__(self, path: Path, **config: object) -> None:
        self.flow = Assistant(AssistantConfig(**config))  # type: ignore[arg-type]
        self.log = SqliteLog(path)
        egress = Egress(
            {("im", "a"): Account(idempotent=False)}, delivery=self.log.delivery, jitter=lambda: 0.5
        )
        self.pipeline = Pipeline(
            self.log,
            egress=egress,
            build=lambda body: self.flow,
            outbox=frozenset(),
            stepping=lambda event_id: None,
        )
        self.routes = Ingress("im", "a", keys=KEYS, known=lambda session_id: False)

    def recover(self, now_ms: int, *, standing: str = "") -> Recovered:
        config = self.flow.config_bytes
        return self.pipeline.recover(self.flow, config, now_ms=now_ms, standing=standing)

    def message(self, text: str, message_id: str, *, now_ms: int) -> Taken:
        incoming = Incoming(
            account="a", conversation="c", sender="s", message_id=message_id, text=text
        )
        return self.routes.message(incoming, now_ms=now_ms)

    def batch(
        self, taken: Sequence[Taken] = (), called: Sequence[Called] = (), *, now_ms: int
    ) -> Decided:
        decided = self.pipeline.decide(taken, called, now_ms=now_ms)
        if not decided.is_empty:
            self.pipeline.commit(decided)
            self.pipeline.confirm(decided)
        return decided


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.sqlite"


def dies_sending_the_greeting(path: Path, texts: Sequence[str], **config: object) -> str:
    """Killed between the mark and the call of its first reply; the session that it was for."""
    process = Process(path, greeting="Hi", **config)
    process.recover(START_MS)
    for n, text in enumerate(texts):
        taken = process.message(text, f"m{n}", now_ms=START_MS + n)
        process.batch([taken], now_ms=START_MS + n)
    process.log.close()
    return taken.append.session_id


def test_a_request_that_recoverys_own_steps_make_is_performed(path: Path) -> None:
    session_id = dies_sending_the_greeting(path, ["one", "two"])
    process = Process(path, greeting="Hi")
    found = process.recover(START_MS + 60_000)  # the first call's deadline has passed: two's turn
    stored = process.log.get(session_id)
    assert stored is not None
    pending = [p.effect_id for p in codec.decode_session(stored).pending if p.kind != "timer"]
    assert len(pending) == 1
    assert pending == [request.effect_id for request in found.requests]


def test_whom_recoverys_own_steps_hand_over_is_listed(path: Path) -> None:
    config = {"on_failure": "person", "failures_max": 1}
    session_id = dies_sending_the_greeting(path, ["one"], **config)
    found = Process(path, greeting="Hi", **config).recover(START_MS + 60_000)
    assert [session.id for session in found.handed_over] == [session_id]


def test_a_message_that_was_set_aside_gets_its_word_once_however_often_it_comes(
    path: Path,
) -> None:
    process = Process(path, greeting="")
    process.recover(START_MS)
    taken = process.message("boom", "m1", now_ms=START_MS)
    for n in range(3):
        process.log.close()
        process = Process(path, greeting="")
        process.recover(START_MS + n, standing=taken.append.event_id)
    said = []
    for n in range(2):
        now_ms = START_MS + 1_000 * (n + 1)
        again = process.message("boom", "m1", now_ms=now_ms)
        for delivery in process.batch([again], now_ms=now_ms).marked:
            said.append(delivery.text)
            assert process.pipeline.egress.called(delivery.reply_id, now_ms)
            process.batch(called=[Called(delivery.reply_id, Receipt())], now_ms=now_ms)
        process.log.close()
        process = Process(path, greeting="")
        process.recover(now_ms + 1)
    assert said == [process.flow.apology]
    assert len(process.log.deliveries_of(taken.append.session_id)) == 1
