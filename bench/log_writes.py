"""Measure what a conversation turn costs in the SQLite log: CPU and bytes, nothing around it.

A turn is what the embedded host writes for it: two commits with an event, its step record, the
session and a line each, and a delivery
that is marked in the second and receipted in a third. Beside it the same number of rows of the same
size through a bare `executemany` into one table without an index, in the same commits.

    python -m bench.log_writes [--turns N] [--sessions N] [--batch N ...] [--json]
"""

import argparse
import json
import random
import resource
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from adapters.logs.sqlite import SqliteLog
from bench.load import fresh
from engine.effects import CallModel, CloseReply, Effect
from engine.events import Address, Event, FlowRef, MadeBy, MessageReceived, ModelReplied
from engine.ids import derive
from engine.ports import Append, Delivery, Line, Owner, SessionRow, StepRow, Transaction
from engine.session import Disposition, Microstep, Session, StepRecord, TranscriptTurn

BATCHES = (1, 16, 256)
TEXT = "hello, what is the state of my order?"
REPLY = "Here is what I found for you."
NOW_MS = 1_790_000_000_000
FLOW = FlowRef(name="assistant", version=1, digest="0123456789abcdef" * 2)
TURNS_KEPT = 10

encode = msgspec.json.Encoder().encode


class Half(msgspec.Struct, frozen=True, kw_only=True):
    """What one of the two commits of a turn writes, apart from deliveries."""

    event: Append
    session: SessionRow
    step: StepRow
    line: Line


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    asked: Half
    answered: Half
    delivery: Delivery

    @property
    def text_bytes(self) -> int:
        return len(TEXT.encode()) + len(REPLY.encode())


def session_id(number: int) -> str:
    return f"webchat/main/k1/{number * 2654435761 % 2**96:024x}"


def turn(session: str, number: int) -> Turn:
    """Everything of the `number`-th turn of a session, as the records of the engine."""
    address = Address(channel="webchat", account="main", conversation="c" * 22, sender="p" * 22)
    cause, outcome = (derive(session, kind, number) for kind in ("message", "outcome"))
    effect, reply = (derive(session, kind, number) for kind in ("effect", "reply"))
    received = MessageReceived(message_id=f"m{number}", text=TEXT, address=address, locale="en")
    made_by = MadeBy(runner="scripted", request_digest="ab" * 16, latency_ms=1)
    replied = ModelReplied(text=REPLY, made_by=made_by)
    call = CallModel(
        reply_id=reply, prompt=TEXT, first=1, last=9, digest="ab" * 16, stream=True, max_tokens=400
    )
    close = CloseReply(reply_id=reply, how="answered", text=REPLY)
    first = _half(
        Event(id=cause, session_id=session, at_ms=NOW_MS, source="webchat/main", body=received),
        _step(session, 2 * number + 1, cause, ("bot.listening", "bot.answering"), call),
        Line(session_id=session, id=f"m{number}", author="user", text=TEXT, at_ms=NOW_MS),
        address,
    )
    second = _half(
        Event(
            id=outcome,
            session_id=session,
            at_ms=NOW_MS,
            source="runners",
            body=replied,
            effect=effect,
        ),
        _step(session, 2 * number + 2, outcome, ("bot.answering", "bot.listening"), close),
        Line(session_id=session, id=reply, author="bot", text=REPLY, at_ms=NOW_MS, how="answered"),
        address,
    )
    return Turn(
        asked=first,
        answered=second,
        delivery=Delivery(
            reply_id=reply,
            session_id=session,
            cause=outcome,
            kind="reply",
            address=address,
            state="sending",
            text=REPLY,
            queued_ms=NOW_MS,
            sending_ms=NOW_MS,
        ),
    )


def _step(
    session: str, seq: int, event_id: str, path: tuple[str, str], body: CallModel | CloseReply
) -> StepRecord:
    effect = Effect(
        id=derive(session, "effect", seq), session_id=session, epoch=1, cause=event_id, body=body
    )
    return StepRecord(
        session_id=session,
        seq=seq,
        event_id=event_id,
        flow=FLOW,
        before=path[0],
        after=path[1],
        digest="cd" * 16,
        path=(Microstep(trigger="message_received", row=3, source=path[0], dest=path[1]),),
        dispositions=(Disposition(message=event_id, how="answered"),),
        effects=(effect,),
    )


def _half(event: Event, step: StepRecord, line: Line, address: Address) -> Half:
    transcript = tuple(TranscriptTurn(n=n, user=TEXT, bot=REPLY) for n in range(TURNS_KEPT))
    session = Session(
        id=event.session_id,
        flow=FLOW,
        state=step.after,
        data=msgspec.Raw(b"{}"),
        address=address,
        seq=step.seq,
        now_ms=NOW_MS,
        transcript=transcript,
        seen=bytes(8 * TURNS_KEPT),
    )
    return Half(
        event=Append(event.session_id, event.id, encode(event)),
        session=SessionRow(event.session_id, encode(session), NOW_MS + step.seq),
        step=StepRow(event.session_id, step.seq, event.id, 0, encode(step)),
        line=line,
    )


