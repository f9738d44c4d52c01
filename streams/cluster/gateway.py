"""The gateway of a cluster: what web chat and operators ask of the conversations on the topics.

In front of it, a channel and the HTTP app; behind it `streams.ingress`, whose events it appends,
and im.outbox and im.frames, from which it knows what was said. Any number of them run side by side,
each with a read model of its own, and any of them serves any person: nothing is theirs alone.

What it never does: read the log of record, or tell anybody what the topics do not hold.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from adapters.kafka.admin import cluster_id
from adapters.kafka.clients import KafkaSettings
from engine.crash_points import CrashPoint
from engine.errors import EngineError, Refused, Unavailable, trace_of
from engine.ports import Append, Channel, DeadLetter, Line, SessionView
from streams import ingress
from streams.cluster.following import Following
from streams.cluster.frames import Frames
from streams.cluster.gateway_metrics import GatewayMetrics
from streams.cluster.letters import Letters
from streams.cluster.read_model import News, ReadModel
from streams.crash_marks import nowhere
from streams.gateway import NOT_KNOWN, ChannelGateway
from streams.host_state import HandedOver, HostState
from streams.ingress import Ingress, Taken
from streams.machine_clock import awake_ms
from streams.wire import View

log = logging.getLogger(__name__)

T = TypeVar("T")

RECENT_MAX = 10_000
"""Events that were just appended, and sessions that somebody here just wrote in."""
UP_TO_DATE_WITHIN_S = 2.0
"""A read model that is further behind says that it cannot tell, not that there is nothing."""
TIDY_EVERY_S = 10.0
AGAIN_S = 0.5


class Appends(Protocol):
    """What the gateway needs of its process's `adapters.kafka.appender.Appender`."""

    fault: str

    async def append(self, append: Append) -> object: ...
    def now_ms(self) -> int: ...


class _Open(NamedTuple):
    """What there is once the brokers were reached."""

    model: ReadModel
    following: Following
    frames: Frames


@dataclass(frozen=True, kw_only=True)
class GatewayParts:
    """What a gateway is made of. The appender is the process's, which starts and stops it.

    `file`: of the read model; None: in memory. `flow`: the configured one, as people are told it.
    """

    kafka: KafkaSettings
    appender: Appends
    channel: Channel
    routes: Callable[[Callable[[str], bool]], Ingress]
    metrics: GatewayMetrics
    file: Path | None = None
    flow: str = ""


