"""What a conversation runs on by default: `engine.step` and nothing else, in milliseconds.

One session for each person; each record is stepped as it comes, and each reply is read at once.
Messages go through the ingress hop and outcomes through the runners hop, so that they are what they
would be on a host. Nothing breaks here: a fault needs `world: simulator`. Everything goes through
the codec, as it would on a host.
"""

from collections.abc import Sequence

from engine import codec
from engine.effects import (
    REQUESTS,
    CloseReply,
    Forward,
    IntentRequest,
    ModelRequest,
    RunnerRequest,
    SendMessage,
    SkillRequest,
)
from engine.errors import Refused
from engine.events import IntentFound, ModelReplied, Outcome, SkillDone
from engine.flow import Flow
from engine.ports import Append, Incoming
from engine.pseudonym import Key
from engine.session import Session, StepRecord
from engine.step import new_session, step
from engine.transcript import expand
from streams.chat import lines
from streams.chat.run import CannotHappen
from streams.chat.text import counted
from streams.clock import Deadlines
from streams.ingress import (
    Ingress,
    feedback_given,
    handed_back,
    operator_said,
    stop_requested,
)
from streams.runners import Matched, Runners, failure, outcome_append
from streams.sessions import first_due

START_MS = 1_800_000_000_000
"""Friday, 2027-01-15, 08:00 UTC: every conversation begins then."""
CHANNEL, ACCOUNT = "chat", "a"
_KEY = Key(id="k1", secret=b"known to everybody: nothing here is personal")
_KINDS: dict[type, lines.Kind] = {
    ModelRequest: "model",
    SkillRequest: "skill",
    IntentRequest: "intent",
}


