"""What is shown of replies that stream: im.frames from now on, to whoever looks.

Beside `streams.cluster.following`, which says which replies have ended. Frames stand outside all
transactions, so they may come before the view that opens their reply, and after the line that ends
it: the first frame of each reply is held against the read model, which remembers over a restart of
the gateway what has ended.

What it never does: read a frame of a channel that it does not serve, or keep more of a reply than
its latest frame.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

from adapters.kafka.clients import KafkaSettings
from adapters.kafka.records import Fetched
from adapters.kafka.tail import Tail
from engine.errors import InvalidRecord, Unavailable
from engine.ids import session_of
from engine.ports import Frame
from streams.cluster.newest_frames import newest_frames
from streams.cluster.read_model import News, ReadModel
from streams.machine_clock import awake_ms
from streams.open_replies import OpenReplies
from streams.topics import T
from streams.wire import frame_of

log = logging.getLogger(__name__)

POLL_MS = 500
AGAIN_S = 0.5


class Frames:
    """The loop around the open replies of one channel account. `show` is called with each frame."""

    def __init__(
        self,
        settings: KafkaSettings,
        model: ReadModel,
        *,
        account: tuple[str, str],
        show: Callable[[Frame], None],
    ) -> None:
        self._settings = settings
        self._model = model
        self._prefix = ":".join(account) + ":"
        self._show = show
        # How those end that are open here, we are told.
        self._open = OpenReplies(lambda reply: model.has_ended(session_of(reply), reply))
        self.fault = "not following im.frames yet"
        self.progressed_ms = awake_ms()
        self.shown = 0
        self.dropped = 0

    async def run(self) -> None:
        """Follow until cancelled. What streamed while the brokers were away is not shown."""
        while True:
            tail = Tail(self._settings, T.FRAMES, committed=False, everything=True)
            try:
                await tail.start()
                self.fault = ""
                while True:
                    self.take(await tail.fetch(within_ms=POLL_MS))
                    self.progressed_ms = awake_ms()
            except Unavailable as error:
                self.fault = str(error)
                log.warning("im.frames is not followed just now: %s", error)
                await asyncio.sleep(AGAIN_S)
            finally:
                await tail.stop()

    def of(self, session_id: str) -> tuple[Frame, ...]:
        """The latest frame of each open reply."""
        return self._open.frames(session_id)

    def heard(self, news: News) -> None:
        """These replies have ended: nothing more of them is shown."""
        for session_id, reply_id in news.closed:
            if session_id.startswith(self._prefix):
                self._open.close(session_id, reply_id)
        self._open.confirm()

    def take(self, records: Sequence[Fetched]) -> None:
        """Show what is new and still open; of each reply the newest in the batch."""
        newest = newest_frames(records, ours=lambda reply: reply.startswith(self._prefix))
        self.dropped += newest.unreadable
        for reply_id, record in newest.of.items():
            self._take(reply_id, record)

    def _take(self, reply_id: str, record: Fetched) -> None:
        session_id = session_of(reply_id)
        try:
            if not self._open.show(frame_of(record.value)):
                self.dropped += 1
                return
        except InvalidRecord as error:
            self.dropped += 1
            log.error("im.frames %d:%d is left out: %s", record.partition, record.offset, error)
            return
        self.shown += 1
        for frame in self._open.frames(session_id):
            if frame.reply_id == reply_id:
                self._show(frame)
