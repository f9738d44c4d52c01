"""A generated dialog as a `.chat` file: for a person to read, and to run again for ever.

`to_chat` writes stimuli and their words so that `from_chat` reads the very same: what shrinking has
found stays a plain test. It judges nothing.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Literal, assert_never

import msgspec

from engine.effects import IntentRequest, ModelRequest, RunnerRequest, SkillRequest
from engine.flow import Flow
from statemachines import data
from statemachines.flow import Flow as BuiltFlow
from streams.chat import lines
from streams.chat.flows import name_of as flow_name
from streams.chat.lines import Chat, Head, Setting, Words
from streams.chat.run import run
from testkit import stimuli
from testkit.chat_reader import REASONS, Read, Reader, from_chat
from testkit.chat_world import WorldTalk, kind_of, talk_on_world, world_of
from testkit.pure import PureWorld
from testkit.script import Script
from testkit.simulator import Simulator
from testkit.stimuli import AnyStimulus
from testkit.surroundings import PLAIN, Surroundings

__all__ = ["Read", "from_chat", "head_of", "name_of", "to_chat"]

NAMES = ("ann", "bob", "cho", "dan", "eve", "fay", "gus", "hal")
TITLE = "as it was found"


def name_of(user: int) -> str:
    """What a user is called, by number from 0."""
    return NAMES[user] if user < len(NAMES) else f"user{user}"


def head_of(
    flow: Flow,
    script: Script,
    *,
    world: str = "simulator",
    seed: int = 0,
    around: Surroundings = PLAIN,
) -> Head:
    """The top of a file for this flow and these words; of the configuration, what is no default.

    `around`: lines are kept only by a platform that knows repeated replies.
    """
    words = Words(
        says=tuple((name, tuple(texts)) for name, texts in script.says.items()),
        intents=tuple(script.intents.items()),
        model=tuple(script.model),
        skill=tuple(script.skill),
        operator=tuple(script.operator),
    )
    return Head(
        flow=flow_name(flow),
        world="pure" if world == "pure" else "simulator",
        seed=seed,
        platform=_platform(around),
        limit=around.limit,
        flow_changes="yes" if around.changes_flow else "",
        users=tuple(name_of(user) for user in range(script.users)),
        config=_chosen(flow),
        words=words,
    )


def _platform(around: Surroundings) -> Literal["idempotent", "forgetful", "web chat"]:
    if not around.idempotent:
        return "forgetful"
    return "web chat" if around.outbox else "idempotent"


def _chosen(flow: Flow) -> tuple[Setting, ...]:
    if not isinstance(flow, BuiltFlow):
        return ()
    decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
    default = decode(data.encode(type(flow).Config()))
    return tuple(
        Setting(name, bytes(value).decode())
        for name, value in decode(flow.config_bytes).items()
        if bytes(value) != bytes(default[name])
    )


def to_chat(found: Sequence[AnyStimulus], script: Script, *, flow: Flow, head: Head) -> Chat:
    """These stimuli as a file of one dialog, with what came of each as comments.

    `head`: made by `head_of`. The dialog is run twice on a world of its own, to see what its
    indexes mean: `model: ok` instead of `request 1 ends with word 1`. Where that world breaks,
    the rest is written by numbers, which mean the same.
    """
    written = list(_written(found, script, world_of(flow, script, head=head)))
    dialog = lines.Dialog(title=TITLE, lines=tuple(_with_notes(written, flow, head)))
    return Chat(head=head, dialogs=(dialog,))


def _written(
    found: Sequence[AnyStimulus], script: Script, world: Simulator | PureWorld
) -> Iterator[lines.AnyLine]:
    people = [name_of(user) for user in range(script.users)]
    talk = WorldTalk(world, Reader(script, people), people=people)
    broken = False
    for stimulus in found:
        pending: Sequence[RunnerRequest] = ()
        try:
            if not broken and isinstance(stimulus, stimuli.Outcome | stimuli.Frame):
                pending = talk.pending()
            if not broken:
                world.act(stimulus)
        except Exception:  # the finding may well be that a hop raises
            broken = True
        yield line_of(stimulus, script, pending=pending)


def _with_notes(
    written: Sequence[lines.AnyLine], flow: Flow, head: Head
) -> Iterator[lines.AnyLine]:
    """Below each line, what people were told and where their dialogs went then."""
    told: tuple[str, ...] = ()
    with suppress(Exception):
        told = run(written, talk_on_world(flow, head, dialog=written), people=head.users).so_far
    left = iter(written)
    for line in told:
        yield lines.Note(text=line.strip()) if line.startswith(" ") else next(left)
    yield from left


# ---- one stimulus --------------------------------------------------------------------------------


def line_of(
    stimulus: AnyStimulus, script: Script, *, pending: Sequence[RunnerRequest] = ()
) -> lines.AnyLine:
    """The line that is read as this stimulus. `pending`: what its index counts, where known."""
    match stimulus:
        case stimuli.Say():
            return _says(stimulus, script)
        case stimuli.Outcome():
            return _ends(stimulus, script, pending)
        case stimuli.Frame(i=i, variant=variant):
            text = script.model[variant % len(script.model)]
            return lines.Shows(text=text, number=i + 1 if i else None)
        case stimuli.Late(i=i):
            return lines.Late(number=i + 1)
        case stimuli.Again(j=j):
            return lines.Again(number=j + 1)
        case stimuli.Wait(ms=ms):
            return lines.Waits(ms=None if ms is None else max(0, ms))
        case stimuli.Operator(user=user, what=what):
            who = name_of(user % script.users)
            if what == "say":
                return lines.OperatorSays(text=script.operator[0], who=who)
            return lines.HandsBack(who=who)
        case stimuli.Stop(user=user):
            return lines.Stops(who=name_of(user % script.users))
        case stimuli.Feedback(user=user, verdict=verdict):
            return lines.Judges(who=name_of(user % script.users), verdict=verdict)
        case _:
            return _fault(stimulus)


def _fault(
    stimulus: stimuli.Platform
    | stimuli.Disk
    | stimuli.Crash
    | stimuli.Move
    | stimuli.Zombie
    | stimuli.Skew
    | stimuli.Redrive,
) -> lines.Fault:
    match stimulus:
        case stimuli.Platform(how=how):
            return lines.PlatformIs(how=how)
        case stimuli.Disk():
            return lines.DiskIsFull()
        case stimuli.Crash(point=point):
            return lines.Crash(at=point.value)
        case stimuli.Move(i=i):
            return lines.Moves(partition=i + 1)
        case stimuli.Zombie(i=i):
            return lines.Zombie(partition=i + 1)
        case stimuli.Skew(i=i, ms=ms):
            return lines.ClockJumps(worker=i + 1, ms=ms)
        case stimuli.Redrive(i=i):
            return lines.Redrives(number=i + 1)
        case _:
            assert_never(stimulus)


def _says(said: stimuli.Say, script: Script) -> lines.Says:
    text = script.text(said.kind, said.variant)
    kind = said.kind if said.kind in script.says else next(iter(script.says))
    return lines.Says(
        who=name_of(said.user % script.users),
        text=text,
        # Two classes may have the same text: then the line says which is meant.
        kind="" if kind == script.kind_of(text) else kind,
        age_ms=max(0, said.age_ms),
    )


def _ends(
    outcome: stimuli.Outcome, script: Script, pending: Sequence[RunnerRequest]
) -> lines.AnyLine:
    at = outcome.i % len(pending) if pending else outcome.i
    number = at + 1 if at else None
    request = pending[at] if pending else None
    kind: lines.AnyKind = "request" if request is None else kind_of(request)
    if outcome.how == "fail":
        reason = REASONS[outcome.variant % len(REASONS)]
        return lines.Fails(kind=kind, reason=reason, number=number)
    if outcome.how == "die":
        return lines.Breaks(kind=kind, number=number)
    match request:
        case ModelRequest():
            text = script.model[outcome.variant % len(script.model)]
            return lines.Answers(kind="model", text=text, number=number)
        case SkillRequest():
            text = script.skill[outcome.variant % len(script.skill)]
            return lines.Answers(kind="skill", text=text, number=number)
        case IntentRequest() if intent := script.intents.get(script.kind_of(request.text)):
            return lines.Answers(kind="intent", text=intent, number=number)
        case _:
            return lines.EndsWith(number=at + 1, word=outcome.variant + 1)
