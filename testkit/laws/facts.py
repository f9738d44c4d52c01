"""What many laws ask for, computed once: facts of a step or a dialog, and what a session awaits.

Under `testkit.laws.reading`. It judges nothing.
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

from engine.events import message_id
from engine.session import Pending, Session

NEVER = 1 << 62
"""Later than any log time."""
T = TypeVar("T")


class fact(Generic[T]):  # noqa: N801  # a decorator, as `property` is
    """A property that is computed once: `cached_property`, without a lock at each first use."""

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self._name = compute.__name__
        self.__doc__ = compute.__doc__

    @overload
    def __get__(self, one: None, owner: type) -> "fact[T]": ...
    @overload
    def __get__(self, one: object, owner: type) -> T: ...
    def __get__(self, one: object | None, owner: type) -> "fact[T] | T":
        if one is None:
            return self
        value = one.__dict__[self._name] = self._compute(one)
        return value


class Held:
    """What a session awaits, by id and in its order; many laws ask for it."""

    __slots__ = ("first_due_ms", "ids", "replies", "requests", "standing", "timers")

    def __init__(self, session: Session) -> None:
        pending = session.pending
        self.ids = [p.effect_id for p in pending]
        self.requests = [p.effect_id for p in pending if p.kind != "timer"]
        self.timers: list[Pending] = [p for p in pending if p.kind == "timer"]
        self.first_due_ms = min([p.due_ms for p in pending], default=NEVER)
        self.replies = [reply.reply_id for reply in session.open_replies]
        self.standing = [waiting.event_id for waiting in session.unanswered]
        """The messages that have no disposition yet."""
        if session.postponed:
            self.standing += [message_id(event) for event in session.postponed]
