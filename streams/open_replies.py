"""Open replies: what is shown of each while it streams, and which have ended.

Beside `streams.egress`: frames of the runners come in, the latest of each reply goes to people who
look. In memory only; it survives a failed commit, which takes nothing back that a person has seen.
Only the session opens and closes replies: a frame of a closed one is dropped here. A reply that a
batch closes is closed for good once that batch is durable, and open again where it is rolled back.

Whether a process before this one closed a reply is asked once, at the reply's first frame, since
from then on this process closes it.
"""

from collections import OrderedDict
from collections.abc import Callable

from engine.ports import Frame

CLOSED_KEPT_MAX = 10_000
"""Reply ids remembered as closed, so that a late frame of one of them costs no look-up."""


class OpenReplies:
    """The frames of one host's open replies, by session.

    `ended`: whether a reply ended before, as far as that is durable. It may block.
    """

    def __init__(self, ended: Callable[[str], bool]) -> None:
        self._ended = ended
        self._frames: dict[str, dict[str, Frame]] = {}
        self._closing: dict[str, str] = {}  # reply -> session, of the batch that is being committed
        self._closed: OrderedDict[str, None] = OrderedDict()

    def show(self, frame: Frame) -> bool:
        """Whether the frame is to be shown: its reply is open, and it is the newest of it."""
        if frame.reply_id in self._closed or frame.reply_id in self._closing:
            return False
        last = self._frames.get(frame.session_id, {}).get(frame.reply_id)
        if last is None and self._ended(frame.reply_id):
            self._remember(frame.reply_id)
            return False
        if last is not None and (last.attempt, last.n) >= (frame.attempt, frame.n):
            return False
        self._frames.setdefault(frame.session_id, {})[frame.reply_id] = frame
        return True

    def frames(self, session_id: str) -> tuple[Frame, ...]:
        """The latest frame of each open reply of a session."""
        return tuple(self._frames.get(session_id, {}).values())

    def close(self, session_id: str, reply_id: str) -> str | None:
        """No frame of it is shown from now on. What was last shown; None where nothing was."""
        self._closing[reply_id] = session_id
        frame = self._frames.get(session_id, {}).get(reply_id)
        return None if frame is None else frame.text

    def confirm(self) -> None:
        """The batch that closed replies is durable."""
        for reply_id, session_id in self._closing.items():
            frames = self._frames.get(session_id, {})
            frames.pop(reply_id, None)
            if not frames:
                self._frames.pop(session_id, None)
            self._remember(reply_id)
        self._closing.clear()

    def roll_back(self) -> None:
        """The batch that closed replies is not durable: they are open."""
        self._closing.clear()

    def _remember(self, reply_id: str) -> None:
        self._closed[reply_id] = None
        if len(self._closed) > CLOSED_KEPT_MAX:
            self._closed.popitem(last=False)