class ClusterGateway:
    """The role: the host of one channel account's `Gateway`, and the HTTP app's `Host`.

    `start` returns at once; people are taken in once the read model has all that was said before
    (`ready` is empty then). `stop` takes nothing more in and waits for what is being appended.
    """

    name = "ingress"

    def __init__(self, parts: GatewayParts) -> None:
        self._parts = parts
        self._channel, self._appender = parts.channel, parts.appender
        self._prefix = f"{parts.channel.kind}:{parts.channel.account}:"
        self._ingress = parts.routes(lambda session_id: self._model.knows(session_id))
        self._letters = Letters(parts.kafka)
        self._open: _Open | None = None
        self._recent: OrderedDict[str, asyncio.Future[object]] = OrderedDict()
        self._written_in: OrderedDict[str, None] = OrderedDict()
        self._task: asyncio.Task[None] | None = None
        self._ends: asyncio.Future[None] | None = None
        self._started_ms = 0
        self._sessions = 0
        self._fault = "connecting"
        self.at: Callable[[CrashPoint, int], None] = nowhere

    # ---- life ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin. It connects when the brokers are there; `ready` says when people are taken in."""
        self._ends = asyncio.get_running_loop().create_future()
        self._started_ms = self.now_ms()
        self._task = asyncio.create_task(self._run(), name=self.name)

    async def stop(self, *, drain_s: float) -> None:
        """Take nothing more in; wait at most `drain_s` for what is being appended; let go."""
        self._fault = "stopping"
        await self._channel.close()
        waiting = [future for future in self._recent.values() if not future.done()]
        if waiting:
            await asyncio.wait(waiting, timeout=drain_s)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._open is not None:
            self._open.model.close()
        if self._ends is not None and not self._ends.done():
            self._ends.set_result(None)

    async def failed(self) -> None:
        """Return when it was stopped. Raises what ended it before."""
        assert self._ends is not None, "start it first"
        await asyncio.shield(self._ends)

    @property
    def ready(self) -> str:
        """Why nobody is taken in just now; empty where people are."""
        if self._fault or self._open is None:
            return self._fault
        return self._open.following.fault or self._open.frames.fault or self._appender.fault

    @property
    def progressed_ms(self) -> int:
        """When the slower of the two loops last went round, by `awake_ms`."""
        if self._open is None:
            return awake_ms()
        return min(self._open.following.progressed_ms, self._open.frames.progressed_ms)

    async def _run(self) -> None:
        assert self._ends is not None
        try:
            opened = self._open = await self._opened()
            async with asyncio.TaskGroup() as loops:
                loops.create_task(opened.following.run())
                loops.create_task(opened.frames.run())
                loops.create_task(self._tidy(opened))
                await opened.following.begun.wait()
                self._fault = self._fault if self._fault == "stopping" else ""
                await self._channel.start(ChannelGateway(self, self._ingress))
        except Exception as error:
            first = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
            told = str(first) if isinstance(first, EngineError) else trace_of(first)
            log.critical("the gateway cannot go on: %s", told)
            self._fault = "broken, and about to be restarted"
            self._ends.set_exception(first)
            self._ends.exception()  # whoever asks is told; nobody has to ask

    async def _opened(self) -> "_Open":
        """The read model and what fills it, once the brokers are there."""
        kafka = self._parts.kafka
        while True:
            try:
                installation = f"{await cluster_id(kafka)}/{kafka.prefix}"
                break
            except Unavailable as error:
                if self._fault != "stopping":
                    self._fault = str(error)
                await asyncio.sleep(AGAIN_S)
        model = ReadModel(self._parts.file, installation=installation)
        account = (self._channel.kind, self._channel.account)
        return _Open(
            model,
            Following(kafka, model, heard=self._heard),
            Frames(kafka, model, account=account, show=self._channel.show),
        )

    async def _tidy(self, opened: "_Open") -> None:
        """Let old rows go, and count what is too dear to count when somebody asks."""
        model, following, frames = opened
        while True:
            try:
                model.prune(self.now_ms())
                self._sessions = model.count()
                await following.look_at_the_end()
                await self._letters.look()
            except Unavailable as error:
                log.info("not tidied just now: %s", error)
            self._parts.metrics.tell(
                sessions=self._sessions,
                lag=following.lag,
                unread=following.unread,
                shown=frames.shown,
                dropped=frames.dropped,
            )
            await asyncio.sleep(TIDY_EVERY_S)

    # ---- told by the topics --------------------------------------------------------------------

    def _heard(self, news: News) -> None:
        """Show what is in the model now to whoever looks."""
        assert self._open is not None
        self._open.frames.heard(news)
        self._parts.metrics.heard(news)
        channel = self._channel
        if lines := [line for line in news.lines if self._is_ours(line.session_id)]:
            channel.wrote(lines)
        for view in news.views:
            if self._is_ours(view.session_id) and channel.follows(view.session_id):
                channel.stepped(self._seen(view))

    def _is_ours(self, session_id: str) -> bool:
        return session_id.startswith(self._prefix)

    def _seen(self, view: View) -> SessionView:
        return SessionView(
            session_id=view.session_id,
            state=view.state,
            busy=view.busy,
            person=view.handed_over is not None,
            frames=self._open.frames.of(view.session_id) if self._open is not None else (),
            replies=view.replies,
        )

    # ---- what people ask -----------------------------------------------------------------------

    def now_ms(self) -> int:
        """The log's time."""
        return self._appender.now_ms()

    async def lines(self, session_id: str, *, after: int, limit: int) -> list[Line]:
        """Lines with n > after. Raises Unavailable where we may not have all that was shown.

        Whoever asks after a line that our model does not have got it at another gateway, which was
        ahead of us: only a model that is up to date may say that there is nothing. A page that is
        told so forgets what it shows, and is shown replies as open that it has seen the end of.
        """
        found = self._model.lines(session_id, after=after, limit=limit)
        if found or after == 0 or self._model.lines(session_id, after=after - 1, limit=1):
            return found
        await self._be_up_to_date()
        return self._model.lines(session_id, after=after, limit=limit)

    async def view(self, session_id: str) -> SessionView | None:
        """The session as its person may see it; None before its first step."""
        view = self._model.view(session_id)
        return None if view is None else self._seen(view)

    async def submit(self, taken: Taken) -> None:
        """Return once the event is durable. The same event at the same time is appended once."""
        self._require_running()
        event_id, session_id = taken.append.event_id, taken.append.session_id
        line = taken.line
        waiting = self._recent.get(event_id)
        # A page keeps what was not acknowledged for longer than a session remembers its messages.
        if waiting is None and line and self._model.has_line(session_id, line.id):
            return
        if waiting is None:
            self.at(CrashPoint.BEFORE_APPEND, 1)
            waiting = asyncio.ensure_future(self._appender.append(taken.append))
            waiting.add_done_callback(lambda done: self._forget_failed(event_id, done))
            _remember(self._recent, event_id, waiting)
        # Whoever asked may hang up: the event is on its way all the same.
        await asyncio.shield(waiting)
        if line:
            _remember(self._written_in, session_id, None)
        self.at(CrashPoint.APPEND_ACK, 1)

    def _forget_failed(self, event_id: str, done: "asyncio.Future[object]") -> None:
        if done.cancelled() or done.exception() is not None:
            self._recent.pop(event_id, None)

    @property
    def _model(self) -> ReadModel:
        if self._open is None:
            raise Unavailable(f"the assistant is not ready: {self._fault}")
        return self._open.model

    def _require_running(self) -> None:
        """Raises Unavailable where nothing is taken in just now."""
        if reason := self.ready:
            raise Unavailable(f"the assistant is not ready: {reason}")

    async def require_known(self, session_id: str) -> None:
        """Raises Refused where nobody has written in the session, Unavailable where we cannot tell.

        An event would make a session, and whoever has a cookie may name any conversation. Our model
        may be behind what a person has seen: they wrote here a moment ago, or at another gateway,
        where they were shown the reply that they now stop. What was written here stands in the log
        before this event, so it is known, stepped or not. What was shown elsewhere was committed to
        im.outbox before: a model that has reached the topic's end as it is now has that too. Only
        such a model may say that there is nothing; one that lags says so, and is asked again.
        """
        self._require_running()
        if session_id in self._written_in or self._model.knows(session_id):
            return
        await self._be_up_to_date()
        if not self._model.knows(session_id):
            raise Refused(NOT_KNOWN)

    async def _be_up_to_date(self) -> None:
        opened = self._open
        if opened is None or not await opened.following.reached_the_end(
            within_s=UP_TO_DATE_WITHIN_S
        ):
            raise Unavailable("the assistant is behind with reading: try again", retry_after_ms=500)

    # ---- the HTTP app's Host ---------------------------------------------------------------------

    def state(self) -> HostState:
        """How it is just now: of this process; `events` are the records that it has read."""
        return HostState(
            ready=not self.ready,
            reason=self.ready,
            version=self._parts.metrics.version,
            flow=self._parts.flow,
            started_ms=self._started_ms,
            sessions=self._sessions,
            events=0 if self._open is None else self._open.following.records,
            lag=0 if self._open is None else self._open.following.lag,
            undelivered=0,
            dead_letters=self._letters.count,
        )

    async def operator_sessions(self) -> Sequence[HandedOver]:
        """All sessions in a person's hands, the longest waiting first."""
        return self._model.handed_over()

    async def operator_say(
        self, session_id: str, *, request_id: str, text: str, operator: str
    ) -> None:
        """Say something to the person; returns once that is durable."""
        await self._require_handed_over(session_id)
        await self.submit(
            ingress.operator_said(
                session_id, text, operator=operator, request_id=request_id, now_ms=self.now_ms()
            )
        )

    async def hand_back(self, session_id: str, *, request_id: str, operator: str) -> None:
        """Give the session back to the bot, once."""
        await self._require_handed_over(session_id)
        await self.submit(
            ingress.handed_back(
                session_id, operator=operator, request_id=request_id, now_ms=self.now_ms()
            )
        )

    async def redrive(self, number: str, *, operator: str) -> None:
        """Take the message of a dead letter (`3:17`) again; return once that is durable.

        The event first, then the letter's own mark: a death between the two leaves a letter that
        may be asked for again, and its session knows that event. The other way round, a message
        would count as taken that nobody ever took.
        """
        self._require_running()
        letter: DeadLetter = await self._letters.find(number)
        taken = ingress.redriven(letter, operator=operator, now_ms=self.now_ms())
        await self.submit(taken)
        assert taken.letter is not None
        await self._letters.put(taken.letter)

    async def _require_handed_over(self, session_id: str) -> None:
        self._require_running()
        if not self._is_handed_over(session_id):
            await self._be_up_to_date()
        if not self._is_handed_over(session_id):
            raise Refused(
                f"session {session_id!r} is not in a person's hands: "
                "`ai-assistant operator list` shows those that are"
            )

    def _is_handed_over(self, session_id: str) -> bool:
        view = self._model.view(session_id)
        return view is not None and view.handed_over is not None


def _remember(kept: OrderedDict[str, T], key: str, value: T) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > RECENT_MAX:
        kept.popitem(last=False)
