"""Hop 3, runners: from a request to exactly one outcome, whatever the runner does.

In: expanded requests, what a runner says while it works, and how it ended. Out: `Frame`s to show
and the one outcome event to append. Next hop: back to `streams.sessions` with the outcome.

Drops what expired unstarted, refuses patterns that nobody may match, bounds what is in flight, cuts
what is too long for an event, turns an empty answer into a failure, holds back what a fallback
strategy may match, and bounds the frames. It performs nothing: hosts run the runners. It reads no
clock: `now_ms` is given.
"""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace

from engine import codec
from engine.effects import IntentRequest, ModelRequest, RunnerRequest, SkillRequest
from engine.errors import Refused
from engine.events import (
    Event,
    FailureReason,
    IntentFailed,
    IntentFound,
    ModelFailed,
    ModelReplied,
    Outcome,
    SkillDone,
    SkillFailed,
)
from engine.fallback import Gate, check_pattern
from engine.ids import outcome_event_id, session_of
from engine.limits import FRAMES_PER_S_MAX, REPLY_TEXT_BYTES_MAX
from engine.ports import Append, Frame
from streams.ingress import cleaned

FRAME_EVERY_MS = 1_000 // FRAMES_PER_S_MAX
_FAILED: dict[type, type[ModelFailed] | type[SkillFailed] | type[IntentFailed]] = {
    ModelRequest: ModelFailed,
    SkillRequest: SkillFailed,
    IntentRequest: IntentFailed,
}


class Matched(NamedTuple):
    """A fallback strategy matched what was said: stop the call, append this."""

    outcome: Append


class _Call:
    """One request that is being worked on.

    Raises Refused where a pattern is none, or could run long: such a request would end each process
    that gets it, or hold it up.
    """

    __slots__ = ("attempt", "frames", "gate", "looked_ms", "request", "shown")

    def __init__(self, request: RunnerRequest, *, attempt: int) -> None:
        self.request = request
        self.attempt = attempt
        fallbacks = () if isinstance(request, IntentRequest) else request.fallbacks
        for strategy in fallbacks:
            check_pattern(strategy.pattern)
        self.gate = Gate(fallbacks) if fallbacks else None
        self.frames = 0
        self.shown = ""
        self.looked_ms = -FRAME_EVERY_MS


class Runners:
    """The runners hop of one kind (model, skill or intent).

    `calls_max`: requests worked on at once; more wait in order. `attempt`: greater than that of
    every process that may have worked on the same requests before: its frames win. It may be
    raised, for the calls that start from then on.
    """

    def __init__(self, kind: str, *, calls_max: int, attempt: int = 1) -> None:
        self._kind = kind
        self._calls_max = calls_max
        self.attempt = attempt
        self._waiting: deque[RunnerRequest] = deque()
        self._calls: dict[str, _Call] = {}
        self._known: set[str] = set()  # waiting or worked on

    @property
    def in_flight(self) -> int:
        """Requests being worked on."""
        return len(self._calls)

    @property
    def waiting(self) -> int:
        """Requests that wait for a place."""
        return len(self._waiting)

    def put(self, request: RunnerRequest) -> None:
        """Queue a request; one that is already here is not taken twice."""
        if request.effect_id not in self._known:
            self._known.add(request.effect_id)
            self._waiting.append(request)

    def cancel(self, effect_id: str) -> bool:
        """Nobody awaits it any more; True where the host has to stop a runner."""
        if effect_id not in self._known:
            return False
        self._known.discard(effect_id)
        return self._calls.pop(effect_id, None) is not None

    def start(self, now_ms: int) -> tuple[list[RunnerRequest], list[Append]]:
        """What to start now, and the outcomes of what ended unstarted."""
        started: list[RunnerRequest] = []
        ended: list[Append] = []
        while self._waiting and len(self._calls) < self._calls_max:
            request = self._waiting.popleft()
            if request.effect_id not in self._known:  # cancelled while it waited
                continue
            failed = self._begun(request, now_ms)
            if failed is None:
                started.append(request)
            else:
                ended.append(self._ended(request.effect_id, failed, now_ms))
        return started, ended

    def _begun(self, request: RunnerRequest, now_ms: int) -> Outcome | None:
        """Why it does not begin; None where it does."""
        if request.expires_ms and request.expires_ms <= now_ms:
            return failure(request, "expired", detail="not started in time")
        try:
            self._calls[request.effect_id] = _Call(request, attempt=self.attempt)
        except Refused as error:
            return failure(request, "refused", detail=cleaned(f"fallback pattern: {error}"))
        return None

    def said(self, effect_id: str, text: str, *, now_ms: int) -> Frame | Matched | None:
        """The whole text so far of a streaming call: a frame to show, where it is time for one.

        Most of what a model says is only looked at when the next frame is due: a token costs a
        comparison of two numbers, however long the text is and whatever the patterns are.
        """
        call = self._calls.get(effect_id)
        if call is None or not isinstance(call.request, ModelRequest):
            return None
        if now_ms - call.looked_ms < FRAME_EVERY_MS:
            return None
        text = cleaned(text)
        if not text:
            return None
        call.looked_ms = now_ms
        if call.gate is not None:
            action = call.gate.match(text, finished=False)
            if action is not None:
                outcome = ModelReplied(text=_cut(text)[0], fallback=action)
                return Matched(self._ended(effect_id, outcome, now_ms))
            text = call.gate.shown(text)
        if not call.request.stream:
            return None
        shown = _cut(text)[0].rstrip()
        if not shown or shown == call.shown:
            return None
        call.frames += 1
        call.shown = shown
        return Frame(
            reply_id=call.request.reply_id,
            session_id=call.request.session_id,
            attempt=call.attempt,
            n=call.frames,
            text=shown,
        )

    def done(self, effect_id: str, outcome: Outcome, *, now_ms: int) -> Append | None:
        """How a call ended, as the event to append; None where nobody awaits it any more."""
        call = self._calls.get(effect_id)
        if call is None:
            return None
        match outcome:
            case ModelReplied() | SkillDone():
                outcome = _bounded(outcome, call)
            case IntentFound():
                pass
            case _:
                outcome = replace(outcome, detail=cleaned(outcome.detail)[:500])
        return self._ended(effect_id, outcome, now_ms)

    def crashed(self, effect_id: str, error: BaseException, *, now_ms: int) -> Append | None:
        """The runner itself raised: its caller did not keep the port's contract."""
        call = self._calls.get(effect_id)
        if call is None:
            return None
        failed = failure(call.request, "error", detail=type(error).__name__)
        return self._ended(effect_id, failed, now_ms)

    def _ended(self, effect_id: str, outcome: Outcome, now_ms: int) -> Append:
        self._calls.pop(effect_id, None)
        self._known.discard(effect_id)
        return outcome_append(effect_id, outcome, now_ms=now_ms)


