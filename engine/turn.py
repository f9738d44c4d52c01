"""The turn: what a flow's callbacks see and may ask for while one event is stepped.

A turn is the step's scratch, with the methods that callbacks change it by; nothing leaves it before
the step is over. Every rule about what a flow may ask for is here, and about which messages that
ends; what the order of a step does is in `engine.scratch` and `engine.step`.

It never performs anything: each method at most notes an effect.
"""

from typing import Literal

from msgspec.structs import replace

from engine import transcript
from engine.effects import (
    CallModel,
    CloseReply,
    FallbackStrategy,
    FindIntent,
    Forward,
    Request,
    RunSkill,
    SendMessage,
    Withdraw,
)
from engine.ids import reply_id
from engine.limits import REPLY_TEXT_BYTES_MAX
from engine.scratch import Scratch, of_kind
from engine.session import OpenReply, Pending, TranscriptTurn

_KINDS = {CallModel: "model", RunSkill: "skill", FindIntent: "intent"}


class TurnIsReadOnly(Exception):
    """A condition tried to change the turn: conditions run for rows that are not taken."""


class Turn(Scratch):
    """What callbacks are given. They read `event`, `text`, `data`, `config`, `failure`, `message`.

    While conditions run, every method that changes something raises TurnIsReadOnly.
    """

    __slots__ = ()

    def set(self, **fields: object) -> None:
        """Replace fields of the data."""
        self._writable()
        self.put_data(replace(self.data, **fields))

    def say(self, text: str, *, answers: bool | Literal["all"] = True, author: str = "bot") -> None:
        """Send `text`, and with `answers` end the messages that it answers.

        In a microstep that an outcome triggered, the first `say` closes the reply that its request
        streamed, and answers only messages that were there when the request was made, with `"all"`
        those that came later, too. The last message is `answered`, earlier ones are `merged`.
        """
        self._writable()
        of_kind(str, text)
        request = self.answered
        if answers:
            until = None if request is None or answers == "all" else request.turn
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
        if self.answered is not None:
            self.answered = _unreplied(self.answered, closed)
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
        of_kind(str, prompt)
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
        of_kind(str, name)
        of_kind(str, text)
        message = self.message
        locale = message.locale if message is not None else ""
        body = RunSkill(skill=name, text=text, locale=locale, fallbacks=self._fallbacks())
        self._request(body, within_s, scope, None)

    def find_intent(self, text: str, *, within_s: int, scope: str | None = None) -> None:
        """Request the intent of `text`."""
        self._writable()
        of_kind(str, text)
        self._request(FindIntent(text=text), within_s, scope, None)

    # ---- inside ----------------------------------------------------------------------------------

    def _writable(self) -> None:
        if self.sealed:
            raise TurnIsReadOnly("conditions may look at the turn, never change it")

    def _fallbacks(self) -> tuple[FallbackStrategy, ...]:
        return getattr(self.config, "fallback_strategies", ())

    def _request(self, body: Request, within_s: int, scope: str | None, reply: str | None) -> None:
        of_kind(int, within_s)
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


def _unreplied(pending: Pending, closed: set[str]) -> Pending:
    return replace(pending, reply_id=None) if pending.reply_id in closed else pending


def _joined(before: str, text: str) -> str:
    """All that was said in one turn; the newest of it, where somebody went on and on."""
    joined = f"{before}\n{text}" if before else text
    if len(joined) * 4 <= REPLY_TEXT_BYTES_MAX:
        return joined
    return joined.encode()[-REPLY_TEXT_BYTES_MAX:].decode(errors="ignore")
