"""The people of the worlds with one account: what they write and ask for, as events to be taken.

Before ingress, for `testkit.pure` and `testkit.embedded`. Ids, texts and instants are those of the
simulator with one partition, so that one list of stimuli gives equal session bytes everywhere.
Which text a class means is looked up in the `Script`.
"""

from collections.abc import Sequence
from typing import NamedTuple

from engine.effects import RunnerRequest
from engine.flow import Flow
from engine.ids import message_event_id
from engine.ports import Append, Incoming
from engine.session import Session
from streams import ingress
from streams.ingress import Ingress, Taken
from streams.runners import Runners
from testkit import stimuli
from testkit.script import Script
from testkit.simulator import outcomes
from testkit.simulator.cluster import CHANNEL, account_of
from testkit.simulator.people import AGE_MS_MAX, KEYS
from testkit.worlds import Acknowledged, Received, Rejected, Seen, Wrote

ACCOUNT = account_of(0)
OPERATOR = "op"
Asked = stimuli.Operator | stimuli.Stop | stimuli.Feedback


class Message(NamedTuple):
    """What a user wrote, as their platform keeps it, and as the client's log has it."""

    incoming: Incoming
    wrote: Wrote


class Scene:
    """All users of a script, each in a conversation of their own."""

    def __init__(self, script: Script) -> None:
        self.ingress = Ingress(CHANNEL, ACCOUNT, keys=KEYS, known=lambda session_id: True)
        self._script = script
        self._messages: list[Message] = []
        self._posts = 0

    def session_of(self, user: int) -> str:
        """A user's session, whether it exists yet or not."""
        user %= self._script.users
        return self.ingress.session_id(f"c{user}", f"u{user}")

    def say(self, said: stimuli.Say, *, now_ms: int) -> Message:
        """A user writes a message."""
        user, session_id = said.user % self._script.users, self.session_of(said.user)
        text, message_id = self._script.text(said.kind, said.variant), f"m{len(self._messages)}"
        sent_ms = now_ms - max(0, min(said.age_ms, AGE_MS_MAX))
        incoming = Incoming(
            account=ACCOUNT,
            conversation=f"c{user}",
            sender=f"u{user}",
            message_id=message_id,
            text=text,
            sent_ms=sent_ms,
        )
        wrote = Wrote(
            at_ms=now_ms,
            user=user,
            message_id=message_id,
            event_id=message_event_id(session_id, ACCOUNT, message_id=message_id),
            session_id=session_id,
            text=text,
            kind=said.kind,
            sent_ms=sent_ms,
        )
        self._messages.append(Message(incoming, wrote))
        self._posts += 1
        return self._messages[-1]

    def again(self, j: int) -> Message | None:
        """A message that was handed over before."""
        self._posts += 1
        return self._messages[j % len(self._messages)] if self._messages else None

    def late(self, request: RunnerRequest, *, now_ms: int) -> Append:
        """Another runner has done this, too: its outcome, through a hop of its own."""
        hop = Runners("late", calls_max=1)
        hop.put(request)
        hop.start(0)
        done = hop.done(request.effect_id, outcomes.good(self._script, request), now_ms=now_ms)
        assert done is not None, "it has just begun"
        return done

    def asked(self, what: Asked, session: Session, *, seen: Sequence[Seen], now_ms: int) -> Taken:
        """Something is asked of a user's session. `seen`: what they judge is the last of it."""
        request_id = f"r{self._posts}"
        words = self._script.operator[self._posts % len(self._script.operator)]
        self._posts += 1
        match what:
            case stimuli.Stop():
                opened = session.open_replies
                reply_id = opened[-1].reply_id if opened else ""
                return ingress.stop_requested(
                    session.id, reply_id, request_id=request_id, now_ms=now_ms
                )
            case stimuli.Operator(what="say"):
                return ingress.operator_said(
                    session.id, words, operator=OPERATOR, request_id=request_id, now_ms=now_ms
                )
            case stimuli.Operator():
                return ingress.handed_back(
                    session.id, operator=OPERATOR, request_id=request_id, now_ms=now_ms
                )
            case stimuli.Feedback(verdict=verdict):
                reply_id = last_reply(seen, session.id)
                return ingress.feedback_given(
                    session.id, reply_id, verdict=verdict, text="", now_ms=now_ms
                )


def last_reply(seen: Sequence[Seen], session_id: str) -> str:
    """The reply that was received last; empty where there is none."""
    for one in reversed(seen):
        if isinstance(one, Received) and one.session_id == session_id:
            return one.reply_id
    return ""


def told(
    wrote: Wrote, entry: type[Acknowledged] | type[Rejected], *, now_ms: int
) -> Acknowledged | Rejected:
    """What the platform is told of a message."""
    return entry(
        at_ms=now_ms,
        message_id=wrote.message_id,
        event_id=wrote.event_id,
        session_id=wrote.session_id,
    )


def config_of(flow: Flow) -> bytes:
    """A flow's whole canonical configuration."""
    config: bytes = getattr(flow, "config_bytes", b"{}")
    return config
