"""The host of the channel's suite, in memory: what the port `Gateway` promises, and its bad days.

On one side of the channel under test; the author's `Platform` (see `channel`) is on the other. What
was accepted is durable here for as long as the test runs, also when the channel is made anew, as
it is in a log when a process starts again. It says the log's time, years before the machine's.

What it never does: judge; the suite does.
"""

import asyncio
import re
from collections import deque
from collections.abc import Sequence
from typing import Literal, NamedTuple, cast

from engine.errors import Refused, Unavailable
from engine.events import Address
from engine.ids import derive
from engine.limits import MESSAGE_AGE_MAX_MS, MESSAGE_TEXT_BYTES_MAX, QUOTED_TEXT_BYTES_MAX
from engine.ports import Channel, Delivery, Frame, Incoming, Line, Receipt, SessionView
from testkit.conformance.gateway_host import Took

NOW_MS = 1_700_000_000_000
"""Log time; a channel that reads a clock of the machine instead is noticed."""


ID_CHARS_MAX = 200
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_HALF = re.compile("[\ud800-\udfff]")


class Pressed(NamedTuple):
    """A person's stop or verdict, as the channel passed it on."""

    what: Literal["stop", "up", "down"]
    session_id: str
    reply_id: str
    request_id: str
    text: str = ""


