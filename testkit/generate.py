"""Dialogs by plain chance, from a flow alone: its words, and lists of stimuli that look for news.

For `ai-assistant flow test`, which has no Hypothesis: `Explorer` makes lists, goes on from those
that showed something new, and leans to the triggers of cells that nobody saw. One generator of
chance gives one sequence of lists. It knows no defect, and leaves nothing out.
"""

import ast
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from random import Random
from typing import Literal

from engine.crash_points import CrashPoint
from engine.limits import MESSAGE_AGE_MAX_MS, SEEN_KEPT_MS
from statemachines import arrivals, digest
from statemachines.checks import command_words
from statemachines.flow import Flow
from statemachines.syntax import tree_of
from testkit.coverage import Coverage
from testkit.coverage_universe import Key
from testkit.script import FAILURES, Script
from testkit.stimuli import (
    Again,
    AnyStimulus,
    Crash,
    Disk,
    Feedback,
    Frame,
    Late,
    Move,
    Operator,
    Outcome,
    Platform,
    Redrive,
    Say,
    Skew,
    Stop,
    Wait,
    Zombie,
)

Make = Callable[[Random], AnyStimulus]
Letter = tuple[str, float, Make]
Kept = tuple[tuple[AnyStimulus, ...], tuple[Key, ...]]
"""A list, and what it was the first to show."""

WORD_CHARS_MAX = 24
WORDS_MAX = 400
LENGTH_MIN, LENGTH_MAX = 4, 48
KEPT_MAX = 400
"""Lists that are kept to go on from: the newest of those that showed something new."""

DRAWN = 8
"""So many of the kept are looked at; it goes on from the one that showed the rarest."""
WHOLE_SHARE = 0.2
"""How often it goes on from a list's end; else from anywhere in it."""

_MISSED_WEIGHT = 4
_PLATFORM: tuple[Literal["away", "refuses", "slow", "silent"], ...] = (
    "away", "refuses", "slow", "silent",
)  # fmt: skip
_SKEWS_MS = (-5_000, -1_000, 1_000, 5_000)


# ---- words ---------------------------------------------------------------------------------------


def script_of(flow: Flow, *, users: int = 2) -> Script:
    """Words for a flow that nobody wrote any for: its commands, its skills', and short texts that
    stand in its own source, since conditions look for such."""
    says: dict[str, Sequence[str]] = {"chat": ("hi", "why?"), **known_words(flow)}
    skills = [skill for skill in getattr(flow.config, "skills", ()) if skill.trigger_words]
    known = set(command_words(flow.table))
    if words := [word for word in _words(type(flow).__module__) if word not in known]:
        says["words"] = words
    strategies = getattr(flow.config, "fallback_strategies", ())
    matched = [one.pattern for one in strategies if _matches_itself(one.pattern)]
    return Script(
        users=users,
        says=says,
        intents={"chat": "chat", **{skill.name: skill.name for skill in skills}},
        model=("ok", "another answer", "", *matched, "long " * 6_000),
        skill=("done", "", *matched),
    )


def known_words(flow: Flow) -> Mapping[str, Sequence[str]]:
    """What the machine knows, by class: its commands, and what starts its skills, where a text
    can: a skill without trigger words begins by its intent only."""
    found: dict[str, Sequence[str]] = {}
    commands: dict[str, list[str]] = {}
    for word, trigger in command_words(flow.table).items():
        commands.setdefault(trigger, []).append(word)
    found |= commands
    for skill in getattr(flow.config, "skills", ()):
        for word in skill.trigger_words[:1]:
            found.setdefault(skill.name, (f"{word} a text of some words", word))
    return found


def waits_ms(flow: Flow) -> list[int]:
    """The flow's time-outs and deadlines, each with the millisecond before and after; ascending."""
    asked = arrivals.derive(type(flow), flow.table, initial=flow.initial, config=flow.config)
    moments = {timeout.after_ms for timeout in flow.timeouts.values()}
    moments |= {one.within_s * 1_000 for some in asked.awaited.values() for one in some}
    return sorted({ms + by for ms in moments for by in (-1, 0, 1) if ms + by > 0})


