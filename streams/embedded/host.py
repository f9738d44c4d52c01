"""The embedded host: the event loop around the pipeline. The only place that waits and calls.

Channels put messages in through a `Gateway`; each turn of `_pump` commits what has come since
(group commit), and only then acknowledges it, starts runners, calls channels and shows lines. What
runners and channels come back with goes in at the top again. The names of `CrashPoint` stand where
a death would leave that state behind.

It decides nothing about a session: that is `engine.step`, through `streams.embedded.pipeline`.
"""

import asyncio
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from engine import codec
from engine.crash_points import CrashPoint
from engine.errors import InvalidRecord, Refused, Unavailable, trace_of
from engine.flow import Flow
from engine.limits import CLOCK_SKEW_MAX_MS
from engine.ports import (
    Channel,
    Frame,
    Line,
    SessionView,
)
from engine.session import Session
from streams import ingress
from streams.calls import Pump
from streams.crash_marks import nowhere
from streams.embedded.channels import Channels
from streams.embedded.clock import HostClock
from streams.embedded.looking_back import handed_over_ms
from streams.embedded.metrics import Metrics
from streams.embedded.pipeline import Called, Decided, Pipeline, numbered
from streams.gateway import NOT_KNOWN, ChannelGateway
from streams.handed_over import HandedOverSessions, in_a_persons_hands
from streams.host_state import HandedOver, HostState
from streams.ingress import Ingress, Taken
from streams.performers import Performers

log = logging.getLogger(__name__)

RECENT_MAX = 10_000
"""Events that were just appended: a client that resends one is answered without appending it."""
RETRY_COMMIT_S = 0.5
AT_ONCE_ROWS_MAX = 4
AT_ONCE_S_MAX = 0.002
"""So long may the last commit have taken, for a few rows to be committed on the loop."""
SLEEP_MAX_S = 5.0
"""The pump looks at the clock at least this often."""
CANNOT_WRITE = "not able to write its log just now"
"""What people are told; the log of the process has the reason, which names paths."""
Waiting = list[asyncio.Future[None]]
"""Those who wait until an event is durable; empty once it is."""


