"""The assistant's configuration and its texts: what an administrator may choose.

All of it is part of the flow ref, so a recorded dialog says by which words and limits it was led.
Defaults are in English or Chinese, by `language`; each text can be set.
"""

from typing import Annotated, Literal

import msgspec

from engine.effects import FallbackStrategy
from statemachines.data import FlowConfig, Seconds

AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]
Busy = Literal["queue", "merge", "interrupt", "steer"]


class SkillTrigger(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """A skill's name and the words that start it, at the beginning of a message."""

    name: str
    trigger_words: tuple[str, ...]


class Texts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """What the assistant itself says. An empty text means the default of the language."""

    apology: str = ""
    queue_full: str = ""
    ask_for_text: str = ""
    handed_over: str = ""
    person_asked_for: str = ""
    nobody_came: str = ""
    handed_back: str = ""


ENGLISH = Texts(
    apology="Sorry, I could not answer that just now. Please try again.",
    queue_full="I am still busy and too many messages are waiting. Please wait for an answer.",
    ask_for_text="Please send me the text for this.",
    handed_over="I am passing this on to a colleague, who will answer here.",
    person_asked_for="A colleague will answer you here.",
    nobody_came="Nobody is free just now, sorry. You can go on with me meanwhile.",
    handed_back="You are talking to the assistant again.",
)
CHINESE = Texts(
    apology="抱歉，我暂时无法回答，请稍后再试。",
    queue_full="还在处理之前的消息，排队的消息太多了，请先等我回复。",
    ask_for_text="请把需要处理的文字发给我。",
    handed_over="这个问题我转给同事处理，请稍候。",
    person_asked_for="已为您转接人工，请稍候。",
    nobody_came="抱歉，现在没有同事在线，您可以继续和我对话。",
    handed_back="您正在与智能助手对话。",
)


class AssistantConfig(FlowConfig, frozen=True, kw_only=True, gc=False):
    """How the assistant behaves.

    `settle_s`: seconds it waits for the rest of what a person is typing; 0 leaves that out.
    `busy`: what a message does that comes while an answer is made: it waits for its turn (queue),
    joins the question and the answer starts anew (merge; while a skill works, it waits), replaces
    the question (interrupt), or is asked next while the answer goes on (steer). `on_failure`:
    apologise, or pass the dialog to a person after `failures_max` failures in a row. `recogniser`:
    ask it which skill a message means, where no trigger word says so.
    """

    language: Literal["en", "zh"] = "en"
    texts: Texts = Texts()
    greeting: str = ""
    system_prompt: str = ""
    max_tokens: AtLeastOne = 512
    settle_s: Seconds = 0
    model_within_s: AtLeastOne = 45
    skill_within_s: AtLeastOne = 60
    intent_within_s: AtLeastOne = 3
    busy: Busy = "queue"
    skills: tuple[SkillTrigger, ...] = ()
    recogniser: bool = False
    fallback_strategies: tuple[FallbackStrategy, ...] = ()
    on_failure: Literal["apologise", "person"] = "apologise"
    failures_max: AtLeastOne = 1
    person_timeout_s: AtLeastOne = 900
    idle_s: AtLeastOne = 1_800

    def text(self, name: str) -> str:
        """What to say: the configured text, else the default of the language."""
        default = CHINESE if self.language == "zh" else ENGLISH
        return str(getattr(self.texts, name) or getattr(default, name))

    @property
    def apology(self) -> str:
        return self.text("apology")

    @property
    def queue_full(self) -> str:
        return self.text("queue_full")
