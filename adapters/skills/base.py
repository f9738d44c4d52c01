"""What the author of a skill writes against: `AISkill`, and the `SkillContext` it is made with.

Lives in the worker process, at the very end of a request's path: the runner sends a call, the
worker makes a context and a skill of it, and what `execute` returns goes back as the outcome. See
docs/skills.md. What it never does: reach into the host. A skill knows its context, and nothing
else.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypedDict

from engine.errors import Unavailable

MODEL_TOKENS_DEFAULT = 256
"""About 200 English words: what a chat message may well be."""


class SkillMetadata(TypedDict):
    """What a skill says of itself. `trigger_words`: a message that begins with one starts it."""

    name: str
    version: str
    trigger_words: list[str]


class ModelUnavailable(Unavailable):
    """`context.model` has no answer.

    `reason`: `no_model` (none is configured, or the context is a copy in another process),
    `deadline` (it did not answer in time), `failed` (it failed, or said nothing), `refused` (over a
    bound).
    """

    def __init__(self, reason: Literal["no_model", "deadline", "failed", "refused"]) -> None:
        super().__init__(f"the model gives no answer: {reason}")
        self.reason = reason

    def __reduce__(self) -> tuple[type["ModelUnavailable"], tuple[str]]:
        return type(self), (self.reason,)


AskModel = Callable[[str, int, int], str]
"""Performs a model call: prompt, most new tokens, milliseconds it may take; the answer."""


@dataclass(frozen=True, kw_only=True)
class SessionFacts:
    """What a skill may know of the session: its id, a pseudonym that stays the same."""

    id: str = ""


@dataclass(frozen=True, kw_only=True)
class SkillContext:
    """All that one call of a skill is given. Picklable; a copy in another process has no model.

    `settings`: the skill's own table of the configuration, plain values. `request_id`: the same
    when this request is tried again after a crash, and of no other request: the idempotency key.
    `deadline_ms`: milliseconds since the epoch, UTC; the process is killed then. `locale`: the
    person's, such as `zh-CN`, or empty. `model_languages`: what the configured model speaks, as
    codes such as `en`; empty without a model. Every field has a default, so that a test can make
    one.
    """

    settings: Mapping[str, object] = field(default_factory=dict)
    session: SessionFacts = SessionFacts()
    request_id: str = ""
    deadline_ms: int = 0
    locale: str = ""
    model_languages: tuple[str, ...] = ()
    ask: AskModel | None = field(default=None, repr=False, compare=False)
    """What performs `model`: the worker's way to the host; a test gives a function."""
    ends_at_s: float = field(default=float("inf"), repr=False, compare=False)
    """The deadline on this machine's monotonic clock: a wall clock may jump during a call."""

    def remaining_ms(self) -> float:
        """Milliseconds until this call is killed, 0 at the least; infinite outside of a worker."""
        return max(0.0, (self.ends_at_s - time.monotonic()) * 1000)

    def model(
        self,
        prompt: str,
        *,
        max_tokens: int = MODEL_TOKENS_DEFAULT,
        within_ms: int | None = None,
    ) -> str:
        """Let the assistant's model answer a prompt; blocks until it has.

        `within_ms` bounds the wait more tightly than the deadline, which leaves the skill time to
        do without. Raises ModelUnavailable; a skill that lets it pass ends as a failed request.
        """
        if self.ask is None:
            raise ModelUnavailable("no_model")
        remaining_ms = min(self.remaining_ms(), within_ms if within_ms is not None else 3_600_000)
        if remaining_ms <= 0:
            raise ModelUnavailable("deadline")
        return self.ask(prompt, max_tokens, int(remaining_ms))

    def __getstate__(self) -> dict[str, object]:
        # The way to the host is a socket of this process: a copy elsewhere must not write to it.
        return {**replace(self, ask=None).__dict__}


class AISkill:
    """One capability: a new one is made for each call, in a worker process.

    Subclassing is for the type checker's sake; any class of this shape will do.
    """

    def __init__(self, context: SkillContext) -> None:
        self.context = context

    def execute(self, input_text: str) -> str:
        """What the person reads, made of what they sent. An exception fails the request."""
        raise NotImplementedError

    def get_metadata(self) -> SkillMetadata:
        """The same every time. Asked for once, at start, in a process of its own."""
        raise NotImplementedError