class EmbeddedHost:
    """One process's conversations: channels in, runners and channels out, one log file.

    `start` recovers and begins; `stop` takes nothing more in, waits for what is in flight at most
    `drain_s`, and leaves the rest to the next start: it is all in the log.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        clock: HostClock,
        performers: Performers,
        channels: Sequence[tuple[Channel, Ingress]],
        metrics: Metrics,
        batch_max: int = 256,
    ) -> None:
        self._batch_max = batch_max
        self._store = pipeline.store
        self._pipeline = pipeline
        self._clock = clock
        self._performers = performers
        self._channels = Channels(channels)
        self._metrics = metrics
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._wake = asyncio.Event()
        self._taken: list[tuple[Taken, Waiting]] = []
        self._called: list[Called] = []
        self._recent: OrderedDict[str, Waiting] = OrderedDict()
        self._handed_over = HandedOverSessions()
        self._pump_task: asyncio.Task[None] | None = None
        self._stopping = False
        self._committing = False
        self._commit_s = math.inf  # what the last one took
        self._started_ms = 0
        self._skewed = False
        self.fault: str = "starting"
        self.at = nowhere  # told how many things have come to which crash point

    # ---- life ------------------------------------------------------------------------------

    async def start(self, flow: Flow, config: bytes, *, standing: str = "") -> None:
        """Recover, activate the flow, start runners and channels, and begin."""
        now_ms = self._clock.now_ms()
        self._started_ms = now_ms
        self._flow, self._config = flow, config
        if standing:
            log.error("the last process died while stepping event %s", standing)
        found = self._pipeline.recover(flow, config, now_ms=now_ms, standing=standing)
        replaced = found.replaced
        for session in found.handed_over:
            self._handed_over.put(session, since_ms=handed_over_ms(self._store, session, flow=flow))
        if replaced is not None:
            if (replaced.name, replaced.version) == (flow.ref.name, flow.ref.version):
                log.info("settings changed: conversations go on with them")
            else:
                log.warning("flow %s replaces %s: another is configured", flow.ref, replaced)
        self._metrics.recovered(
            events=self._store.head(0),
            sessions=self._store.session_count(),
            dead_letters=len(self._store.dead_letters()),
        )
        await self._performers.start(self._outcome, self._show)
        self._channels.pump = Pump(self._may_call, self._call_ended, lambda at, n: self.at(at, n))
        for channel, routes in self._channels:
            await channel.start(ChannelGateway(self, routes))
        self._pump_task = asyncio.create_task(self._pump(), name="pump")
        self._pump_task.add_done_callback(self._pump_ended)
        self._performers.put(found.requests, now_ms=self._clock.now_ms())
        self.fault = ""

    async def stop(self, *, drain_s: float) -> None:
        """Take nothing more in; wait at most `drain_s` for what is in flight; let go."""
        self.fault = "stopping"
        for channel, _ in self._channels:
            await channel.close()
        try:
            async with asyncio.timeout(drain_s):
                while self._busy():
                    await asyncio.sleep(0.02)
        except TimeoutError:
            log.warning("stopping with work in flight: it goes on at the next start")
        self._stopping = True
        self._wake.set()
        if self._pump_task is not None:
            await asyncio.wait([self._pump_task])
        await self._performers.close()
        self._channels.cancel()
        self._writer.shutdown(wait=True)
        self._store.close()

    async def failed(self) -> None:
        """Returns when the host can do no more; `fault` says why."""
        if self._pump_task is not None:
            await asyncio.wait([self._pump_task])

    def _busy(self) -> bool:
        if self._taken or self._called or self._channels.in_hand or self._committing:
            return True
        now_ms = self._clock.now_ms()
        send_ms = self._pipeline.egress.next_ms(now_ms)
        return self._performers.in_flight > 0 or (send_ms is not None and send_ms <= now_ms)

    # ---- in --------------------------------------------------------------------------------

    async def submit(self, taken: Taken) -> None:
        """Return once the event is durable. The same event again is not appended twice."""
        self.require_running()
        event_id = taken.append.event_id
        waiting = self._recent.get(event_id)
        if waiting is not None and not waiting:
            return
        line = taken.line
        # A page keeps what was not acknowledged for longer than a session remembers its messages.
        if waiting is None and line and self._store.has_line(line.session_id, line.id):
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if waiting is not None:
            waiting.append(future)
        else:
            self._recent[event_id] = waiting = [future]
            if len(self._recent) > RECENT_MAX:
                self._recent.popitem(last=False)
            self._taken.append((taken, waiting))
            self._wake.set()
        await future

    async def require_known(self, session_id: str) -> None:
        """Raises Refused where nobody has written in the session."""
        self.require_running()
        if self._store.get(session_id) is None:
            raise Refused(NOT_KNOWN)

    def require_running(self) -> None:
        """Raises Unavailable where nothing is taken in just now."""
        if self.fault:
            raise Unavailable(f"the assistant is {self.fault}")

    def now_ms(self) -> int:
        """Log time."""
        return self._clock.now_ms()

    def _outcome(self, taken: Taken) -> None:
        """A runner is done."""
        self.at(CrashPoint.OUTCOME_APPEND, 1)
        self._taken.append((taken, []))
        self._wake.set()

    # ---- the pump --------------------------------------------------------------------------

    async def _pump(self) -> None:
        while not self._stopping or self._taken or self._called:
            await self._work()
            taken, self._taken = self._taken[: self._batch_max], self._taken[self._batch_max :]
            called, self._called = self._called, []
            self._wake.clear()
            now_ms = self._clock.now_ms()
            messages = sum(bool(waiting) for _, waiting in taken)
            self.at(CrashPoint.BEFORE_APPEND, messages)
            decided = self._pipeline.decide([t for t, _ in taken], called, now_ms=now_ms)
            if decided.is_empty:
                continue
            self._committing = True
            try:
                self.at(CrashPoint.STEP_COMMIT, len(decided.batch.steps))
                await self._commit(decided)
            except Unavailable as error:
                await self._rolled_back(taken, called, error)
                continue
            finally:
                self._committing = False
            self._pipeline.confirm(decided)
            self.at(CrashPoint.APPEND_ACK, messages)
            for _, waiting in taken:
                for future in waiting:
                    if not future.done():
                        future.set_result(None)
                waiting.clear()
            self.at(CrashPoint.COMMIT_PERFORM, 1)
            self._perform(decided)

    async def _commit(self, decided: Decided) -> None:
        """Make it durable: in a thread, since the loop must not wait for a slow disk.

        A few rows on a quick one are written at once: to hand them over and back would take longer.
        """
        rows = len(decided.appends) + len(decided.deliveries)
        began_s = time.monotonic()
        if rows <= AT_ONCE_ROWS_MAX and self._commit_s <= AT_ONCE_S_MAX:
            self._pipeline.commit(decided)
        else:
            await asyncio.get_running_loop().run_in_executor(
                self._writer, self._pipeline.commit, decided
            )
        self._commit_s = time.monotonic() - began_s

    def _look_at_the_clock(self) -> None:
        """Say once when the machine's clock and log time part, and when they meet again.

        Log time goes on all the same: it is the host's own, so a jump stalls and fires nothing.
        """
        skew_ms = self._clock.skew_ms()
        self._metrics.skewed(skew_ms)
        if (abs(skew_ms) > CLOCK_SKEW_MAX_MS) != self._skewed:
            self._skewed = not self._skewed
            log.warning(
                "the machine's clock is %.1f s ahead of log time: %s",
                skew_ms / 1_000,
                "times are log time's until a restart" if self._skewed else "they agree again",
            )

    async def _work(self) -> None:
        """Wait for something to come in, or for the next deadline."""
        self._look_at_the_clock()
        if self._taken or self._called or self._stopping:
            return
        now_ms = self._clock.now_ms()
        times = (self._pipeline.deadlines.next_ms(), self._pipeline.egress.next_ms(now_ms))
        soonest = min((t for t in times if t is not None), default=None)
        wait_s = SLEEP_MAX_S if soonest is None else (soonest - now_ms) / 1_000
        if wait_s <= 0:
            return
        try:
            async with asyncio.timeout(min(wait_s, SLEEP_MAX_S)):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _rolled_back(
        self,
        taken: list[tuple[Taken, Waiting]],
        called: list[Called],
        error: Unavailable,
    ) -> None:
        """Nothing of the batch is durable: tell those who can send again, keep what cannot."""
        self._metrics.rolled_back()
        log.error("commit failed, nothing of it is durable: %s", error)
        self.fault = self.fault or CANNOT_WRITE
        told = Unavailable(f"the assistant is {CANNOT_WRITE}")
        kept = [item for item in taken if not item[1]]
        for item, waiting in taken:
            if waiting:
                self._recent.pop(item.append.event_id, None)
            for future in waiting:
                if not future.done():
                    future.set_exception(told)
                    future.exception()  # the one who waits for it may have gone
        self._taken = kept + self._taken
        self._called = called + self._called
        while True:
            await asyncio.sleep(RETRY_COMMIT_S)
            try:
                now_ms = self._clock.now_ms()
                pending = self._pipeline.roll_back(
                    self._flow,
                    self._config,
                    taken=[item for item, _ in self._taken],
                    called=self._called,
                    in_hand=self._channels.in_hand,
                    now_ms=now_ms,
                )
                break
            except Unavailable:
                if self._stopping:
                    break
        if self._stopping:  # what is in the log goes on at the next start
            self._taken, self._called = [], []
            return
        if self.fault == CANNOT_WRITE:
            self.fault = ""
        self._performers.put(pending, now_ms=now_ms)

    def _pump_ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.fault = "broken, and about to be restarted"
            log.critical("the pump died, the process must be restarted: %s", trace_of(error))
        for waiting in self._recent.values():
            for future in waiting:
                if not future.done():
                    future.set_exception(Unavailable(f"the assistant is {self.fault}"))
                    future.exception()  # the one who waits for it may have gone

    # ---- out -------------------------------------------------------------------------------

    def _perform(self, decided: Decided) -> None:
        batch = decided.batch
        self._metrics.committed(decided)
        self._channels.wrote(numbered(decided))
        flow = self._pipeline.sessions.flow
        assert flow is not None
        for session, _ in batch.stepped.values():
            if in_a_persons_hands(flow, session.state):
                self._handed_over.put(session, since_ms=session.now_ms)
            else:
                self._handed_over.drop(session.id)
            channel = self._channels.of(session.id)
            if channel is not None and channel.follows(session.id):
                channel.stepped(self._view(flow, session))
        for effect_id in (*batch.cancels, *batch.resolved):
            self._performers.cancel(effect_id)
        if batch.requests:
            self._performers.put(decided.requests, now_ms=decided.at_ms)
        self._channels.call(decided.marked)

    def _may_call(self, reply_id: str) -> bool:
        return self._pipeline.egress.called(reply_id, self._clock.now_ms())

    def _call_ended(self, call: Called) -> None:
        self._called.append(call)
        self._wake.set()

    def _show(self, frame: Frame) -> None:
        channel = self._channels.of(frame.session_id)
        if channel is not None and self._pipeline.egress.open_replies.show(frame):
            channel.show(frame)

    # ---- what people ask -------------------------------------------------------------------

    def _view(self, flow: Flow, session: Session) -> SessionView:
        return SessionView(
            session_id=session.id,
            state=session.state,
            busy=any(pending.kind != "timer" for pending in session.pending),
            person=in_a_persons_hands(flow, session.state),
            frames=self._pipeline.egress.open_replies.frames(session.id),
            replies=tuple(reply.reply_id for reply in session.open_replies),
        )

    async def view(self, session_id: str) -> SessionView | None:
        """The session as its person may see it; None before its first message."""
        value = self._store.get(session_id)
        flow = self._pipeline.sessions.flow
        if value is None or flow is None:
            return None
        try:
            return self._view(flow, codec.decode_session(value))
        except InvalidRecord:
            return None  # its lines can still be read

    async def lines(self, session_id: str, *, after: int, limit: int) -> list[Line]:
        """Committed lines with n > after."""
        return self._store.lines(session_id, after=after, limit=limit)

    def state(self) -> HostState:
        """How it is just now; from memory."""
        flow = self._pipeline.sessions.flow
        return HostState(
            ready=not self.fault,
            reason=self.fault,
            version=self._metrics.version,
            flow="" if flow is None else str(flow.ref),
            started_ms=self._started_ms,
            sessions=self._metrics.sessions,
            events=self._metrics.events,
            lag=len(self._taken),
            undelivered=self._pipeline.egress.waiting,
            dead_letters=self._metrics.dead_letters,
        )

    async def operator_sessions(self) -> Sequence[HandedOver]:
        """All sessions in a person's hands, the longest waiting first."""
        return self._handed_over.all()

    async def operator_say(
        self, session_id: str, *, request_id: str, text: str, operator: str
    ) -> None:
        """Say something to the person; returns once that is durable."""
        self._require_handed_over(session_id)
        await self.submit(
            ingress.operator_said(
                session_id, text, operator=operator, request_id=request_id, now_ms=self.now_ms()
            )
        )

    async def hand_back(self, session_id: str, *, request_id: str, operator: str) -> None:
        """Give the session back to the bot, once."""
        self._require_handed_over(session_id)
        await self.submit(
            ingress.handed_back(
                session_id, operator=operator, request_id=request_id, now_ms=self.now_ms()
            )
        )

    async def redrive(self, number: str, *, operator: str) -> None:
        """Take the message of a dead letter (`0:17`, or its offset) again; return once durable."""
        offset = number.removeprefix("0:")
        letters = {str(letter.offset): letter for letter in self._store.dead_letters()}
        if offset not in letters:
            raise Refused(f"there is no dead letter {number!r}: `dead-letters list` shows them")
        now_ms = self.now_ms()
        await self.submit(ingress.redriven(letters[offset], operator=operator, now_ms=now_ms))

    def _require_handed_over(self, session_id: str) -> None:
        if self._handed_over.get(session_id) is None:
            raise Refused(
                f"session {session_id!r} is not in a person's hands: "
                "`ai-assistant operator list` shows those that are"
            )
