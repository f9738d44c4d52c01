"""The turn: what a flow's callbacks see and may ask for while one event is stepped.

A turn is the step's scratch copy of the session. Callbacks change it by its methods only; nothing
leaves it before the step is over, and an error throws it away whole. Every rule about replies,
dispositions and requests is here; the order of things inside a step is in `engine.step`.

It never performs anything: each method at most notes an effect.
"""

from typing import Any

from msgspec.structs import replace

from engine import transcript
from engine.effects import (
    CallModel,
    Cancel,
    CloseReply,
    Effect,
    EffectBody,
    FallbackStrategy,
    FindIntent,
    Forward,
    Request,
    RunSkill,
    SendMessage,
    Withdraw,
)
from engine.errors import InvalidRecord
from engine.events import Address, Event, MessageReceived, Redriven, message_id
from engine.flow import Flow
from engine.ids import derive, effect_id, reply_id
from engine.session import (
    Disposition,
    Microstep,
    OpenReply,
    Pending,
    Session,
    TranscriptTurn,
    Unanswered,
)

_KINDS = {CallModel: "model", RunSkill: "skill", FindIntent: "intent"}


class TurnIsReadOnly(Exception):
    """A condition tried to change the turn: conditions run for rows that are not taken."""


class Turn:
    """One step's scratch. Callbacks read `event`, `text`, `data`, `config`, `failure`, …

    `failure`: why a request failed, where the trigger is `request_failed`. `sealed` while
    conditions run: every method that changes something raises TurnIsReadOnly then.
    """

    __slots__ = (
        "_changed",
        "_data",
        "_index",
        "_untaken",
        "address",
        "answered",
        "cancelled",
        "dispositions",
        "effects",
        "epoch",
        "event",
        "failure",
        "flow",
        "fresh",
        "now_ms",
        "open_replies",
        "origin",
        "path",
        "pending",
        "postponed",
        "sealed",
        "seen",
        "seq",
        "session",
        "state",
        "text",
        "transcript",
        "turns",
        "unanswered",
        "wake",
    )

    def __init__(self, flow: Flow, session: Session, *, event: Event, now_ms: int) -> None:
        self.flow = flow
        self.session = session
        self.event = event
        self.wake = event  # the event being stepped, also while a postponed one is re-offered
        self.now_ms = now_ms
        self.seq = session.seq + 1
        self.epoch = session.epoch
        self.state = session.state
        self.turns = session.turns
        self.transcript = session.transcript
        self.unanswered = session.unanswered
        self.pending = session.pending
        self.open_replies = session.open_replies
        self.postponed = session.postponed
        self.seen = session.seen
        self.address: Address | None = session.address  # where replies go
        self.origin = event.id  # what the running microstep is for: an event or a due pending
        self.text = ""
        self.failure: str | None = None
        self.answered: Pending | None = None  # the request that this microstep's outcome ended
        self.sealed = False
        self.effects: list[Effect] = []
        self.fresh: list[Pending] = []  # requests of this microstep, their scope not yet known
        self.cancelled: list[str] = []
        self.dispositions: list[Disposition] = []
        self.path: list[Microstep] = []
        self._data: Any = None
        self._changed = False  # whether the data has to be encoded anew
        self._index = 0
        self._untaken = session.transcript, session.unanswered

    # ---- what callbacks read ---------------------------------------------------------------

    @property
    def data(self) -> Any:
        """The flow's own record; change it with `set`."""
        if self._data is None:
            self._data = self.flow.decode_data(bytes(self.session.data))
        return self._data

    @property
    def config(self) -> Any:
        """The flow's configuration, read-only."""
        return self.flow.config

    @property
    def message(self) -> MessageReceived | None:
        """The message of this microstep, where there is one."""
        return _message(self.event)

    # ---- what callbacks ask for ------------------------------------------------------------

    def set(self, **fields: object) -> None:
        """Replace fields of the data."""
        self._writable()
        self.put_data(replace(self.data, **fields))

    def say(self, text: str, *, answers: bool = True, author: str = "bot") -> None:
        """Send `text`, and with `answers` end the messages that it answers.

        In a microstep that an outcome triggered, the first `say` closes the reply that its request
        streamed, and answers only messages that were there when the request was made. The last
        message is `answered`, earlier ones are `merged`.
        """
        self._writable()
        _is(str, text)
        request = self.answered
        if answers:
            until = None if request is None else request.turn
            self._remember(text, until)
            self._dispose("answered", until=until)
        reply = None
        if request is not None and request.reply_id is not None:
            self.answered = replace(request, reply_id=None)  # a second say is a new message
            reply = request.reply_id
        if reply is not None and self._close(reply):
            self.order(CloseReply(reply_id=reply, how="answered", text=text))
            return
        self.order(SendMessage(reply_id=reply or self._next_reply(), text=text, author=author))

    def apologise(self, text: str) -> None:
        """Say that it did not work: the waiting messages end as `failed`."""
        self._writable()
        self.close_unfilled("failed")
        self._dispose("failed")
        self.send(text)

    def refuse(self, text: str) -> None:
        """Say that it will not be done: the waiting messages end as `refused`."""
        self._writable()
        self.close_unfilled("failed")
        self._dispose("refused")
        self.send(text)

    def forward(self) -> None:
        """Hand the waiting messages to the person who takes over: they end as `forwarded`."""
        self._writable()
        texts = {turn.n: turn.user for turn in self.transcript}
        for waiting in self.unanswered:
            text = texts.get(waiting.turn, waiting.text)
            self.order(Forward(message=waiting.event_id, text=text))
        self._dispose("forwarded")

    def stop(self) -> None:
        """The person does not want to wait: open replies end where they are, as `stopped`."""
        self._writable()
        closed = {reply.reply_id for reply in self.open_replies}
        for reply in self.open_replies:
            self.order(CloseReply(reply_id=reply.reply_id, how="stopped"))
        self.open_replies = ()
        # What a request that goes on still brings is a new message: this reply has its receipt.
        self.pending = tuple(_unreplied(p, closed) for p in self.pending)
        self.fresh = [_unreplied(p, closed) for p in self.fresh]
        self._dispose("answered", note="stopped")

    def withdraw(self, reply: str | None = None) -> None:
        """Never send this reply (None: any reply of an earlier step) if it is not marked yet."""
        self._writable()
        self.order(Withdraw(reply_id=reply))

    def call_model(
        self,
        prompt: str,
        *,
        within_s: int,
        stream: bool = True,
        scope: str | None = None,
        max_tokens: int | None = None,
    ) -> None:
        """Request an answer to `prompt`, after the dialog's answered turns.

        `within_s`: seconds of log time, then the trigger is `request_failed`. `scope`: an active
        ancestor that the request belongs to, instead of the leaf that holds in the end. The
        configuration's `system_prompt`, `max_tokens` and `fallback_strategies` go along.
        """
        self._writable()
        _is(str, prompt)
        cut = self.unanswered[0].turn if self.unanswered else self.turns + 1
        turns = self.transcript
        if turns and turns[-1].n >= cut:
            turns = turns[: max(cut - turns[0].n, 0)]  # they count without gaps
        request = self._next_id()
        reply = reply_id(request)
        config = self.config
        body = CallModel(
            reply_id=reply,
            prompt=prompt,
            first=turns[0].n if turns else 1,
            last=turns[-1].n if turns else 0,
            digest=transcript.digest(turns),
            stream=bool(stream),
            max_tokens=max_tokens or int(getattr(config, "max_tokens", 512)),
            system=getattr(config, "system_prompt", ""),
            fallbacks=self._fallbacks(),
        )
        self._request(body, within_s, scope, reply)
        if stream:
            # Its scope is set with the request's: until then no state that is left closes it.
            opened = OpenReply(reply_id=reply, effect_id=request, scope="")
            self.open_replies = (*self.open_replies, opened)

    def run_skill(self, name: str, text: str, *, within_s: int, scope: str | None = None) -> None:
        """Request that a skill works on `text`."""
        self._writable()
        _is(str, name)
        _is(str, text)
        message = self.message
        locale = message.locale if message is not None else ""
        body = RunSkill(skill=name, text=text, locale=locale, fallbacks=self._fallbacks())
        self._request(body, within_s, scope, None)

    def find_intent(self, text: str, *, within_s: int, scope: str | None = None) -> None:
        """Request the intent of `text`."""
        self._writable()
        _is(str, text)
        self._request(FindIntent(text=text), within_s, scope, None)

    # ---- for engine.step -------------------------------------------------------------------

    def put_data(self, data: object) -> None:
        """Replace the data whole."""
        self._data = data
        self._changed = True

    def encoded_data(self) -> bytes:
        """The data's canonical bytes; those of before where no callback changed it.

        Raises InvalidRecord where they would not be read as what was written: a list where a tuple
        is declared, a set, None for a text. Found here, it fails the step that did it; found when
        the session is next read, it would fail all that come.
        """
        if not self._changed:
            return bytes(self.session.data)
        written = self.flow.encode_data(self._data)
        if self.flow.decode_data(written) != self._data:
            raise InvalidRecord("the flow's data: a value is not of its field's type")
        return written

    def take(self, event: Event) -> None:
        """A message enters the dialog: it has a turn, and awaits its disposition."""
        message = _message(event)
        assert message is not None
        self._untaken = self.transcript, self.unanswered
        self.turns += 1
        self._keep([*self.transcript, TranscriptTurn(n=self.turns, user=message.text)])
        taken = Unanswered(event_id=message_id(event), turn=self.turns)
        self.unanswered = (*self.unanswered, taken)

    def untake(self) -> None:
        """No row wanted the message that was just taken."""
        self.transcript, self.unanswered = self._untaken
        self.turns -= 1

    def dispose(self, message: str, how: str, *, note: str = "") -> None:
        """A message that is not in the dialog ends."""
        self.dispositions.append(Disposition(message=message, how=how, note=note))

    def order(self, body: EffectBody) -> str:
        """Note an effect that nobody awaits; its id."""
        return self._emit(body, None, None)

    def send(self, text: str) -> None:
        """Say something that answers nothing, in a reply of its own."""
        _is(str, text)
        self.order(SendMessage(reply_id=self._next_reply(), text=text))

    def close_unfilled(self, how: str = "cancelled") -> None:
        """The reply that the ended request streamed, if it is still open, ends where it is."""
        request = self.answered
        if request is not None and request.reply_id is not None and self._close(request.reply_id):
            self.order(CloseReply(reply_id=request.reply_id, how=how))

    def settle_requests(self, leaf: str) -> None:
        """End of a microstep's callbacks: its requests belong to `leaf`, or to their ancestor."""
        if not self.fresh:
            return
        scopes = {pending.effect_id: pending.scope or leaf for pending in self.fresh}
        for scope in scopes.values():
            if scope not in self.flow.path(leaf):
                raise ValueError(f"scope {scope!r} is not active in {leaf!r}")
        self.effects = [
            replace(effect, scope=scopes[effect.id]) if effect.id in scopes else effect
            for effect in self.effects
        ]
        self.open_replies = tuple(
            replace(reply, scope=scopes[reply.effect_id]) if reply.effect_id in scopes else reply
            for reply in self.open_replies
        )
        added = (replace(pending, scope=scopes[pending.effect_id]) for pending in self.fresh)
        self.pending = (*self.pending, *added)
        self.fresh = []

    def leave(self, scopes: tuple[str, ...]) -> None:
        """Cancel what is pending in these scopes, and close the replies still open in them."""
        for pending in self.pending:
            if pending.scope in scopes:
                self.cancel(pending)
        self.pending = tuple(p for p in self.pending if p.scope not in scopes)
        for reply in self.open_replies:
            if reply.scope in scopes:
                self.order(CloseReply(reply_id=reply.reply_id, how="cancelled"))
        self.open_replies = tuple(r for r in self.open_replies if r.scope not in scopes)

    def start_timer(self, state: str, *, after_ms: int, trigger: str) -> None:
        """The state's own timeout begins to run."""
        timer = Pending(
            effect_id=derive(self.session.id, "timer", self.origin, self._index),
            kind="timer",
            scope=state,
            due_ms=self.now_ms + after_ms,
            on_due=trigger,
        )
        self._index += 1
        self.pending = (*self.pending, timer)

    def cancel(self, pending: Pending) -> None:
        """Nobody awaits this any more; the caller takes it from `pending`."""
        if pending.kind == "timer":
            return
        self.cancelled.append(pending.effect_id)
        made_here = [e for e in self.effects if e.id == pending.effect_id]
        if not made_here:
            self.order(Cancel(request=pending.effect_id))
            return
        # Emitted and cancelled in one step: it never leaves the step, and neither does its reply.
        self.effects.remove(made_here[0])
        self.open_replies = tuple(r for r in self.open_replies if r.effect_id != pending.effect_id)

    def new_dialog(self) -> None:
        """The dialog ends and another begins: nothing of it stays but `seen`."""
        self._dispose("failed")
        self.epoch += 1
        self.turns = 0
        self.transcript = ()
        self.put_data(self.flow.new_data())
        # Turns count from 1 again: what is still pending answers none of the new ones.
        self.pending = tuple(replace(p, turn=0) for p in self.pending)
        self.fresh = [replace(p, turn=0) for p in self.fresh]

    # ---- inside ----------------------------------------------------------------------------

    def _writable(self) -> None:
        if self.sealed:
            raise TurnIsReadOnly("conditions may look at the turn, never change it")

    def _fallbacks(self) -> tuple[FallbackStrategy, ...]:
        return getattr(self.config, "fallback_strategies", ())

    def _next_id(self) -> str:
        # From the origin, not from the event: a repetition has the event's id, but never its
        # origin, so that what becomes due with it gets ids that were never used.
        return effect_id(self.session.id, self.origin, index=self._index)

    def _next_reply(self) -> str:
        return reply_id(self._next_id())

    def _emit(self, body: EffectBody, scope: str | None, expires_ms: int | None) -> str:
        identity = self._next_id()
        self._index += 1
        self.effects.append(
            Effect(
                id=identity,
                session_id=self.session.id,
                epoch=self.epoch,
                cause=self.wake.id,
                body=body,
                scope=scope,
                expires_ms=expires_ms,
            )
        )
        return identity

    def _request(self, body: Request, within_s: int, scope: str | None, reply: str | None) -> None:
        _is(int, within_s)
        due_ms = self.now_ms + within_s * 1_000
        identity = self._emit(body, scope, due_ms)
        pending = Pending(
            effect_id=identity,
            kind=_KINDS[type(body)],
            scope=scope or "",
            due_ms=due_ms,
            on_due="request_failed",
            turn=self.turns,
            reply_id=reply,
        )
        self.fresh.append(pending)

    def _close(self, reply: str) -> bool:
        """Take an open reply off the list; whether it was on it."""
        left = tuple(r for r in self.open_replies if r.reply_id != reply)
        closed = len(left) < len(self.open_replies)
        self.open_replies = left
        return closed

    def _remember(self, text: str, until: int | None) -> None:
        """Put what was said into the turn that it answers, else into the last one."""
        if not self.transcript:
            return
        answered = [w.turn for w in self.unanswered if until is None or w.turn <= until]
        turns = list(self.transcript)
        at = (answered[-1] if answered else turns[-1].n) - turns[0].n  # they count without gaps
        if at >= 0:  # else it has left the transcript
            turn = turns[at]
            turns[at] = TranscriptTurn(n=turn.n, user=turn.user, bot=_joined(turn.bot, text))
            self._keep(turns)

    def _keep(self, turns: list[TranscriptTurn]) -> None:
        """The transcript, bounded. A message that still waits keeps its text when its turn goes."""
        self.transcript = transcript.bounded(turns)
        gone = turns[: len(turns) - len(self.transcript)]
        if gone and self.unanswered and self.unanswered[0].turn <= gone[-1].n:
            texts = {turn.n: turn.user for turn in gone}
            self.unanswered = tuple(
                replace(waiting, text=texts[waiting.turn]) if waiting.turn in texts else waiting
                for waiting in self.unanswered
            )

    def _dispose(self, how: str, *, until: int | None = None, note: str = "") -> None:
        ended = [w for w in self.unanswered if until is None or w.turn <= until]
        if not ended:
            return
        self.unanswered = self.unanswered[len(ended) :]  # in order of turns: those come first
        for waiting in ended[:-1]:
            self.dispose(waiting.event_id, "merged" if how == "answered" else how, note=note)
        self.dispose(ended[-1].event_id, how, note=note)


def _message(event: Event) -> MessageReceived | None:
    body = event.body
    if isinstance(body, Redriven):
        return body.message
    return body if isinstance(body, MessageReceived) else None


def _is(kind: type, value: object) -> None:
    # Records are not checked when they are made, only when they are read: too late for a log.
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")


def _unreplied(pending: Pending, closed: set[str]) -> Pending:
    return replace(pending, reply_id=None) if pending.reply_id in closed else pending


def _joined(before: str, text: str) -> str:
    return f"{before}\n{text}" if before else text
