"""The product's own flow: answers with the model or a skill, and passes dialogs to people.

    new ──► bot ┬ listening ──► (settling) ──► answering ──► listening       …idle──► new
                ├ working (a skill)                 └── escalated, 转人工 ──► person ──► bot
                └ routing (a recogniser, where there is one)

The table is made from the configuration: what is switched off is no state and no row, because each
microstep costs. Which skill a message names is decided here, in the step, by its trigger words.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from engine.errors import Refused
from engine.events import IntentFound
from engine.fallback import ACTIONS, check_pattern
from engine.personal import Personal
from engine.turn import Turn
from statemachines.assistant_config import AssistantConfig
from statemachines.flow import Definition, Flow, FlowData
from statemachines.trigger_words import brings_text, named, quoted, text_for, with_message

Rows = list[Mapping[str, Any]]


class Assistant(Flow):
    """The assistant. See `AssistantConfig` for what can be chosen."""

    name, version, initial = "assistant", 1, "new"
    Config = AssistantConfig
    commands = {"person_requested": "转人工|人工|human"}

    class Data(FlowData, frozen=True, kw_only=True):
        """`asked`: the texts that the next answer is for; `noted`: those after it, while steering.

        `quoted`: what the last message quoted. `awaiting`: the skill that asked for its text.
        """

        asked: tuple[Personal, ...] = ()
        noted: tuple[Personal, ...] = ()
        quoted: Personal = ""
        awaiting: str = ""
        failures: int = 0

    # ---- the table ---------------------------------------------------------------------------

    def build(self, config: AssistantConfig) -> Definition:
        _check_strategies(config)
        return Definition(
            states=_states(config),
            transitions=[
                *_messages(config),
                *_outcomes(config),
                *_PEOPLE,
                *_endings(config),
            ],
            ignore=_ignored(config),
            postpone={state: ["message_received"] for state in _queueing(config)},
            commands=self.commands,
        )

    # ---- conditions: which skill, if any --------------------------------------------------------

    def says_a_skill(self, turn: Turn) -> bool:
        """The arriving message, with what is already asked, names a skill and brings a text."""
        return brings_text(turn, with_message(turn))

    def says_only_a_skill(self, turn: Turn) -> bool:
        """It names a skill, and there is no text for it anywhere."""
        return named(turn, with_message(turn)) is not None

    def asked_a_skill(self, turn: Turn) -> bool:
        return brings_text(turn, turn.data.asked)

    def asked_only_a_skill(self, turn: Turn) -> bool:
        return named(turn, turn.data.asked) is not None

    def noted_a_skill(self, turn: Turn) -> bool:
        return brings_text(turn, turn.data.noted)

    def noted_only_a_skill(self, turn: Turn) -> bool:
        return named(turn, turn.data.noted) is not None

    def has_noted(self, turn: Turn) -> bool:
        return bool(turn.data.noted)

    def is_a_skill(self, turn: Turn) -> bool:
        return _intent(turn) in {skill.name for skill in turn.config.skills}

    def failed_too_often(self, turn: Turn) -> bool:
        return bool(turn.data.failures + 1 >= turn.config.failures_max)

    # ---- callbacks: what is asked ------------------------------------------------------------

    def greet(self, turn: Turn) -> None:
        turn.say(turn.config.greeting, answers=False)

    def note(self, turn: Turn) -> None:
        """The message joins what is asked."""
        turn.set(asked=with_message(turn), quoted=quoted(turn))

    def note_for_later(self, turn: Turn) -> None:
        turn.set(noted=(*turn.data.noted, turn.text), quoted=quoted(turn))

    def forget(self, turn: Turn) -> None:
        """The message replaces what was asked before."""
        turn.set(asked=(), noted=())

    def take_noted(self, turn: Turn) -> None:
        turn.set(asked=turn.data.noted, noted=())

    def classify(self, turn: Turn) -> None:
        turn.find_intent("\n".join(turn.data.asked), within_s=turn.config.intent_within_s)

    def ask(self, turn: Turn) -> None:
        turn.call_model("\n".join(turn.data.asked), within_s=turn.config.model_within_s)

    def run_skill(self, turn: Turn) -> None:
        skill = named(turn, turn.data.asked)
        assert skill is not None
        text = text_for(turn, skill, texts=turn.data.asked)
        turn.set(awaiting="")
        turn.run_skill(skill.name, text, within_s=turn.config.skill_within_s)

    def run_found_skill(self, turn: Turn) -> None:
        text = turn.data.quoted or "\n".join(turn.data.asked)
        turn.run_skill(_intent(turn), text, within_s=turn.config.skill_within_s)

    def ask_for_text(self, turn: Turn) -> None:
        skill = named(turn, turn.data.asked)
        assert skill is not None
        # While steering, the name of the skill came after the request that has just been answered.
        turn.say(turn.config.text("ask_for_text"), answers="all")
        turn.set(asked=(), quoted="", awaiting=skill.name)

    # ---- callbacks: how it ends --------------------------------------------------------------

    def answer(self, turn: Turn) -> None:
        turn.say(turn.text)
        turn.set(asked=(), quoted="", awaiting="", failures=0)

    def apologise(self, turn: Turn) -> None:
        turn.apologise(turn.config.text("apology"))
        turn.set(asked=(), noted=(), quoted="", failures=turn.data.failures + 1)

    def stop(self, turn: Turn) -> None:
        turn.stop()
        turn.set(asked=(), noted=(), quoted="")

    # ---- callbacks: people ---------------------------------------------------------------------

    def hand_over(self, turn: Turn) -> None:
        turn.say(turn.config.text("handed_over"), answers=False)
        turn.forward()
        turn.set(asked=(), noted=(), quoted="", awaiting="", failures=0)

    def hand_over_on_request(self, turn: Turn) -> None:
        turn.say(turn.config.text("person_asked_for"), answers=False)
        turn.forward()
        turn.set(asked=(), noted=(), quoted="", awaiting="", failures=0)

    def step_aside(self, turn: Turn) -> None:
        """A person speaks up unasked: what waits is theirs now."""
        turn.forward()
        turn.set(asked=(), noted=(), quoted="", awaiting="", failures=0)

    def forward(self, turn: Turn) -> None:
        turn.forward()

    def pass_on(self, turn: Turn) -> None:
        turn.say(turn.text, author="operator")

    def come_back(self, turn: Turn) -> None:
        turn.say(turn.config.text("handed_back"), answers=False)

    def excuse_nobody(self, turn: Turn) -> None:
        turn.say(turn.config.text("nobody_came"), answers=False)


# ---- the table, part by part ---------------------------------------------------------------------


def _check_strategies(config: AssistantConfig) -> None:
    for strategy in config.fallback_strategies:
        try:
            check_pattern(strategy.pattern)
        except Refused as error:
            raise Refused(f"fallback strategy {strategy.pattern!r}: {error}") from None
        if strategy.action not in ACTIONS:
            raise Refused(
                f"fallback strategy {strategy.pattern!r}: its action is {strategy.action!r}, "
                f"allowed is {', '.join(ACTIONS)}"
            )


def _states(config: AssistantConfig) -> list[str | Mapping[str, Any]]:
    children: list[str | Mapping[str, Any]] = [
        dict(name="listening", timeout="idle_s", on_timeout="idle")
    ]
    if config.settle_s:
        children.append(dict(name="settling", timeout="settle_s", on_timeout="settled"))
    children.append("answering")
    if config.skills:
        children.append("working")
    if config.recogniser:
        children.append("routing")
    person = dict(
        name="person", timeout="person_timeout_s", on_timeout="nobody_came", hands_over=True
    )
    return ["new", dict(name="bot", initial="listening", children=children), person]


def _working(config: AssistantConfig) -> list[str]:
    """The states in which an answer is being made."""
    states = ["bot.answering"]
    if config.skills:
        states.append("bot.working")
    if config.recogniser:
        states.append("bot.routing")
    return states


def _queueing(config: AssistantConfig) -> list[str]:
    """Where messages wait. A skill's text cannot grow: while one works, merging waits, too."""
    if config.busy == "queue":
        return _working(config)
    return ["bot.working"] if config.busy == "merge" and config.skills else []