class PureTalk:
    """One conversation with `flow`. `words`: what a line means that names a word by number."""

    def __init__(
        self, flow: Flow, people: Sequence[str], *, words: lines.Words | None = None
    ) -> None:
        self.flow = flow
        self.now_ms = START_MS
        self.records: list[StepRecord] = []
        self._words = words or lines.Words()
        self._sessions: dict[str, Session] = {}
        self._ingress = Ingress(
            CHANNEL, ACCOUNT, keys=(_KEY,), known=lambda session_id: session_id in self._sessions
        )
        self._ids = {who: self._ingress.session_id(who, who) for who in people}
        self._runners = Runners("all", calls_max=1_000_000)
        self._deadlines = Deadlines()
        self._requests: dict[str, RunnerRequest] = {}  # pending, the oldest first
        self._ended: list[RunnerRequest] = []
        self._messages: list[tuple[str, Incoming, str]] = []  # who, what, its event's id
        self._endings: dict[str, str] = {}
        self._told: dict[str, list[tuple[str, str]]] = {}  # (reply, text), by session
        self._forwarded: dict[str, list[str]] = {}
        self._asked = 0

    # ---- the Talk port -----------------------------------------------------------------------

    def act(self, line: lines.Happens | lines.Fault) -> None:
        """Let it happen, and all that follows at once."""
        match line:
            case lines.Says():
                self._say(line)
            case lines.Again():
                self._again(line)
            case lines.Answers() | lines.EndsWith() | lines.Fails() | lines.Breaks():
                self._end(line)
            case lines.Shows():
                self._show(line)
            case lines.Late():
                self._late(line)
            case lines.Waits():
                self._wait(line.ms)
            case lines.OperatorSays() | lines.HandsBack() | lines.Stops() | lines.Judges():
                self._ask(line)
            case _:
                raise CannotHappen("nothing breaks here: faults need `world: simulator` at the top")

    def settle(self) -> None:
        """It has: nothing waits here."""

    def told(self, who: str) -> Sequence[str]:
        """All that they were told so far."""
        return [text for _, text in self._told.get(self._ids[who], [])]

    def forwarded(self, who: str) -> Sequence[str]:
        """All messages of theirs that operators were shown."""
        return self._forwarded.get(self._ids[who], [])

    def state(self, who: str) -> str:
        """The leaf that their dialog is in."""
        session = self._sessions.get(self._ids[who])
        return self.flow.initial if session is None else session.state

    def ending(self, who: str, number: int | None) -> str:
        """How a message of theirs ended; `waiting` while it has not."""
        return self._endings.get(self._message(who, number)[2], "waiting")

    def asked(self, who: str, kind: lines.Kind) -> str | None:
        """What the newest pending request of theirs of this kind is about."""
        for request in reversed(self._requests.values()):
            if request.session_id == self._ids[who] and _KINDS[type(request)] == kind:
                return request.lines[-1].text if isinstance(request, ModelRequest) else request.text
        return None

    # ---- what people and platforms do --------------------------------------------------------

    def _say(self, line: lines.Says) -> None:
        message = Incoming(
            account=ACCOUNT,
            conversation=line.who,
            sender=line.who,
            message_id=str(len(self._messages) + 1),
            text=line.text,
            quoted=line.quoted,
            sent_ms=self.now_ms - line.age_ms,
        )
        append = self._taken(message)
        self._messages.append((line.who, message, append.event_id))
        self._append(append)

    def _again(self, line: lines.Again) -> None:
        if line.who:
            _, message, _ = self._message(line.who, line.number)
        elif self._messages:
            _, message, _ = self._messages[(line.number - 1) % len(self._messages)]
        else:
            raise CannotHappen("nobody has written yet")
        self._append(self._taken(message))

    def _taken(self, message: Incoming) -> Append:
        try:
            return self._ingress.message(message, now_ms=self.now_ms).append
        except Refused as error:
            raise CannotHappen(f"refused at the door: {error}") from None

    def _message(self, who: str, number: int | None) -> tuple[str, Incoming, str]:
        theirs = [message for message in self._messages if message[0] == who]
        at = len(theirs) if number is None else number
        if not 1 <= at <= len(theirs):
            raise CannotHappen(f"{who} has written {counted(len(theirs), 'message')}")
        return theirs[at - 1]

    def _ask(self, line: lines.OperatorSays | lines.HandsBack | lines.Stops | lines.Judges) -> None:
        session = self._sessions.get(self._ids[line.who])
        if session is None:
            raise CannotHappen(f"{line.who} has not written yet")
        self._asked += 1
        key, now_ms, id_ = str(self._asked), self.now_ms, session.id
        match line:
            case lines.OperatorSays():
                try:
                    taken = operator_said(
                        id_, line.text, operator="o", request_id=key, now_ms=now_ms
                    )
                except Refused as error:
                    raise CannotHappen(f"refused at the door: {error}") from None
            case lines.HandsBack():
                taken = handed_back(id_, operator="o", request_id=key, now_ms=now_ms)
            case lines.Stops():
                shown = session.open_replies[-1].reply_id if session.open_replies else ""
                taken = stop_requested(id_, shown, request_id=key, now_ms=now_ms)
            case lines.Judges():
                if not (told := self._told.get(id_)):
                    raise CannotHappen(f"{line.who} was told nothing yet")
                reply, _ = told[-1]
                taken = feedback_given(
                    id_, reply, verdict=line.verdict, text="", now_ms=now_ms, request_id=key
                )
        self._append(taken.append)

    # ---- what runners and the clock do -------------------------------------------------------

    def _end(self, line: lines.Answers | lines.EndsWith | lines.Fails | lines.Breaks) -> None:
        request = self._pending(line)
        now_ms = self.now_ms
        match line:
            case lines.Answers():
                outcome = _answer(request, line.text)
            case lines.EndsWith():
                outcome = _answer(request, self._word(request, line.word))
            case lines.Fails():
                outcome = failure(request, line.reason, detail="as the chat says")
            case lines.Breaks():
                broken = self._runners.crashed(request.effect_id, RuntimeError(), now_ms=now_ms)
                assert broken is not None, "it is being worked on"
                self._append(broken)
                return
        done = self._runners.done(request.effect_id, outcome, now_ms=now_ms)
        assert done is not None, "it is being worked on"
        self._append(done)

    def _pending(
        self, line: lines.Answers | lines.EndsWith | lines.Fails | lines.Breaks | lines.Shows
    ) -> RunnerRequest:
        """The request that the line means. Raises CannotHappen, which says what there is."""
        kind = "model" if isinstance(line, lines.Shows) else getattr(line, "kind", "request")
        who = getattr(line, "who", "")
        found = [*self._requests.values()]
        if line.number is not None and found:
            found = [found[(line.number - 1) % len(found)]]
        if who:
            found = [request for request in found if request.session_id == self._ids[who]]
        if kind != "request":
            found = [request for request in found if _KINDS[type(request)] == kind]
        if not found:
            whose = f" for {who}" if who else ""
            raise CannotHappen(f"no such request{whose} is waiting; there is {self._waiting()}")
        return found[0]

    def _waiting(self) -> str:
        names = {session_id: who for who, session_id in self._ids.items()}
        found = [f"{_KINDS[type(r)]} for {names[r.session_id]}" for r in self._requests.values()]
        return ", ".join(found) or "none"

    def _word(self, request: RunnerRequest, word: int) -> str:
        words = self._words
        if isinstance(request, IntentRequest):
            last = request.text.rpartition("\n")[2]
            kind = next((name for name, texts in words.says if last in texts), "")
            return dict(words.intents).get(kind, "")
        texts = words.model if isinstance(request, ModelRequest) else words.skill
        if not texts:
            raise CannotHappen("there are no such words at the top (model says: … | …)")
        return texts[(word - 1) % len(texts)]

    def _show(self, line: lines.Shows) -> None:
        request = self._pending(line)
        half = line.text[: (len(line.text) + 1) // 2]
        said = self._runners.said(request.effect_id, half, now_ms=self.now_ms)
        if isinstance(said, Matched):
            self._append(said.outcome)

    def _late(self, line: lines.Late) -> None:
        if not self._ended:
            raise CannotHappen("no request has ended yet")
        request = self._ended[(line.number - 1) % len(self._ended)]
        outcome = _answer(request, "too late")
        self._append(outcome_append(request.effect_id, outcome, now_ms=self.now_ms))

    def _wait(self, ms: int | None) -> None:
        due_ms = self._deadlines.next_ms()
        if ms is None and due_ms is None:
            raise CannotHappen("nothing is due, ever")
        until_ms = max(due_ms or 0, self.now_ms) if ms is None else self.now_ms + ms
        while (due_ms := self._deadlines.next_ms()) is not None and due_ms <= until_ms:
            self.now_ms = max(self.now_ms, due_ms)
            for append in self._deadlines.reached(self.now_ms, limit=256):
                self._append(append)
        self.now_ms = until_ms

    # ---- the step ----------------------------------------------------------------------------

    def _append(self, append: Append) -> None:
        event = codec.decode_event(append.value)
        before = self._sessions.get(event.session_id) or new_session(self.flow, event.session_id)
        done = step(self.flow, before, event)
        session = codec.decode_session(done.encoded)
        self._sessions[session.id] = session
        self._deadlines.put(session.id, first_due(session.pending))
        self.records.append(done.record)
        self._endings |= {one.message: one.how for one in done.record.dispositions}
        waiting = {pending.effect_id for pending in session.pending}
        ended = [
            request
            for request in self._requests.values()
            if request.session_id == session.id and request.effect_id not in waiting
        ]
        for request in ended:
            self._runners.cancel(request.effect_id)
            self._ended.append(self._requests.pop(request.effect_id))
        self._perform(session, done.record)

    def _perform(self, session: Session, record: StepRecord) -> None:
        told = self._told.setdefault(session.id, [])
        for effect in record.effects:
            match effect.body:
                case (
                    SendMessage(reply_id=reply, text=str(text))
                    | CloseReply(reply_id=reply, text=str(text))
                ):
                    told.append((reply, text))
                case Forward(text=text):
                    self._forwarded.setdefault(session.id, []).append(text)
                case body if isinstance(body, REQUESTS):
                    request = self._requests[effect.id] = expand(session, effect)
                    self._runners.put(request)
        self._runners.start(self.now_ms)


def _answer(request: RunnerRequest, text: str) -> Outcome:
    match request:
        case ModelRequest():
            return ModelReplied(text=text)
        case SkillRequest():
            return SkillDone(text=text)
        case IntentRequest():
            return IntentFound(intent=text)