class SuiteGateway:
    """The gateway and its host.

    `calls`: every call of `accept`, in order, whatever became of it; `taken`: the messages that are
    durable, each once. `pressed`: stops and verdicts that were passed on, repetitions, too.
    `faults`: each of the next calls raises one of these. `commits`, cleared, lets nothing become
    durable. It passes the suites of `Gateway`, as any host does. `account`: without a channel.
    """

    def __init__(self, account: str = "") -> None:
        self._kind, self._account = "suite", account
        self.calls: list[Incoming] = []
        self.taken: list[Incoming] = []
        self.pressed: list[Pressed] = []
        self.faults: deque[Exception] = deque()
        self.commits = asyncio.Event()
        self.commits.set()
        self._log: dict[tuple[str, str, str], Took] = {}  # by session, kind and id
        self._lines: dict[str, list[Line]] = {}
        self._channel: Channel | None = None
        self._ended = False

    async def run(self, channel: Channel) -> None:
        """Start the channel, and tell it from now on what is committed."""
        self._channel = channel
        self._kind, self._account = channel.kind, channel.account
        await channel.start(self)

    def end(self) -> None:
        """The host ends, as the process does after the channel's close: nothing becomes durable."""
        self._ended = True
        self.commits.set()

    # ---- the port `Gateway` -----------------------------------------------------------------

    async def accept(self, incoming: Incoming) -> str:
        """Take a message, as ingress would: bounded, once, and only when it is durable."""
        self.calls.append(incoming)
        self._fail()
        session_id = self.session_of(incoming)
        for one in (incoming.message_id, incoming.conversation, incoming.sender):
            _check_id(one)
        text = _checked("text", incoming.text, bytes_max=MESSAGE_TEXT_BYTES_MAX)
        _checked("quoted text", incoming.quoted, bytes_max=QUOTED_TEXT_BYTES_MAX)
        if not text:
            raise Refused("the message has no text: write something")
        await self._commit()
        took = Took("message", incoming.message_id, text)
        if self._is_new(session_id, incoming.message_id, took):
            self.taken.append(incoming)
            sent_ms = NOW_MS if incoming.sent_ms is None else incoming.sent_ms
            how = "expired" if NOW_MS - sent_ms > MESSAGE_AGE_MAX_MS else ""
            self._write(session_id, incoming.message_id, author="user", text=text, how=how)
        return session_id

    async def stop(self, session_id: str, *, reply_id: str, request_id: str) -> None:
        """The person pressed stop."""
        if reply_id:
            _check_id(reply_id)
        await self._press(Pressed("stop", session_id, reply_id, request_id), key=request_id)

    async def feedback(
        self, session_id: str, *, reply_id: str, verdict: str, text: str, request_id: str = ""
    ) -> None:
        """The person judged a reply."""
        if verdict not in ("up", "down"):
            raise Refused(f"verdict {verdict!r}: it is `up` or `down`")
        judged = cast('Literal["up", "down"]', verdict)
        if reply_id:
            _check_id(reply_id)
        text = _checked("feedback", text, bytes_max=QUOTED_TEXT_BYTES_MAX)
        key = request_id or f"{reply_id}\x1f{verdict}\x1f{text}"
        await self._press(Pressed(judged, session_id, reply_id, request_id, text), key=key)

    def now_ms(self) -> int:
        """The log's time."""
        return NOW_MS

    def session_id(self, account: str, *, conversation: str, sender: str) -> str:
        """The session that these platform ids lead to; they don't stand in it."""
        if account != self._account:
            raise Refused(f"account: this is the gateway of {self._account!r} and of no other")
        # Lengths go into it, so that ("ab", "c") and ("a", "bc") are two people.
        who = derive("", *(f"{len(one)}:{one}" for one in (conversation, sender)))
        return f"{self._kind}:{account}:{who.rpartition('/')[2]}"

    async def lines(self, session_id: str, *, after: int, limit: int) -> list[Line]:
        """Committed lines with n > after."""
        return self._lines.get(session_id, [])[max(after, 0) :][:limit]

    async def view(self, session_id: str) -> SessionView | None:
        """The session; nothing is ever open in it when it is first looked at."""
        return a_view(session_id) if session_id in self._lines else None

    # ---- what a host does with replies --------------------------------------------------------

    async def took(self, session_id: str) -> Sequence[Took]:
        """What of a session is durable and counts, in order: see `GatewayHost`."""
        return [took for (session, _, _), took in self._log.items() if session == session_id]

    def session_of(self, incoming: Incoming) -> str:
        """The session of a message."""
        return self.session_id(
            incoming.account, conversation=incoming.conversation, sender=incoming.sender
        )

    def delivery(self, to: Incoming, text: str, *, n: int = 0) -> Delivery:
        """Reply `n` to the sender of a message, marked: it is about to be sent."""
        session_id = self.session_of(to)
        assert self._channel is not None
        address = Address(
            channel=self._channel.kind,
            account=to.account,
            conversation=to.conversation,
            sender=to.sender,
            reply_token=to.reply_token,
            reply_token_expires_ms=to.reply_token_expires_ms,
        )
        return Delivery(
            reply_id=derive(session_id, "reply", n),
            session_id=session_id,
            cause=derive(session_id, "message", n),
            kind="reply",
            address=address,
            state="sending",
            text=text,
            attempt=1,
            queued_ms=NOW_MS,
            sending_ms=NOW_MS,
        )

    async def deliver(self, delivery: Delivery) -> Receipt:
        """Send a reply, and write its line with its receipt, as a host does."""
        assert self._channel is not None
        receipt = await self._channel.send(delivery)
        text = delivery.text or ""
        self._write(delivery.session_id, delivery.reply_id, author=delivery.author, text=text)
        return receipt

    # ---- inside -------------------------------------------------------------------------------

    def _fail(self) -> None:
        if self.faults:
            raise self.faults.popleft()

    async def _commit(self) -> None:
        await self.commits.wait()
        if self._ended:
            raise Unavailable("the assistant is stopping: try again in a second")

    def _is_new(self, session_id: str, key: str, took: Took) -> bool:
        """Whether this is no repetition; from now on it is one."""
        kind = took.what if took.what in ("message", "stop") else "feedback"
        return self._log.setdefault((session_id, kind, key), took) is took

    async def _press(self, pressed: Pressed, *, key: str) -> None:
        self._fail()
        if pressed.session_id not in self._lines:
            raise Refused("nobody has written in this conversation yet: send a message first")
        await self._commit()
        self.pressed.append(pressed)
        took = Took(pressed.what, pressed.reply_id, pressed.text)
        self._is_new(pressed.session_id, key, took)

    def _write(
        self, session_id: str, line_id: str, *, author: str, text: str, how: str = ""
    ) -> None:
        lines = self._lines.setdefault(session_id, [])
        if any(line.id == line_id for line in lines):
            return
        line = Line(
            session_id=session_id,
            id=line_id,
            author=author,
            text=text,
            at_ms=NOW_MS,
            n=len(lines) + 1,
            how=how,
        )
        lines.append(line)
        if self._channel is not None:
            self._channel.wrote([line])


def _checked(field: str, text: str, *, bytes_max: int) -> str:
    """The text as it can be recorded: no control characters, no halves of a character."""
    text = _HALF.sub("\N{REPLACEMENT CHARACTER}", _CONTROL.sub("", text)).strip()
    if len(text.encode()) > bytes_max:
        raise Refused(f"{field} has more than {bytes_max} bytes: send it in parts")
    return text


def _check_id(value: str) -> None:
    odd = re.search("[\x00-\x1f\x7f-\x9f\ud800-\udfff]", value)
    if odd or not 0 < len(value) <= ID_CHARS_MAX:
        raise Refused(f"ids have 1 to {ID_CHARS_MAX} characters, no control characters among them")


def a_view(session_id: str, *frames: Frame) -> SessionView:
    """A session in which these replies are open."""
    return SessionView(
        session_id=session_id,
        state="bot.answering" if frames else "bot.listening",
        busy=bool(frames),
        person=False,
        frames=frames,
        replies=tuple(frame.reply_id for frame in frames),
    )