class Started(NamedTuple):
    """What a host is to start now, and the outcomes of what ended unstarted."""

    requests: list[RunnerRequest]
    ended: list[Append]


class AllRunners:
    """The runners hops of one worker, one for each kind: what each of its hosts does with them.

    A host that has stopped a runner, or has its outcome, asks `start` of that hop for what waits.
    """

    def __init__(self, *, calls_max: int, attempt: int) -> None:
        self._hops: dict[type, Runners] = {
            ModelRequest: Runners("model", calls_max=calls_max, attempt=attempt),
            SkillRequest: Runners("skill", calls_max=calls_max, attempt=attempt),
            IntentRequest: Runners("intent", calls_max=calls_max, attempt=attempt),
        }

    def begin_anew(self, attempt: int) -> None:
        """Requests come that another process may have worked on: what starts from now on wins."""
        for hop in self._hops.values():
            hop.attempt = attempt

    @property
    def in_flight(self) -> int:
        """Requests being worked on or waiting for it."""
        return sum(hop.in_flight + hop.waiting for hop in self._hops.values())

    def of(self, request: RunnerRequest) -> Runners:
        """The hop that performs this."""
        return self._hops[type(request)]

    def put(self, requests: Sequence[RunnerRequest], *, now_ms: int) -> Started:
        """Take these; those already here are not started twice."""
        for request in requests:
            self.of(request).put(request)
        begun = Started([], [])
        for kind in dict.fromkeys(type(request) for request in requests):
            started, ended = self._hops[kind].start(now_ms)
            begun.requests.extend(started)
            begun.ended.extend(ended)
        return begun

    def cancel(self, effect_id: str, *, now_ms: int) -> Started | None:
        """Nobody awaits it any more. Where its runner has to be stopped: what starts instead."""
        for hop in self._hops.values():
            if hop.cancel(effect_id):
                return Started(*hop.start(now_ms))
        return None


def failure(request: RunnerRequest, reason: FailureReason, *, detail: str) -> Outcome:
    """The outcome of a request that failed."""
    return _FAILED[type(request)](reason=reason, detail=detail)


def outcome_append(effect_id: str, outcome: Outcome, *, now_ms: int) -> Append:
    """The one event that ends a request: whoever reports it, the id is the same."""
    event = Event(
        id=outcome_event_id(effect_id),
        session_id=session_of(effect_id),
        at_ms=now_ms,
        source="runner",
        effect=effect_id,
        body=outcome,
    )
    return Append(event.session_id, event.id, codec.encode(event))


def _bounded(outcome: ModelReplied | SkillDone, call: _Call) -> Outcome:
    text, cut = _cut(cleaned(outcome.text))
    made_by = outcome.made_by
    if not text:
        return _FAILED[type(call.request)](reason="empty", made_by=made_by)
    if text == outcome.text and call.gate is None:
        return outcome
    action = call.gate.match(text) if call.gate is not None else None
    return replace(outcome, text=text, cut=cut or outcome.cut, fallback=action)


def _cut(text: str) -> tuple[str, bool]:
    """At most REPLY_TEXT_BYTES_MAX of UTF-8, never in the middle of a character."""
    if len(text) * 4 <= REPLY_TEXT_BYTES_MAX:
        return text, False
    encoded = text.encode()
    if len(encoded) <= REPLY_TEXT_BYTES_MAX:
        return text, False
    return encoded[:REPLY_TEXT_BYTES_MAX].decode(errors="ignore"), True