def _messages(config: AssistantConfig) -> Iterator[Mapping[str, Any]]:
    """What a message does, where it is not postponed."""
    greeting = ["greet"] if config.greeting else []
    yield from _begins("message_received", "new", config, before=[*greeting, "note"])
    yield from _begins("message_received", "bot.listening", config, before=["note"])
    if config.settle_s:
        row = dict(trigger="message_received", source="bot.settling", dest="=", before="note")
        yield row
        yield from _decides("settled", "bot.settling", config, which="asked")
    working = [state for state in _working(config) if state not in _queueing(config)]
    for state in working:
        if config.busy == "steer":
            yield dict(trigger="message_received", source=state, dest=None, before="note_for_later")
        else:
            before = ["forget", "note"] if config.busy == "interrupt" else ["note"]
            yield from _begins("message_received", state, config, before=before)


def _begins(
    trigger: str, source: str, config: AssistantConfig, *, before: list[str]
) -> Iterator[Mapping[str, Any]]:
    """A message settles first, or is worked on at once."""
    if config.settle_s:
        yield dict(trigger=trigger, source=source, dest="bot.settling", before=before)
    else:
        yield from _decides(trigger, source, config, which="says", before=before)


def _decides(
    trigger: str,
    source: str,
    config: AssistantConfig,
    *,
    which: str,
    before: list[str] | None = None,
    given: list[str] | None = None,
) -> Iterator[Mapping[str, Any]]:
    """A skill that the text names, else the recogniser, else the model."""
    before, given = before or [], given or []
    row: dict[str, Any] = dict(trigger=trigger, source=source)
    if config.skills:
        yield row | dict(
            dest="bot.working",
            conditions=[*given, f"{which}_a_skill"],
            before=[*before, "run_skill"],
        )
        yield row | dict(
            dest="bot.listening",
            conditions=[*given, f"{which}_only_a_skill"],
            before=[*before, "ask_for_text"],
        )
    dest, ask = ("bot.routing", "classify") if config.recogniser else ("bot.answering", "ask")
    yield row | dict(dest=dest, conditions=given, before=[*before, ask])


