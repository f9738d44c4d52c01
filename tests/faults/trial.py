"""One run of a fault: build, talk and strike, come to rest, judge."""

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from engine import codec
from engine.events import MessageReceived
from engine.ports import DeadLetter
from streams.topics import T
from tests.crash.judge import Verdict, judge
from tests.faults.catalogue import Fault
from tests.faults.equivalence import other_sessions
from tests.faults.lab import PARTITIONS, Blow, Lab
from tests.faults.recovery import Recovery

AFTER = 5
"""Messages of each person after the last blow."""


@dataclass
class Report:
    """What was done and found. `recovered_s`: by what was done; None: nobody was answered."""

    fault: str
    messages: int = 0
    seconds: float = 0.0
    verdict: Verdict = field(default_factory=Verdict)
    broken: list[str] = field(default_factory=list)
    blows: Counter[str] = field(default_factory=Counter)
    recovered_s: dict[str, list[float]] = field(default_factory=dict)
    stall_s: float = 0.0
    notes: Counter[str] = field(default_factory=Counter)

    @property
    def ok(self) -> bool:
        return self.verdict.ok and not self.broken


async def run(fault: Fault, folder: Path, *, messages: int, rounds: int, seed: int) -> Report:
    """Run it once in a new folder. The figures are those of a machine that does all of it."""
    report = Report(fault.name)
    async with Lab(folder, shape=fault.shape, seed=seed) as lab:
        began_s = time.monotonic()
        for number in range(rounds):
            await lab.talk(messages * (number + 1) // (rounds + 1))
            await fault.round(lab, number)
        # Whoever was struck last has something to answer, too.
        await lab.talk(max(messages, lab.said + AFTER * len(lab.people)))
        report.seconds = time.monotonic() - began_s
        await lab.rest()
        look(lab, report, fault)
    return report


def look(lab: Lab, report: Report, fault: Fault) -> None:
    """Judge what is at rest."""
    found = lab.records.found()
    letters = found.letters
    ours = [letter for letter in letters if (letter.partition, letter.offset) not in lab.rubbish]
    if len(lab.rubbish) != len(letters) - len(ours):
        report.broken.append(f"of {len(lab.rubbish)} records of rubbish not all are dead letters")
    found.letters = [letter for letter in ours if _message(letter) not in lab.poison]
    if len(lab.poison) != len(ours) - len(found.letters):
        report.broken.append(f"of {len(lab.poison)} deadly messages not all are dead letters")
    report.messages = lab.said
    report.verdict = judge(found, lab.people, never=fault.never)
    report.broken += lab.broken
    report.notes = lab.notes
    rows = lab.records.sessions()
    stored = {key: value for key, (_, value) in rows.items()}
    aside = {(letter.partition, letter.offset) for letter in letters}
    events = {
        number: [r for r in records if (number, r.offset) not in aside]
        for number, records in lab.records.all(T.EVENTS).items()
    }
    others = other_sessions(events, stored, folder=lab.folder)
    report.verdict.wrong += [f"{key}: the embedded host has other bytes" for key in others]
    sessions = {
        session.address.conversation: key
        for key, (session, _) in rows.items()
        if session.address is not None
    }
    recovery = Recovery(lab.people, sessions, partitions=PARTITIONS)
    for blow in lab.blows:
        _count(report, blow, recovery)
    report.stall_s = max(c.stall_s for p in lab.people for c in p.conversations)


def _message(letter: DeadLetter) -> str:
    """The id of the message that was set aside; empty where it was no message."""
    body = codec.decode_event(bytes(letter.value)).body
    return body.message_id if isinstance(body, MessageReceived) else ""


def _count(report: Report, blow: Blow, recovery: Recovery) -> None:
    report.blows[blow.what] += 1
    if not blow.measured or blow.people == frozenset():  # nobody was at that gateway
        return
    took_s = recovery.seconds(blow)
    if took_s is None:
        report.broken.append(f"nobody was answered after: {blow.what}")
    else:
        report.recovered_s.setdefault(blow.what, []).append(took_s)
