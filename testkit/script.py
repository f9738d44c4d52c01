"""The words of a generated dialog: what people and runners say, by class.

Made by a flow's author (`DialogTests.says`, `model`, …) or derived from the machine; looked up by
the worlds. Whatever index is asked for, there is a text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

FAILURES = ("error", "timeout", "unavailable", "refused", "died")
"""Reasons of a failed request, by `Outcome.variant`."""


_SAYS: Mapping[str, Sequence[str]] = MappingProxyType({"chat": ("hi", "why?")})


@dataclass(frozen=True, kw_only=True)
class Script:
    """`says`: texts by class. `intents`: the intent of a class (a recogniser's answer), by class.

    `model` and `skill`: what they answer. `operator`: what operators say. `users`: how many people
    take part, from 1.
    """

    users: int = 2
    says: Mapping[str, Sequence[str]] = field(default_factory=lambda: _SAYS)
    intents: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    model: Sequence[str] = ("ok", "another answer", "")
    skill: Sequence[str] = ("done", "")
    operator: Sequence[str] = ("a person here",)

    def text(self, kind: str, variant: int) -> str:
        """The text of a class; of the first class where there is no such class."""
        texts = self.says.get(kind) or next(iter(self.says.values()))
        return texts[variant % len(texts)]

    def kind_of(self, text: str) -> str:
        """The class that a text is of; empty where it is of none."""
        return next((kind for kind, texts in self.says.items() if text in texts), "")