def _outcomes(config: AssistantConfig) -> Iterator[Mapping[str, Any]]:
    """How an answer ends, well or not."""
    ends = [("model_replied", "bot.answering")]
    if config.skills:
        ends.append(("skill_done", "bot.working"))
    for trigger, state in ends:
        if config.busy == "steer":
            before = ["answer", "take_noted"]
            given = ["has_noted"]
            yield from _decides(trigger, state, config, which="noted", before=before, given=given)
        yield dict(trigger=trigger, source=state, dest="bot.listening", before="answer")
    if config.recogniser:
        found = dict(trigger="intent_found", source="bot.routing")
        if config.skills:
            yield found | dict(
                dest="bot.working", conditions="is_a_skill", before="run_found_skill"
            )
        yield found | dict(dest="bot.answering", before="ask")
        # Without an intent the model answers: a failing recogniser is no reason to fail.
        yield dict(
            trigger="request_failed", source="bot.routing", dest="bot.answering", before="ask"
        )
    failed: dict[str, Any] = dict(trigger="request_failed", source="bot")
    if config.on_failure == "person":
        yield failed | dict(dest="person", conditions="failed_too_often", before="hand_over")
    yield failed | dict(dest="bot.listening", before="apologise")


_PEOPLE: Rows = [
    dict(trigger="escalated", source="bot", dest="person", before="hand_over"),
    dict(
        trigger="person_requested",
        source=["new", "bot"],
        dest="person",
        before="hand_over_on_request",
    ),
    dict(trigger="person_requested", source="person", dest=None, before="forward"),
    dict(trigger="message_received", source="person", dest=None, before="forward"),
    dict(
        trigger="operator_said",
        source=["new", "bot"],
        dest="person",
        before=["step_aside", "pass_on"],
    ),
    dict(trigger="operator_said", source="person", dest="=", before="pass_on"),
    dict(trigger="handed_back", source="person", dest="bot", before="come_back"),
    dict(trigger="nobody_came", source="person", dest="bot", before="excuse_nobody"),
]


def _endings(config: AssistantConfig) -> Iterator[Mapping[str, Any]]:
    yield dict(trigger="idle", source="bot.listening", dest="new")
    waiting = [*(["bot.settling"] if config.settle_s else []), *_working(config)]
    yield dict(trigger="stop_requested", source=waiting, dest="bot.listening", before="stop")


def _ignored(config: AssistantConfig) -> dict[str, list[str]]:
    """Feedback and failed sends are in the log for whoever evaluates it; the dialog goes on."""
    noted = ["feedback_given", "reply_undelivered"]
    return {
        "new": [*noted, "handed_back", "stop_requested"],
        "bot": [*noted, "handed_back"],
        "bot.listening": ["stop_requested"],
        "person": [*noted, "stop_requested"],
    }


def _intent(turn: Turn) -> str:
    body = turn.event.body
    return body.intent if isinstance(body, IntentFound) else ""