def _words(module: str) -> list[str]:
    """Short texts in a flow's module and in what it imports of its project, in their order."""
    found: dict[str, None] = {}
    for name in sorted(digest.modules(module)):
        for node in ast.walk(tree_of(digest.source(name))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                word = node.value.strip()
                if 0 < len(word) <= WORD_CHARS_MAX and not re.fullmatch(r"\w+[._]\w[\w.]*", word):
                    found[word] = None
    return [*found][:WORDS_MAX]


def _matches_itself(pattern: str) -> bool:
    return re.search(pattern, pattern) is not None


# ---- stimuli -------------------------------------------------------------------------------------


def stimuli(
    flow: Flow, script: Script, *, rng: Random, length: int, seen: Coverage | None = None
) -> tuple[AnyStimulus, ...]:
    """So many stimuli by chance; with `seen`, rather those that lead to cells that it lacks."""
    return _drawn(_letters(flow, script), rng=rng, length=length, seen=seen)


def _drawn(
    letters: Sequence[Letter], *, rng: Random, length: int, seen: Coverage | None
) -> tuple[AnyStimulus, ...]:
    lean = _lean(seen)
    weights = [weight * lean.get(trigger, 1) for trigger, weight, _ in letters]
    chosen = rng.choices([make for _, _, make in letters], weights, k=length)
    return tuple(make(rng) for make in chosen)


class Explorer:
    """Makes lists, and remembers those that showed something new."""

    def __init__(self, flow: Flow, script: Script, *, rng: Random) -> None:
        self._letters, self._rng = _letters(flow, script), rng
        self._kept: list[Kept] = []
        self._times: Counter[Key] = Counter()

    def next(self, seen: Coverage | None = None) -> tuple[AnyStimulus, ...]:
        """A new list, or one that goes on from where another came to something new."""
        rng = self._rng
        length = rng.randint(LENGTH_MIN, LENGTH_MAX)
        tail = _drawn(self._letters, rng=rng, length=length, seen=seen)
        if not self._kept or rng.random() < 0.4:
            return tail
        some = [rng.choice(self._kept) for _ in range(DRAWN)]
        begin, _ = min(some, key=lambda kept: min(self._times[key] for key in kept[1]))
        whole = rng.random() < WHOLE_SHARE
        length = len(begin) if whole else rng.randint(1, len(begin))
        return (*begin[:length], *tail)[: 2 * LENGTH_MAX]

    def learn(self, tried: tuple[AnyStimulus, ...], saw: frozenset[Key]) -> bool:
        """Tell it what a list showed; whether that was new."""
        new = tuple(saw - self._times.keys())
        self._times.update(saw)
        if not new:
            return False
        self._kept = [*self._kept, (tried, new)][-KEPT_MAX:]
        return True


def _lean(seen: Coverage | None) -> Mapping[str, float]:
    """By trigger: the more of its cells nobody saw, the heavier."""
    if seen is None:
        return {}
    cells: dict[str, list[bool]] = {}
    for entry in seen.of_kind("cell"):
        cells.setdefault(str(entry.key[1]), []).append(entry.count > 0)
    missed = {trigger: found.count(False) / len(found) for trigger, found in cells.items()}
    return {trigger: 1 + _MISSED_WEIGHT * share for trigger, share in missed.items()}


def _letters(flow: Flow, script: Script) -> list[Letter]:
    """The flow's alphabet: the trigger that each letter leads to, its weight, how it is made."""
    commands = set(flow.table.commands)
    found: list[Letter] = []
    for kind in script.says:
        trigger = kind if kind in commands else arrivals.MESSAGE
        found.append((trigger, 2 if trigger in commands else 8, partial(_say, script, kind)))
    ok = ("model_replied", "skill_done", "intent_found")
    found += [(trigger, 3, _ends_well) for trigger in ok]
    found += [
        (arrivals.FAILED, 2, _fails),
        ("operator_said", 1, partial(_operator, script, "say")),
        ("handed_back", 1, partial(_operator, script, "hand back")),
        ("stop_requested", 1, partial(_by_user, script, Stop)),
        ("feedback_given", 1, partial(_by_user, script, Feedback)),
        ("reply_undelivered", 2, lambda rng: Platform(rng.choice(_PLATFORM))),
        ("", 1, lambda rng: Frame(rng.randrange(4), rng.randrange(len(script.model)))),
        ("", 6, lambda rng: Wait()),
        ("", 1, partial(_say_late, script)),
    ]
    timers = {timeout.trigger for timeout in flow.timeouts.values()}
    found += [(timer, 1, lambda rng: Wait()) for timer in sorted(timers)]
    waits = [1, 500, 2_000, SEEN_KEPT_MS + 1, *waits_ms(flow)]
    found.append(("", 4, lambda rng: Wait(rng.choice(waits))))
    return found + [("", weight, make) for make, weight in _FAULTS]


def _say(script: Script, kind: str, rng: Random) -> AnyStimulus:
    return Say(rng.randrange(script.users), kind, rng.randrange(len(script.says[kind])))


def _say_late(script: Script, rng: Random) -> AnyStimulus:
    kind = rng.choice([*script.says])
    age_ms = rng.choice([60_000, MESSAGE_AGE_MAX_MS - 1, MESSAGE_AGE_MAX_MS + 1])
    return Say(rng.randrange(script.users), kind, 0, age_ms)


def _ends_well(rng: Random) -> AnyStimulus:
    return Outcome(rng.randrange(4), "ok", rng.randrange(8))


def _fails(rng: Random) -> AnyStimulus:
    return Outcome(rng.randrange(4), "fail", rng.randrange(len(FAILURES)))


def _operator(script: Script, what: Literal["say", "hand back"], rng: Random) -> AnyStimulus:
    return Operator(rng.randrange(script.users), what)


def _by_user(script: Script, kind: type[Stop] | type[Feedback], rng: Random) -> AnyStimulus:
    return kind(rng.randrange(script.users))


_FAULTS: tuple[tuple[Make, float], ...] = (
    (lambda rng: Late(rng.randrange(4)), 2),
    (lambda rng: Again(rng.randrange(4)), 2),
    (lambda rng: Outcome(rng.randrange(4), "die"), 1),
    (lambda rng: Platform(rng.choice(_PLATFORM)), 2),
    (lambda rng: Crash(rng.choice([*CrashPoint])), 3),
    (lambda rng: Disk(), 1),
    (lambda rng: Move(rng.randrange(4)), 1),
    (lambda rng: Zombie(rng.randrange(4)), 1),
    (lambda rng: Skew(rng.randrange(4), rng.choice(_SKEWS_MS)), 1),
    (lambda rng: Redrive(rng.randrange(4)), 1),
)
"""About one stimulus in four."""
