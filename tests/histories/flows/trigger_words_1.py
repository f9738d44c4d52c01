"""Which skill a message names, and on which text it works: decided in the step, purely.

The assistant's conditions and callbacks ask this. A skill is named by one of its trigger words at
the beginning of a message; its text is what follows the word, else what the message quotes, else
the person's last long message.
"""

from engine.turn import Turn
from tests.histories.flows.assistant_config_1 import SkillTrigger

LONG_TEXT_CHARS = 200
"""A skill without a text of its own takes the person's last message longer than this."""


def with_message(turn: Turn) -> tuple[str, ...]:
    """What is asked once the arriving message is noted."""
    config = turn.config
    if config.busy == "interrupt" and not config.settle_s:
        return (turn.text,)  # it replaces what was asked; while settling, it always joins
    return (*turn.data.asked, turn.text)


def quoted(turn: Turn) -> str:
    """What the arriving message quotes, else what an earlier one of the question did."""
    message = turn.message
    return message.quoted if message is not None and message.quoted else turn.data.quoted


def named(turn: Turn, texts: tuple[str, ...]) -> SkillTrigger | None:
    """The skill whose trigger word one of the texts begins with, or that waits for its text."""
    skills: tuple[SkillTrigger, ...] = turn.config.skills
    for text in texts:
        begins = text.strip().casefold()
        for skill in skills:
            if any(_begins_with(begins, word.casefold()) for word in skill.trigger_words):
                return skill
    return next((skill for skill in skills if skill.name == turn.data.awaiting), None)


def brings_text(turn: Turn, texts: tuple[str, ...]) -> bool:
    """Whether the texts name a skill and there is something for it to work on."""
    skill = named(turn, texts)
    return skill is not None and bool(text_for(turn, skill, texts=texts))


def text_for(turn: Turn, skill: SkillTrigger, *, texts: tuple[str, ...]) -> str:
    """After the trigger word, else what is quoted, else the last long message, else nothing."""
    own = "\n".join(_after_word(text, skill) for text in texts).strip()
    if own:
        return own
    long = (past.user for past in reversed(turn.transcript) if len(past.user) > LONG_TEXT_CHARS)
    return quoted(turn) or next(long, "")


def _begins_with(text: str, word: str) -> bool:
    """`sum up` begins with `sum`, `summer` does not; Chinese has no such border."""
    if not word or not text.startswith(word):
        return False
    after = text[len(word) : len(word) + 1]
    return not (word[-1].isascii() and word[-1].isalnum() and after.isascii() and after.isalnum())


def _after_word(text: str, skill: SkillTrigger) -> str:
    """The text without the trigger word that it begins with, and without what follows that."""
    stripped = text.strip()
    # The longest word first: 总结一下 before 总结.
    for word in sorted(skill.trigger_words, key=len, reverse=True):
        if _begins_with(stripped.casefold(), word.casefold()):
            return stripped[len(word) :].lstrip(" \t\n:：,，。-")
    return stripped