def write_turns(log: SqliteLog, owner: Owner, *, turns: list[Turn]) -> None:
    """The turns of a batch, in three commits that they share."""
    with log.transaction(owner) as batch:
        _write_halves(batch, [one.asked for one in turns])
    with log.transaction(owner) as batch:
        _write_halves(batch, [one.answered for one in turns])
        batch.put_deliveries([one.delivery for one in turns])
    with log.transaction(owner) as batch:
        replace = msgspec.structs.replace
        batch.put_deliveries(
            [replace(one.delivery, state="sent", receipted_ms=NOW_MS) for one in turns]
        )


def _write_halves(batch: Transaction, halves: list[Half]) -> None:
    offsets = batch.append([half.event for half in halves], at_ms=NOW_MS)
    batch.put_steps(
        [half.step._replace(offset=at) for half, at in zip(halves, offsets, strict=True)],
        at_ms=NOW_MS,
    )
    batch.put_sessions([half.session for half in halves])
    batch.put_lines([half.line for half in halves])
    batch.put_watermark(offsets[-1])


def write_raw(database: sqlite3.Connection, turns: list[Turn]) -> None:
    """The same bytes in the same commits, as bare as SQLite takes them."""
    asked, answered = [one.asked for one in turns], [one.answered for one in turns]
    sent = [encode(one.delivery) for one in turns]
    _insert(database, list(_values(asked)))
    _insert(database, [*_values(answered), *sent])
    _insert(database, sent)


def _values(halves: list[Half]) -> Iterator[bytes]:
    for one in halves:
        yield from (one.event.value, one.step.value, one.session.value, one.line.text.encode())


def _insert(database: sqlite3.Connection, values: list[bytes]) -> None:
    database.execute("begin immediate")
    database.executemany("insert into row (value) values (?)", [(value,) for value in values])
    database.execute("commit")


def measure(
    write: Callable[[list[Turn]], None], *, batch: int, turns: int, sessions: int
) -> dict[str, float]:
    """Microseconds a turn: CPU of user and kernel, and wall. Making the records is not counted."""
    chance = random.Random(batch)
    user = kernel = wall = 0.0
    for first in range(0, turns, batch):
        chosen = [chance.randrange(sessions) for _ in range(batch)]
        made = [turn(session_id(who), first + k) for k, who in enumerate(chosen)]
        before, begun = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        write(made)
        wall += time.perf_counter() - begun
        after = resource.getrusage(resource.RUSAGE_SELF)
        user += after.ru_utime - before.ru_utime
        kernel += after.ru_stime - before.ru_stime
    return {
        "cpu_us": round((user + kernel) / turns * 1e6, 1),
        "user_us": round(user / turns * 1e6, 1),
        "kernel_us": round(kernel / turns * 1e6, 1),
        "wall_us": round(wall / turns * 1e6, 1),
    }


def measure_log(path: Path, *, batch: int, turns: int, sessions: int) -> dict[str, float]:
    """The log's cost, and the bytes that its file grew by beyond the sessions and the texts."""
    log = SqliteLog(path)
    owner = log.claim(0)
    for first in range(0, sessions, 1_000):
        with log.transaction(owner) as batch_of:
            made = [turn(session_id(n), 0) for n in range(first, min(first + 1_000, sessions))]
            batch_of.put_sessions([one.asked.session for one in made])
    log.close()
    before = path.stat().st_size
    log = SqliteLog(path)
    owner = log.claim(0)
    cost = measure(
        lambda made: write_turns(log, owner, turns=made),
        batch=batch,
        turns=turns,
        sessions=sessions,
    )
    log.close()
    text = turn("s", 0).text_bytes
    return cost | {"bytes": round((path.stat().st_size - before) / turns) - text}


def main() -> None:
    parser = argparse.ArgumentParser(description="What a turn costs in the SQLite log.")
    parser.add_argument("--turns", type=int, default=8_192)
    parser.add_argument("--sessions", type=int, default=1_000)
    parser.add_argument("--batch", type=int, nargs="*", default=BATCHES)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    for batch in asked.batch:
        turns = max(batch, min(asked.turns, batch * 512) // batch * batch)
        bare = sqlite3.connect(fresh("log_writes") / "bare.db", isolation_level=None)
        bare.executescript("pragma journal_mode=wal; pragma synchronous=full;")
        bare.execute("create table row (place integer primary key, value)")
        raw = measure(
            lambda made, db=bare: write_raw(db, made),  # type: ignore[misc]
            batch=batch,
            turns=turns,
            sessions=asked.sessions,
        )
        bare.close()
        path = fresh("log_writes") / "log.db"
        ours = measure_log(path, batch=batch, turns=turns, sessions=asked.sessions)
        row = {"batch": batch, "turns": turns, "log": ours, "raw": raw}
        print(json.dumps(row) if asked.json else f"batch {batch:4}  log {ours}  raw {raw}")
    fresh("log_writes")


if __name__ == "__main__":
    main()
