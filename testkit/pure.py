"""The smallest world: `engine.step` over one log in memory, one session for each user.

Nothing breaks here, nothing is late and nothing waits: each record is stepped as it is appended,
and each reply is taken by its platform at once. Faults do nothing. What is left is the flow and the
engine: the reference that other worlds are held against. Runners, egress and deadlines are the real
hops; it decides nothing of its own.
"""

from collections.abc import Sequence

from adapters.logs.memory import MemoryLog
from engine import codec
from engine.effects import REQUESTS, ModelRequest, RunnerRequest
from engine.errors import Refused
from engine.events import Event, Outcome
from engine.flow import Flow
from engine.ports import Append, Delivery, Receipt, SessionRow, StepRow
from engine.session import Session, Step
from engine.step import new_session, step
from engine.transcript import expand
from streams.clock import Deadlines
from streams.egress import Account, Egress
from streams.runners import Matched, Runners
from streams.sessions import activated, cancelled, first_due, ordered, resolved
from testkit import stimuli
from testkit.scene import ACCOUNT, Asking, Message, Scene, config_of, last_words
from testkit.script import Script
from testkit.simulator import outcomes
from testkit.simulator.cluster import CHANNEL
from testkit.simulator.machines import START_MS
from testkit.simulator.platform import reached
from testkit.stimuli import AnyStimulus
from testkit.worlds import (
    Acknowledged,
    Began,
    Called,
    Evidence,
    Received,
    Rejected,
    Said,
    Seen,
    Shown,
    told,
)

ROUNDS_MAX = 1_000
"""Of coming to rest: a dialog that still has work then never rests."""


