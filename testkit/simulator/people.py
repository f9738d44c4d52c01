"""The people of the simulated world: what they write and ask for, as posts to their platform.

Before the platform. A user has one conversation with the bot account of their partition. Which text
a class means is looked up in the `Script`.
"""

from functools import partial

from engine.events import Ms
from engine.ids import message_event_id
from engine.limits import MESSAGE_AGE_MAX_MS
from engine.ports import Incoming
from engine.pseudonym import Key
from engine.session import Session
from streams import ingress
from streams.ingress import Ingress
from testkit import stimuli
from testkit.script import Script
from testkit.simulator.cluster import CHANNEL, Cluster, account_of
from testkit.simulator.platform import Post, Taking
from testkit.worlds import Wrote

KEYS = (Key(id="k1", secret=b"simulated secret"),)
AGE_MS_MAX = 2 * MESSAGE_AGE_MAX_MS


class People:
    """All users of a script, spread evenly over the partitions of a cluster."""

    def __init__(self, script: Script, cluster: Cluster) -> None:
        self._script = script
        self._cluster = cluster
        self._partitions = len(cluster.logs)
        self._ingresses = [
            Ingress(CHANNEL, account_of(number), keys=KEYS, known=partial(self._knows, number))
            for number in range(self._partitions)
        ]
        self._accounts = {account_of(number): number for number in range(self._partitions)}
        self._sessions: dict[int, str] = {}
        self._messages: list[tuple[Incoming, Wrote]] = []
        self._posts = 0

    def _knows(self, number: int, session_id: str) -> bool:
        return self._cluster.logs[number].get(session_id) is not None

    def partition_of(self, user: int) -> int:
        """Where a user's session is."""
        return user % self._partitions

    def session_of(self, user: int) -> str:
        """A user's session, whether it exists yet or not."""
        session_id = self._sessions.get(user)
        if session_id is None:
            here = self._ingresses[self.partition_of(user)]
            session_id = self._sessions[user] = here.session_id(f"c{user}", f"u{user}")
        return session_id

    def partition_in(self, session_id: str) -> int:
        """Where a session is."""
        return self._accounts[session_id.split(":", 2)[1]]

    def say(self, said: stimuli.Say) -> None:
        """A user writes a message."""
        user = said.user % self._script.users
        number, session_id = self.partition_of(user), self.session_of(user)
        account, at_ms = account_of(number), self._cluster.log_ms(number)
        text, message_id = self._script.text(said.kind, said.variant), f"m{len(self._messages)}"
        sent_ms: Ms = at_ms - max(0, min(said.age_ms, AGE_MS_MAX))
        incoming = Incoming(
            account=account,
            conversation=f"c{user}",
            sender=f"u{user}",
            message_id=message_id,
            text=text,
            sent_ms=sent_ms,
        )
        wrote = Wrote(
            at_ms=at_ms,
            user=user,
            message_id=message_id,
            event_id=message_event_id(session_id, account, message_id=message_id),
            session_id=session_id,
            text=text,
            kind=said.kind,
            sent_ms=sent_ms,
        )
        self._messages.append((incoming, wrote))
        self._cluster.seen.append(wrote)
        self._send_message(incoming, wrote)

    def again(self, j: int) -> None:
        """The platform hands a message over that it has handed over before."""
        if self._messages:
            self._send_message(*self._messages[j % len(self._messages)])

    def _send_message(self, incoming: Incoming, wrote: Wrote) -> None:
        here = self._ingresses[self.partition_of(wrote.user)]
        self._send(wrote.user, partial(here.message, incoming), wrote=wrote)

    def ask(
        self, stimulus: stimuli.Stop | stimuli.Operator | stimuli.Feedback, last_reply: str
    ) -> None:
        """Something is asked of a user's session; of one that does not exist nobody can.

        `last_reply`: what the user judges.
        """
        user = stimulus.user % self._script.users
        number, session_id = self.partition_of(user), self.session_of(user)
        session = self._cluster.session(number, session_id)
        if session is None:
            return
        request_id = f"r{self._posts}"
        taken: Taking
        match stimulus:
            case stimuli.Stop():
                reply_id = _open_reply(session)
                taken = partial(ingress.stop_requested, session_id, reply_id, request_id=request_id)
            case stimuli.Operator(what="say"):
                words = self._script.operator
                taken = partial(
                    ingress.operator_said,
                    session_id,
                    words[self._posts % len(words)],
                    operator="op",
                    request_id=request_id,
                )
            case stimuli.Operator():
                taken = partial(
                    ingress.handed_back, session_id, operator="op", request_id=request_id
                )
            case stimuli.Feedback(verdict=verdict):
                taken = partial(
                    ingress.feedback_given, session_id, last_reply, verdict=verdict, text=""
                )
        self._send(user, taken)

    def redrive(self, i: int) -> None:
        """An operator has the i-th dead letter taken again."""
        letters = [
            (n, one) for n, log in enumerate(self._cluster.logs) for one in log.dead_letters()
        ]
        if letters:
            number, letter = letters[i % len(letters)]
            taken = partial(ingress.redriven, letter, operator="op")
            self._post(number, letter.session_id, taken=taken)

    def _send(self, user: int, taken: Taking, *, wrote: Wrote | None = None) -> None:
        self._post(self.partition_of(user), self.session_of(user), taken=taken, wrote=wrote)

    def _post(
        self, number: int, session_id: str, *, taken: Taking, wrote: Wrote | None = None
    ) -> None:
        self._posts += 1
        post = Post(self._posts, number, session_id=session_id, taken=taken, wrote=wrote)
        self._cluster.platform.send(post)


def _open_reply(session: Session) -> str:
    """The reply that a person sees growing; empty where there is none."""
    return session.open_replies[-1].reply_id if session.open_replies else ""
