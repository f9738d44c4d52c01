"""What an author says of every dialog: `@always` and `@within`, and how they are judged.

A predicate is a method `(self, d)` or `(self, d, message)` of a `DialogTests` that returns whether
it holds; an AssertionError says that it does not, and why. Judged on what the log holds, after
the run: a predicate never decides what happens.
"""

import inspect
import math
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, TypeVar

from engine.ids import session_of
from testkit.dialogs import Dialog, Message, UnknownState
from testkit.worlds import Evidence, Fault

F = TypeVar("F", bound=Callable[..., bool])
_MARK = "__testkit_predicate__"
Stretch = tuple[int, int]
"""When a fault began, and when it ended (log time)."""


class Told(AssertionError):
    """A failure whose text is the whole report: nobody needs a traceback beside it."""


@dataclass(frozen=True, kw_only=True)
class Predicate:
    """A marked method. `seconds` (log time): None for @always."""

    name: str
    holds: Callable[..., bool]
    seconds: float | None = None

    def of(self, tests: object) -> "Predicate":
        """The same, bound to the `self` that it is called with."""
        return replace(self, holds=partial(self.holds, tests))


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that does not hold: a law's or a predicate's name, in which session, and since
    when (log time). `error`: a predicate raised it; it is the predicate that is broken."""

    kind: Literal["law", "predicate"]
    name: str
    session_id: str
    what: str
    at_ms: int
    error: Told | None = None

    def is_alike(self, other: "Finding") -> bool:
        """Whether the same does not hold in the other; a predicate may be called as a law is."""
        return (self.kind, self.name) == (other.kind, other.name)


def always(holds: F) -> F:
    """The method `(self, d)` must return True after every step of every dialog."""
    _check(holds, "always", "self, d")
    setattr(holds, _MARK, Predicate(name=holds.__name__, holds=holds))
    return holds


def _check(holds: object, mark: str, given: str) -> None:
    """What is marked is called, and returns: a coroutine, say, would be true whatever it says."""
    name = getattr(holds, "__name__", repr(holds))
    wanted = f"write a method: def {name}({given})"
    if isinstance(holds, staticmethod | classmethod) or not inspect.isfunction(holds):
        raise TypeError(f"@{mark}: {name} is a {type(holds).__name__}; {wanted}")
    if inspect.iscoroutinefunction(holds) or inspect.isasyncgenfunction(holds):
        raise TypeError(f"@{mark}: {name} is async, and nobody would await it; {wanted}")
    if inspect.isgeneratorfunction(holds):
        raise TypeError(f"@{mark}: {name} has a yield in it, and so returns no answer; {wanted}")


def within(seconds: float) -> Callable[[F], F]:
    """The method `(self, d, message)` must return True of each message at some moment within so
    many seconds of log time, above 0; where something of its partition breaks meanwhile, they count
    from there.

    A message that came too late to be answered (expired) is not asked about, nor is one that was
    set aside as a dead letter.
    """
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not is_number or not math.isfinite(seconds) or seconds <= 0:
        raise TypeError(f"write @within(seconds), more than 0: @within(120); found {seconds!r}")

    def marked(holds: F) -> F:
        _check(holds, "within", "self, d, message")
        predicate = Predicate(name=holds.__name__, holds=holds, seconds=seconds)
        setattr(holds, _MARK, predicate)
        return holds

    return marked


def predicates_of(cls: type) -> list[Predicate]:
    """All of a class and of the classes it inherits from, in the order written.

    Raises TypeError where one became something else than a method after it was marked.
    """
    found: dict[str, Predicate] = {}
    for kind in reversed(cls.__mro__):
        for name, value in vars(kind).items():
            found.pop(name, None)
            inner = getattr(value, "__func__", value)
            mark = getattr(inner, _MARK, None)
            if not isinstance(mark, Predicate):
                continue
            if inner is not value:
                shown = f"{kind.__qualname__}.{name} is a {type(value).__name__}"
                raise TypeError(f"{shown}: a predicate is a method, def {name}(self, d)")
            found[name] = mark
    return list(found.values())


def judge(
    predicates: Sequence[Predicate], evidence: Evidence, *, dialogs: Sequence[Dialog]
) -> Iterator[Finding]:
    """The first moment at which each predicate, bound, fails in each of the evidence's dialogs."""
    faults = [seen for seen in evidence.seen if isinstance(seen, Fault)]
    for dialog in dialogs:
        touched = _touched(dialog, faults)
        for predicate in predicates:
            found = (
                _always(predicate, dialog)
                if predicate.seconds is None
                else _within(predicate, dialog, touched)
            )
            if found is not None:
                yield found


