"""The scratch: a step's working copy of the session, and what the order of a step does to it.

`engine.step` makes one for each event, as the `engine.turn.Turn` that callbacks see, and freezes it
in the end; an error throws it away whole. It never performs anything: each method at most notes an
effect.
"""

from typing import Any

from msgspec.structs import replace

from engine import transcript
from engine.effects import Cancel, CloseReply, Effect, EffectBody, SendMessage
from engine.errors import InvalidRecord
from engine.events import Address, Event, MessageReceived, Redriven, message_id
from engine.flow import Flow
from engine.ids import derive, effect_id, reply_id
from engine.session import (
    Disposition,
    Microstep,
    Pending,
    Session,
    TranscriptTurn,
    Unanswered,
)


class Scratch:
    """The session as it is being changed. `sealed` while conditions run, which only look.

    `failure`: why a request failed, where the trigger is `request_failed`.
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

    # ---- messages --------------------------------------------------------------------------------

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

    # ---- effects ---------------------------------------------------------------------------------

    def order(self, body: EffectBody) -> str:
        """Note an effect that nobody awaits; its id."""
        return self._emit(body, None, None)

    def send(self, text: str) -> None:
        """Say something that answers nothing, in a reply of its own."""
        of_kind(str, text)
        self.order(SendMessage(reply_id=self._next_reply(), text=text))

    def close_unfilled(self, how: str = "cancelled") -> None:
        """The reply that the ended request streamed, if it is still open, ends where it is."""
        request = self.answered
        if request is not None and request.reply_id is not None and self._close(request.reply_id):
            self.answered = replace(request, reply_id=None)  # it has its receipt
            self.order(CloseReply(reply_id=request.reply_id, how=how))

    # ---- scopes ----------------------------------------------------------------------------------

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
        made_here = next((e for e in self.effects if e.id == pending.effect_id), None)
        if made_here is None:
            self.order(Cancel(request=pending.effect_id))
            return
        # Emitted and cancelled in one step: it never leaves the step, and neither does its reply,
        # nor that a stop in between closed it.
        reply = getattr(made_here.body, "reply_id", None)
        self.open_replies = tuple(r for r in self.open_replies if r.effect_id != pending.effect_id)
        self.effects = [
            effect
            for effect in self.effects
            if effect is not made_here
            and not (isinstance(effect.body, CloseReply) and effect.body.reply_id == reply)
        ]

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

    # ---- inside ----------------------------------------------------------------------------------

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

    def _close(self, reply: str) -> bool:
        """Take an open reply off the list; whether it was on it."""
        left = tuple(r for r in self.open_replies if r.reply_id != reply)
        closed = len(left) < len(self.open_replies)
        self.open_replies = left
        return closed

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


def of_kind(kind: type, value: object) -> None:
    """Raise TypeError where a callback gave something else."""
    # Records are not checked when they are made, only when they are read: too late for a log.
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")