class PureWorld:
    """One run of `flow`. `seed` changes nothing: there is no chance in it."""

    def __init__(self, flow: Flow, *, script: Script, seed: int = 0) -> None:
        self.flow = flow
        self.now_ms = START_MS
        self._script = script
        self._scene = Scene(script)
        self._log = MemoryLog()
        self._owner = self._log.claim(0)
        self._sessions: dict[str, Session] = {}
        self._requests: dict[str, RunnerRequest] = {}  # pending, the oldest first
        self._ended: list[RunnerRequest] = []
        self._runners = Runners("all", calls_max=1_000_000)
        account = Account(idempotent=True)
        self._egress = Egress(
            {(CHANNEL, ACCOUNT): account}, delivery=self._log.delivery, jitter=lambda: 0.5
        )
        self._deadlines = Deadlines()
        self._seen: list[Seen] = []
        self._last_ms = self.now_ms
        self._resting_ms = self.now_ms
        self._rested = False
        control = activated(flow, config_of(flow), at_ms=self.now_ms)
        self._append(Append("", control.id, codec.encode(control)))

    # ---- the World port ----------------------------------------------------------------------

    def act(self, stimulus: AnyStimulus) -> None:
        """Let it happen, and all that follows at once."""
        self._rested = False
        self.now_ms += 1
        if not isinstance(stimulus, stimuli.QUIET):
            self._last_ms = self.now_ms
        self._happens(stimulus)
        self._pass(0)  # what is due now comes after what happens now

    def _happens(self, stimulus: AnyStimulus) -> None:
        match stimulus:
            case stimuli.Say():
                message = self._scene.say(stimulus, now_ms=self.now_ms)
                self._seen.append(message.wrote)
                self._take(message)
            case stimuli.Again(j=j) if (repeated := self._scene.again(j)) is not None:
                self._take(repeated)
            case stimuli.Outcome() if self._requests:
                self._end(stimulus)
            case stimuli.Frame():
                self._frame(stimulus)
            case stimuli.Late(i=i) if self._ended:
                self._late(self._ended[i % len(self._ended)])
            case stimuli.Wait(ms=ms):
                self._wait(ms)
            case stimuli.Operator() | stimuli.Stop() | stimuli.Feedback():
                session = self._sessions.get(self._scene.session_of(stimulus.user))
                if session is not None:
                    self._ask(stimulus, session)
            case _:
                pass

    def rest(self) -> None:
        """Let all requests end well, and time pass until nobody waits for an answer.

        Raises AssertionError where that does not end: a world that never rests is a finding.
        """
        self._resting_ms = self.now_ms
        for _ in range(ROUNDS_MAX):
            due_ms = self._deadlines.next_ms()
            if self._requests:
                request = next(iter(self._requests.values()))
                self._done(request, outcomes.good(self._script, request))
            elif due_ms is not None and any(_waits(one) for one in self._sessions.values()):
                self._wait(None)
            else:
                self._rested = True
                return
        raise AssertionError(f"the world has not come to rest after {ROUNDS_MAX} rounds")

    def evidence(self) -> Evidence:
        """What there is to judge so far."""
        return Evidence(
            logs=(self._log,),
            seen=tuple(self._seen),
            flows={str(self.flow.ref): self.flow},
            idempotent=True,
            faults_end_ms=self._last_ms if self._rested else None,
            resting_ms=self._resting_ms if self._rested else None,
            rested_ms=self.now_ms if self._rested else None,
        )

    # ---- what happens ------------------------------------------------------------------------

    def _take(self, message: Message) -> None:
        try:
            taken = self._scene.ingress.message(message.incoming, now_ms=self.now_ms)
        except Refused:
            self._seen.append(told(message.wrote, Rejected, now_ms=self.now_ms))
            return
        self._append(taken.append)
        self._seen.append(told(message.wrote, Acknowledged, now_ms=self.now_ms))

    def _ask(self, what: Asking, session: Session) -> None:
        taken, asked = self._scene.asked(what, session, seen=self._seen, now_ms=self.now_ms)
        self._seen.append(asked)
        self._append(taken.append)
        self._seen.append(told(asked, Acknowledged, now_ms=self.now_ms))

    def _end(self, how: stimuli.Outcome) -> None:
        requests = list(self._requests.values())
        request = requests[how.i % len(requests)]
        if how.how == "ok":
            self._done(request, outcomes.said(self._script, request, variant=how.variant))
        elif how.how == "fail":
            self._done(request, outcomes.failed(request, how.variant))
        else:
            self._done(request, None)

    def _done(self, request: RunnerRequest, outcome: Outcome | None) -> None:
        """The runner of a request comes back with this; None: it breaks its contract."""
        effect_id, now_ms = request.effect_id, self.now_ms
        if outcome is None:
            done = self._runners.crashed(effect_id, RuntimeError("simulated"), now_ms=now_ms)
        else:
            done = self._runners.done(effect_id, outcome, now_ms=now_ms)
        assert done is not None, "what is pending here is being worked on"
        self._seen += last_words(effect_id, outcome, now_ms=now_ms)
        self._append(done)

    def _frame(self, frame: stimuli.Frame) -> None:
        calls = [one for one in self._requests.values() if isinstance(one, ModelRequest)]
        if not calls:
            return
        effect_id = calls[frame.i % len(calls)].effect_id
        text = outcomes.half(self._script, frame.variant)
        self._seen.append(Said(at_ms=self.now_ms, effect_id=effect_id, text=text))
        found = self._runners.said(effect_id, text, now_ms=self.now_ms)
        if isinstance(found, Matched):
            self._append(found.outcome)
        elif found is not None and self._egress.open_replies.show(found):
            self._seen.append(
                Shown(
                    at_ms=self.now_ms,
                    session_id=found.session_id,
                    reply_id=found.reply_id,
                    attempt=found.attempt,
                    n=found.n,
                    text=found.text,
                    watermark=self._log.watermark(0),
                )
            )

    def _late(self, request: RunnerRequest) -> None:
        late, seen = self._scene.late(request, now_ms=self.now_ms)
        self._seen += seen
        self._append(late)

    def _wait(self, ms: int | None) -> None:
        if ms is not None:
            self._pass(ms)
        elif (due_ms := self._deadlines.next_ms()) is not None:
            self._pass(max(0, due_ms - self.now_ms))

    def _pass(self, ms: int) -> None:
        """Time passes, and what comes due meanwhile happens."""
        until_ms = self.now_ms + max(0, ms)
        while (due_ms := self._deadlines.next_ms()) is not None and due_ms <= until_ms:
            self.now_ms = max(self.now_ms, due_ms)
            self._append()
        self.now_ms = until_ms

    # ---- the data path -----------------------------------------------------------------------

    def _append(self, *appends: Append) -> None:
        """What comes in, and after it what is due: in one batch, as hosts do it."""
        for append in (*appends, *self._deadlines.reached(self.now_ms, limit=256)):
            self._record(append)

    def _record(self, append: Append) -> None:
        """One record: durable together with its step."""
        with self._log.transaction(self._owner) as tx:
            (offset,) = tx.append([append], at_ms=self.now_ms)
            tx.put_watermark(offset)
            if not append.session_id:
                return
            event = codec.decode_event(append.value)
            before = self._sessions.get(event.session_id)
            done = step(self.flow, before or new_session(self.flow, event.session_id), event)
            session, record = done.session, done.record
            tx.put_sessions([SessionRow(session.id, done.encoded, bool(session.pending))])
            row = StepRow(session.id, record.seq, event.id, offset, done.encoded_record)
            tx.put_steps([row], at_ms=self.now_ms)
            taken = (self._egress.order(order, now_ms=self.now_ms) for order in ordered(done))
            tx.put_deliveries([delivery for deliveries in taken for delivery in deliveries])
        self._egress.confirm()
        self._sessions[session.id] = session
        self._deadlines.put(session.id, first_due(session.pending))
        self._perform(done, event)

    def _perform(self, done: Step, event: Event) -> None:
        for effect_id in (*cancelled(done), *resolved(event)):
            if effect_id in self._requests:
                self._runners.cancel(effect_id)
                self._ended.append(self._requests.pop(effect_id))
        for effect in done.record.effects:
            if isinstance(effect.body, REQUESTS):
                request = self._requests[effect.id] = expand(done.session, effect)
                self._runners.put(request)
        begun, _ = self._runners.start(self.now_ms)
        self._seen += [Began(at_ms=self.now_ms, request=request) for request in begun]
        while marked := self._egress.mark(self.now_ms, limit=256):
            self._put(marked)
            self._put([self._sent(delivery) for delivery in marked])

    def _put(self, deliveries: Sequence[Delivery]) -> None:
        with self._log.transaction(self._owner) as tx:
            tx.put_deliveries(deliveries)

    def _sent(self, delivery: Delivery) -> Delivery:
        reply_id, session_id = delivery.reply_id, reached(delivery.address)
        text = delivery.text or ""
        stored = self._log.delivery(reply_id)
        called = self._egress.called(reply_id, self.now_ms)
        assert called, "nobody else has this account"
        self._seen.append(
            Called(
                at_ms=self.now_ms,
                session_id=session_id,
                reply_id=reply_id,
                text=text,
                took=True,
                marked=stored is not None and stored.state == "sending",
                watermark=self._log.watermark(0),
            )
        )
        self._seen.append(
            Received(at_ms=self.now_ms, session_id=session_id, reply_id=reply_id, text=text)
        )
        sent = self._egress.sent(reply_id, Receipt(platform_ids=(reply_id,)), now_ms=self.now_ms)
        assert sent is not None
        return sent


def _waits(session: Session) -> bool:
    """Whether somebody awaits an answer, or the session a request's end."""
    awaits = any(pending.kind != "timer" for pending in session.pending)
    return awaits or bool(session.unanswered or session.postponed)
