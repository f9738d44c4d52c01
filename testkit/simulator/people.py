"""The people of the simulated world: what they write and ask for, as posts to their platform.

Before the platform. A user has one conversation with the bot account of their partition. Which text
a class means is looked up in the `Script`.
"""

from functools import partial

from engine import codec
from engine.errors import InvalidRecord, Refused
from engine.events import ClockReached, Ms, message_id
from engine.ids import message_event_id
from engine.limits import MESSAGE_AGE_MAX_MS
from engine.ports import Incoming
from engine.session import Session
from streams import ingress
from streams.ingress import Ingress
from testkit import stimuli
from testkit.script import Script
from testkit.simulator.cluster import CHANNEL, Cluster, account_of
from testkit.simulator.platform import KEYS, Post, Taking
from testkit.worlds import Asked, Wrote

AGE_MS_MAX = 2 * MESSAGE_AGE_MAX_MS


class People:
    """All users of a script, spread evenly over the partitions of a cluster.

    `shows_lines`: the platform shows them their own lines.
    """

    def __init__(self, script: Script, cluster: Cluster, *, shows_lines: bool) -> None:
        self._shows_lines = shows_lines
        self._script = script
        self._cluster = cluster
        self._partitions = len(cluster.logs)
        self._ingresses = [
            Ingress(
                CHANNEL,
                account_of(number),
                keys=KEYS,
                known=partial(self._knows, number),
                shows_lines=shows_lines,
            )
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
        text, number_of = self._script.text(said.kind, said.variant), f"m{len(self._messages)}"
        sent_ms: Ms = at_ms - max(0, min(said.age_ms, AGE_MS_MAX))
        incoming = Incoming(
            account=account,
            conversation=f"c{user}",
            sender=f"u{user}",
            message_id=number_of,
            text=text,
            sent_ms=sent_ms,
        )
        wrote = Wrote(
            at_ms=at_ms,
            user=user,
            message_id=number_of,
            event_id=message_event_id(session_id, account, message_id=number_of),
            session_id=session_id,
            text=text,
            kind=said.kind,
            sent_ms=sent_ms,
        )
        self._messages.append((incoming, wrote))
        self._cluster.seen.append(wrote)
        if self._shows_lines:
            self._cluster.pages.open(session_id, number)
        self._send_message(incoming, wrote)

    def again(self, j: int) -> None:
        """The platform hands a message over that it has handed over before."""
        if self._messages:
            self._send_message(*self._messages[j % len(self._messages)])

    def _send_message(self, incoming: Incoming, wrote: Wrote) -> None:
        here = self._ingresses[self.partition_of(wrote.user)]
        self._post(self.partition_of(wrote.user), partial(here.message, incoming), sent=wrote)

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
        what, about, text = "HandedBack", "", ""
        taken: Taking
        match stimulus:
            case stimuli.Stop():
                what, about = "StopRequested", _open_reply(session)
                taken = partial(ingress.stop_requested, session_id, about, request_id=request_id)
            case stimuli.Operator(what="say"):
                what = "OperatorSaid"
                text = self._script.operator[self._posts % len(self._script.operator)]
                taken = partial(
                    ingress.operator_said, session_id, text, operator="op", request_id=request_id
                )
            case stimuli.Operator():
                taken = partial(
                    ingress.handed_back, session_id, operator="op", request_id=request_id
                )
            case stimuli.Feedback(verdict=verdict):
                what, about, text = "FeedbackGiven", last_reply, verdict
                taken = partial(ingress.feedback_given, session_id, about, verdict=verdict, text="")
        self._ask(number, taken, of=(session_id, what), about=about, text=text)

    def redrive(self, i: int) -> None:
        """An operator has the i-th dead letter taken again."""
        letters = [
            (n, one) for n, log in enumerate(self._cluster.logs) for one in log.dead_letters()
        ]
        if letters:
            number, letter = letters[i % len(letters)]
            taken = partial(ingress.redriven, letter, operator="op")
            try:
                event = codec.decode_event(letter.value)
            except InvalidRecord:
                return  # nobody can take it again
            is_wake_up = isinstance(event.body, ClockReached)
            what, about = (event.type, "") if is_wake_up else ("Redriven", message_id(event))
            self._ask(number, taken, of=(letter.session_id, what), about=about)

    def _ask(
        self, number: int, taken: Taking, *, of: tuple[str, str], about: str, text: str = ""
    ) -> None:
        """Something of a session, of a type. Who is refused at once has asked for nothing."""
        at_ms = self._cluster.log_ms(number)
        try:
            event_id = taken(now_ms=at_ms).append.event_id
        except Refused:
            return
        session_id, what = of
        asked = Asked(
            at_ms=at_ms,
            event_id=event_id,
            session_id=session_id,
            what=what,
            about=about,
            text=text,
        )
        self._cluster.seen.append(asked)
        self._post(number, taken, sent=asked)

    def _post(self, number: int, taken: Taking, *, sent: Wrote | Asked) -> None:
        self._posts += 1
        post = Post(self._posts, number, session_id=sent.session_id, taken=taken, sent=sent)
        self._cluster.platform.send(post)


def _open_reply(session: Session) -> str:
    """The reply that a person sees growing; empty where there is none."""
    return session.open_replies[-1].reply_id if session.open_replies else ""