def _touched(dialog: Dialog, faults: Sequence[Fault]) -> list[Stretch]:
    """When something was broken where the dialog is; what broke elsewhere excuses nothing here."""
    partitions = {moment.partition for moment in dialog.moments}  # one, where it has any
    here = [
        fault
        for fault in faults
        if fault.partition in partitions
        and (not fault.effect or session_of(fault.effect) == dialog.session_id)
    ]
    return sorted((fault.at_ms - fault.lasted_ms, fault.at_ms) for fault in here)


def _always(predicate: Predicate, dialog: Dialog) -> Finding | None:
    for number in range(1, len(dialog.moments) + 1):
        now = dialog.until(number)
        what = f"it does not hold in {now.state}"
        if found := _asked(predicate, now, (now,), what):
            return found
    return None


def _within(predicate: Predicate, dialog: Dialog, faults: Sequence[Stretch]) -> Finding | None:
    assert predicate.seconds is not None
    for came, message in dialog.came():
        if dialog.set_aside(message):
            continue
        end_ms = _end_ms(message.at_ms, int(predicate.seconds * 1_000), faults)
        found: Finding | None = None
        for number in range(came + 1, len(dialog.moments) + 1):
            now = dialog.until(number)
            if now.now_ms > end_ms and number > came + 1:
                break
            message = _as_of(now, message)
            if message.disposition == "expired":
                found = None
                break
            what = (
                f"{message.user}'s {_nth(dialog, message)} message, {_short(message.text)}, "
                f"is {message.disposition or 'still waiting'} after {predicate.seconds} s"
            )
            found = _asked(predicate, now, (now, message), what, at_ms=end_ms)
            if found is None or found.error is not None:
                break
        if found is not None:
            return found
    return None


def _as_of(dialog: Dialog, message: Message) -> Message:
    return next(one for one in dialog.messages if one.event_id == message.event_id)


def _end_ms(at_ms: int, ms: int, faults: Sequence[Stretch]) -> int:
    """When the time is over: the end of each fault that begins before lets it begin anew."""
    end_ms = at_ms + ms
    for began_ms, fault_ms in faults:
        if began_ms <= end_ms and at_ms <= fault_ms:
            end_ms = max(end_ms, fault_ms + ms)
    return end_ms


def _asked(
    predicate: Predicate,
    dialog: Dialog,
    given: tuple[Any, ...],
    what: str,
    at_ms: int | None = None,
) -> Finding | None:
    """Ask it once; what it finds, or what is wrong with it."""
    error: Told | None = None
    try:
        held: object = predicate.holds(*given)
        if held is None:
            error = Told(f"{predicate.name} returned None: return True or False")
        elif not isinstance(held, bool):
            what_it_is = (
                "a method; call it" if callable(held) else f"no bool, {_clipped(repr(held))}"
            )
            error = Told(f"{predicate.name} returned {what_it_is}: return True or False")
    except UnknownState as unknown:
        held, error = False, Told(f"{predicate.name}: {unknown}")
    except AssertionError as said:
        held, what = False, f"{what}: {said}" if str(said) else what
    except Exception as raised:
        held, error = False, _broken(predicate, raised)
    if held and error is None:
        return None
    return Finding(
        kind="predicate",
        name=predicate.name,
        session_id=dialog.session_id,
        what=what,
        at_ms=dialog.now_ms if at_ms is None else at_ms,
        error=error,
    )


def _broken(predicate: Predicate, raised: Exception) -> Told:
    """An author's error, with the author's lines only."""
    here = raised.__traceback__
    lines = traceback.format_exception(type(raised), raised, here.tb_next if here else None)
    told = Told(f"{predicate.name} cannot be asked, it raises:\n{''.join(lines).rstrip()}")
    told.__cause__ = raised
    return told


def _nth(dialog: Dialog, message: Message) -> str:
    ids = [one.event_id for _, one in dialog.came() if one.user == message.user]
    number = ids.index(message.event_id) + 1
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number, 'th') }"


def _short(text: str) -> str:
    return repr(_clipped(text))


def _clipped(text: str) -> str:
    return text if len(text) <= 40 else text[:40] + "…"
