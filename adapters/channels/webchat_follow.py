"""What one socket has seen of one conversation, and what it is to be sent next.

A slow reader costs nothing here: lines are remembered as "behind" and fetched again, frames are
coalesced to the latest of each reply, and of states only the last is kept. Told by `webchat` (what
the host committed), asked by `webchat_socket` (what to send).

The rule that loses and doubles nothing: a line is sent only if its number is the cursor's next one;
a lower one was sent before, and a higher one means that lines are to be fetched after the cursor.

What it never does: I/O, or holding more than a few dozen records.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence

from adapters.channels import markdown
from adapters.channels.webchat_wire import FrameFrame, LineFrame, StateFrame
from engine.ports import Frame, Line, SessionView

LINES_HELD_MAX = 16
"""Lines kept from notifications, so that a reader who keeps up costs no read of the log."""

UNKNOWN = 2**62
"""The last line's number, until the log has been read to its end."""

REPLIES_MAX = 64
"""Open and closed replies remembered; a session has a handful."""


def line_frame(line: Line, conversation: str) -> LineFrame:
    """The line as clients get it. What people wrote is shown as written, never as markdown."""
    html = markdown.plain(line.text) if line.author == "user" else markdown.render(line.text)
    return LineFrame(
        conversation=conversation,
        n=line.n,
        id=line.id,
        author=line.author,
        text=line.text,
        html=html,
        at_ms=line.at_ms,
        how=line.how,
    )


class Follower:
    """The place of one socket in one conversation.

    `cursor`: the last line it was sent. `writes` and `views` grow with each new line and state:
    what was read before they changed is stale. `blind`: the client began, and was not shown the
    state yet. `wake` is called when there is something to send; it must not block.
    """

    def __init__(self, conversation: str, session_id: str, *, wake: Callable[[], None]) -> None:
        self.conversation = conversation
        self.session_id = session_id
        self.locale = ""
        self.blind = False
        self._wake = wake
        self.cursor = 0
        self._head = 0
        self._hello: int | None = None
        self._held: list[Line] = []
        self._view: SessionView | None = None
        self.writes = 0
        self.views = 0
        self._frames: dict[str, Frame] = {}
        self._shown: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._closed: OrderedDict[str, None] = OrderedDict()

    # ---- told -----------------------------------------------------------------------------------

    def hello(self, after: int) -> None:
        """The client begins anew, from line `after` on."""
        self._hello = after
        self.blind = True
        self._shown.clear()
        self._wake()

    def wrote(self, line: Line) -> None:
        """A line became durable."""
        self.writes += 1
        self._head = max(self._head, line.n)
        if line.author != "user":
            # The client may have this line from another host, and then it is not sent here.
            self._close(line.id)
        next_n = self._held[-1].n + 1 if self._held else self.cursor + 1
        if line.n == next_n and len(self._held) < LINES_HELD_MAX:
            self._held.append(line)
        self._wake()

    def stepped(self, view: SessionView) -> None:
        """The session has a new state."""
        self._view = view
        self.views += 1
        self._wake()

    def show(self, frame: Frame) -> None:
        """An open reply has more text; older frames than the last shown are dropped."""
        reply = frame.reply_id
        if reply in self._closed or (frame.attempt, frame.n) <= self._shown.get(reply, (-1, -1)):
            return
        self._shown[reply] = (frame.attempt, frame.n)
        self._shown.move_to_end(reply)
        if len(self._shown) > REPLIES_MAX:
            self._frames.pop(self._shown.popitem(last=False)[0], None)
        self._frames[reply] = frame
        self._wake()

    # ---- asked ----------------------------------------------------------------------------------

    def asked(self) -> int | None:
        """The `after` of a hello that is not answered yet."""
        after, self._hello = self._hello, None
        return after

    def begin(self, cursor: int) -> None:
        """Lines after `cursor` are to be sent, whatever was sent before."""
        self.cursor = cursor
        self._head = UNKNOWN
        self._held.clear()

    @property
    def behind(self) -> bool:
        """There are, or may be, lines after the cursor."""
        return self.cursor < self._head

    def held(self) -> Sequence[Line]:
        """Lines at hand; empty where they have to be fetched."""
        held, self._held = self._held, []
        return held if held and held[0].n == self.cursor + 1 else ()

    def take(self, line: Line) -> LineFrame | None:
        """The line to send, if it is the next one."""
        if line.n != self.cursor + 1:
            return None
        self.cursor = line.n
        if line.author != "user":
            self._close(line.id)
        return line_frame(line, self.conversation)

    def caught_up(self, writes: int) -> None:
        """The log had nothing after the cursor when it was read; `writes` from before that."""
        # A line that became durable while the log was read may be missing in what was read.
        if self.writes == writes:
            self._head = self.cursor

    def next_state(self) -> StateFrame | None:
        """The latest state, once."""
        view, self._view = self._view, None
        if view is None:
            return None
        return StateFrame(
            conversation=self.conversation,
            state=view.state,
            busy=view.busy,
            person=view.person,
            replies=view.replies,
        )

    def next_frame(self) -> FrameFrame | None:
        """The latest frame of one open reply, once."""
        if not self._frames:
            return None
        frame = self._frames.pop(next(iter(self._frames)))
        return FrameFrame(
            conversation=self.conversation,
            reply=frame.reply_id,
            attempt=frame.attempt,
            n=frame.n,
            text=frame.text,
            html=markdown.render(frame.text),
        )

    def _close(self, reply: str) -> None:
        self._frames.pop(reply, None)
        self._shown.pop(reply, None)
        self._closed[reply] = None
        if len(self._closed) > REPLIES_MAX:
            self._closed.popitem(last=False)
