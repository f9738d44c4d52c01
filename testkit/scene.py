"""The people of the worlds with one account: what they write and ask for, as events to be taken.

Before ingress, for `testkit.pure` and `testkit.embedded`. Ids, texts and instants are those of the
simulator with one partition, so that one list of stimuli gives equal session bytes everywhere.
Which text a class means is looked up in the `Script`.
"""

from collections.abc import Sequence
from typing import NamedTuple

from engine.effects import RunnerRequest
from engine.events import ModelReplied, Outcome, SkillDone
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
from testkit.simulator.people import AGE_MS_MAX
from testkit.simulator.platform import KEYS
from testkit.worlds import Asked, Fault, Received, Said, Seen, Wrote

ACCOUNT = account_of(0)
OPERATOR = "op"
Asking = stimuli.Operator | stimuli.Stop | stimuli.Feedback


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

    def late(self, request: RunnerRequest, *, now_ms: int) -> tuple[Append, list[Seen]]:
        """Another runner has done this, too: its outcome, by a hop of its own; what is seen."""
        hop = Runners("late", calls_max=1)
        hop.put(request)
        hop.start(0)
        effect_id, outcome = request.effect_id, outcomes.good(self._script, request)
        what = "an outcome arrives late or twice"
        seen: list[Seen] = [Fault(at_ms=now_ms, what=what, effect=effect_id)]
        seen += last_words(effect_id, outcome, now_ms=now_ms)
        done = hop.done(effect_id, outcome, now_ms=now_ms)
        assert done is not None, "it has just begun"
        return done, seen

    def asked(
        self, what: Asking, session: Session, *, seen: Sequence[Seen], now_ms: int
    ) -> tuple[Taken, Asked]:
        """Something is asked of a user's session. `seen`: what they judge is the last of it."""
        request_id = f"r{self._posts}"
        words = self._script.operator[self._posts % len(self._script.operator)]
        self._posts += 1
        kind, about, text = "HandedBack", "", ""
        match what:
            case stimuli.Stop():
                opened = session.open_replies
                kind, about = "StopRequested", opened[-1].reply_id if opened else ""
                taken = ingress.stop_requested(
                    session.id, about, request_id=request_id, now_ms=now_ms
                )
            case stimuli.Operator(what="say"):
                kind, text = "OperatorSaid", words
                taken = ingress.operator_said(
                    session.id, words, operator=OPERATOR, request_id=request_id, now_ms=now_ms
                )
            case stimuli.Operator():
                taken = ingress.handed_back(
                    session.id, operator=OPERATOR, request_id=request_id, now_ms=now_ms
                )
            case stimuli.Feedback(verdict=verdict):
                kind, about, text = "FeedbackGiven", last_reply(seen, session.id), verdict
                taken = ingress.feedback_given(
                    session.id, about, verdict=verdict, text="", now_ms=now_ms
                )
        asked = Asked(
            at_ms=now_ms,
            event_id=taken.append.event_id,
            session_id=session.id,
            what=kind,
            about=about,
            text=text,
        )
        return taken, asked


def last_reply(seen: Sequence[Seen], session_id: str) -> str:
    """The reply that was received last; empty where there is none."""
    for one in reversed(seen):
        if isinstance(one, Received) and one.session_id == session_id:
            return one.reply_id
    return ""


def last_words(effect_id: str, outcome: Outcome | None, *, now_ms: int) -> list[Seen]:
    """What a runner said when it ended; nothing where it says nothing."""
    if not isinstance(outcome, ModelReplied | SkillDone):
        return []
    return [Said(at_ms=now_ms, effect_id=effect_id, text=outcome.text, is_all=True)]


def config_of(flow: Flow) -> bytes:
    """A flow's whole canonical configuration."""
    config: bytes = getattr(flow, "config_bytes", b"{}")
    return config
