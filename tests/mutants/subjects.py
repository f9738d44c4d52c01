"""What the hunt runs: flows with their configurations, words, and what their authors say of them.

The shipped flows in the ways in which they can be configured, and one flow more. What an author
says (`author`) is about the flow alone: it was written from the flow's own documentation.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from engine.effects import FallbackStrategy
from engine.events import HandedBack, message_id
from engine.session import Session
from statemachines.assistant import Assistant
from statemachines.assistant_config import AssistantConfig, SkillTrigger
from statemachines.flow import Flow
from statemachines.leave_request import LeaveRequest
from testkit.dialogs import Dialog
from testkit.script import Script
from tests.mutants.tangled import Tangled

Author = Callable[[Session, Any, Dialog], Iterator[str]]
Earlier = Callable[[], tuple[Flow, ...]]

_SORRY = FallbackStrategy(pattern="so sorry.{0,9}help", action="escalate_to_human")
_SKILLS = (SkillTrigger(name="summary", trigger_words=("sum up", "总结")),)
_MODEL = ("ok", "another answer", "", "well, I am so sorry, no help", "长" * 30_000, "a\nb")


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A flow under test; `flow` builds it, once: a test of its own. `versions`: ran before.

    `breaks`: how the kit names an error that the flow raises on purpose; any other is a finding.
    """

    name: str
    flow: Callable[[], Flow]
    says: Mapping[str, Sequence[str]]
    author: Author
    versions: Earlier = tuple
    breaks: str = ""

    def script(self, users: int) -> Script:
        """The words of a run."""
        return Script(
            users=users,
            says=self.says,
            intents={"skill": "summary"},
            model=_MODEL,
            skill=("done", "", "so sorry, no help"),
        )


# ---- what authors say ----------------------------------------------------------------------------


def _of_the_assistant(session: Session, data: Any, dialog: Dialog) -> Iterator[str]:
    if session.state in ("bot.listening", "person", "new") and (data.asked or data.noted):
        yield f"something is asked in {session.state}"
    if session.state in ("bot.listening", "person", "new") and session.unanswered:
        yield f"a message waits in {session.state}, where nobody works on it"
    if session.state == "new" and session.seq and data != Assistant.Data():
        yield "a new dialog begins with data"
    yield from _of_answers(dialog)
    for moment in dialog.moments:
        stays = {moment.before, moment.after, *(micro.dest for micro in moment.record.path)}
        if stays == {"person"} and any(said.author == "bot" for said in moment.said):
            yield "the bot speaks while a person has taken over"
        back = moment.event is not None and isinstance(moment.event.body, HandedBack)
        if back and not moment.record.note and not moment.after.startswith(("bot", "new")):
            yield "who was handed back does not talk to the bot"


def _of_answers(dialog: Dialog) -> Iterator[str]:
    """One answer is for what was there when it was asked for."""
    came: dict[str, int] = {}
    asked: dict[str, int] = {}
    for number, moment in enumerate(dialog.moments):
        if moment.event is not None:
            came.setdefault(message_id(moment.event), number)
        asked |= {effect.id: number for effect in moment.record.effects}
        request = None if moment.event is None else moment.event.effect
        # Beside a late outcome stands only what its time alone would have done.
        if request in asked and not moment.record.note and len(moment.said) == 1:
            for ended in moment.record.dispositions:
                is_answered = ended.how in ("answered", "merged") and not ended.note
                if is_answered and came[ended.message] > asked[request]:
                    yield "a message is answered by what was asked before it came"


_KNOWN = {
    "new": (),
    "form.kind": (),
    "form.dates.since": ("kind",),
    "form.dates.until": ("kind", "since"),
    "form.reason": ("kind", "since", "until"),
    "form.confirm": ("kind", "since", "until", "reason"),
}


def _of_the_form(session: Session, data: Any, dialog: Dialog) -> Iterator[str]:
    known = tuple(n for n in ("kind", "since", "until", "reason") if getattr(data, n))
    if known != _KNOWN[session.state]:
        yield f"in {session.state} these are known: {', '.join(known) or 'none'}"
    if session.unanswered:
        yield "a message waits, though the form answers each at once"
    if data.until and data.until < data.since:
        yield "the last day is before the first"


def _of_nothing(session: Session, data: Any, dialog: Dialog) -> Iterator[str]:
    yield from ()


# ---- the subjects --------------------------------------------------------------------------------

_ASSISTANT_SAYS = {
    "chat": ("hi", "why?", "报销?"),
    "skill": ("sum up a long text", "总结", "sum up"),
    "person": ("human",),
}
_FORM_SAYS = {
    "kind": ("annual", "sick"),
    "day": ("tomorrow", "2027-02-20", "2027-02-10", "today"),
    "other": ("because", "hm"),
    "yes": ("yes",),
    "no": ("no",),
    "cancel": ("cancel",),
}


def _assistant(name: str, **config: Any) -> Subject:
    @cache
    def build() -> Flow:
        return Assistant(AssistantConfig(fallback_strategies=(_SORRY,), **config))

    @cache
    def before() -> tuple[Flow, ...]:
        return (Assistant(AssistantConfig(settle_s=1)), Assistant(AssistantConfig(idle_s=60)))

    return Subject(
        name=f"assistant, {name}",
        flow=build,
        says=_ASSISTANT_SAYS,
        author=_of_the_assistant,
        versions=before,
    )


SUBJECTS = (
    _assistant("as shipped"),
    _assistant("queue, settling, skills", settle_s=2, skills=_SKILLS, greeting="welcome"),
    _assistant("merge, settling", busy="merge", settle_s=2),
    _assistant("interrupt", busy="interrupt", recogniser=True, skills=_SKILLS),
    _assistant("interrupt, settling", busy="interrupt", settle_s=2),
    _assistant("steer", busy="steer", skills=_SKILLS, on_failure="person", failures_max=2),
    _assistant("steer, recogniser", busy="steer", recogniser=True),
    Subject(name="leave_request", flow=cache(LeaveRequest), says=_FORM_SAYS, author=_of_the_form),
    Subject(
        name="tangled",
        flow=cache(Tangled),
        says={"chat": ("hi", "why?"), "boom": ("boom",), "reset": ("reset",)},
        author=_of_nothing,
        breaks="RuntimeError in ask",
    ),
)
