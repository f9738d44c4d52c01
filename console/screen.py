"""The terminal's side of `ai-assistant chat`: what is typed, and answers as they grow.

Plain lines, no cursor tricks: it works in any terminal, in a pipe and for a screen reader.
"""

import asyncio
import os
import threading
import time

import click

from adapters.channels import webchat_wire as wire
from console.chat_client import Seen
from console.terminal import one_line, plain

READ_BYTES = 4_096

GLANCE_CHARS = 40
PROMPT = "you> "


class Screen:
    """Prints a conversation's frames; the text of an open reply is added to as it grows."""

    def __init__(self) -> None:
        self.busy = False
        self.changed_s = time.monotonic()
        self._open: tuple[str, str] | None = None  # the reply that is being shown, and what of it
        self._ended: dict[str, str] = {}  # replies that others have ended, and what was shown
        self._typed: set[str] = set()
        self._prompted = False

    def typed(self, message_id: str) -> None:
        """The person has just typed this message: it stands on the screen already."""
        self._typed.add(message_id)

    def prompt(self) -> None:
        """It is the person's turn; once, until something else is printed or typed."""
        if not self._prompted:
            click.echo(PROMPT, nl=False)
            self._prompted = True

    def entered(self) -> None:
        """The person has ended a line: what comes next stands below it."""
        self._prompted = False

    def see(self, frame: Seen) -> None:
        """Show a frame."""
        self.changed_s = time.monotonic()
        match frame:
            case wire.FrameFrame():
                self._grow(frame.reply, frame.text)
            case wire.LineFrame(author="user"):
                if frame.id not in self._typed:
                    self._print("you", frame.text)
                if frame.how == "expired":
                    self._print("·", f"not answered, more than a day late: {_glance(frame.text)}")
            case wire.LineFrame():
                self._line(frame)
            case wire.StateFrame():
                if self.busy and not frame.busy and frame.person:
                    self._print("·", "a person will answer you here")
                self.busy = frame.busy
            case wire.ErrorFrame():
                self._print("error", frame.text)

    def _line(self, frame: wire.LineFrame) -> None:
        """A whole reply; where it was shown as it grew, only its rest."""
        author = "assistant" if frame.author == "bot" else frame.author
        noted = frame.how in ("stopped", "cancelled", "failed")
        if self._open is not None and self._open[0] == frame.id:
            # What was shown last may be more than what an interrupted answer kept.
            if not (noted and self._open[1].startswith(plain(frame.text))):
                self._grow(frame.id, frame.text)
            self._end_open()
        elif noted and frame.id in self._ended:
            self._print("·", f"{frame.how}: {_glance(self._ended.pop(frame.id))}")
            return
        else:
            self._print(author, frame.text)
        if noted:
            click.echo(f"({frame.how})")

    def _grow(self, reply: str, text: str) -> None:
        text = plain(text)
        if self._open is None or self._open[0] != reply:
            self._end_open()
            self._end_prompt()
            click.echo("assistant> ", nl=False)
            self._open = (reply, "")
        shown = self._open[1]
        if text.startswith(shown):
            click.echo(text[len(shown) :], nl=False)
        else:
            # Another attempt: what was shown so far does not hold any more.
            click.echo(f"\nassistant> {text}", nl=False)
        self._open = (reply, text)

    def _print(self, author: str, text: str) -> None:
        self._end_open()
        self._end_prompt()
        click.echo(f"{author}> {plain(text)}")

    def _end_open(self) -> None:
        if self._open is not None:
            click.echo()
            self._ended[self._open[0]] = self._open[1]
            self._open = None

    def _end_prompt(self) -> None:
        if self._prompted:
            click.echo()
            self._prompted = False


def _glance(text: str) -> str:
    """Enough of a message to know it again: it may have been typed long ago."""
    return one_line(text, GLANCE_CHARS)


def typed_lines() -> "asyncio.Queue[str | None]":
    """The lines that are typed, as they come; None at the end (Ctrl-D)."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[str | None] = asyncio.Queue()

    def read() -> None:
        # Not `sys.stdin`: a thread that waits in it has a lock that hangs the end of the program.
        rest = b""
        while data := os.read(0, READ_BYTES):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                loop.call_soon_threadsafe(queue.put_nowait, line.decode(errors="replace"))
        if rest:
            loop.call_soon_threadsafe(queue.put_nowait, rest.decode(errors="replace"))
        loop.call_soon_threadsafe(queue.put_nowait, None)

    threading.Thread(target=read, daemon=True, name="terminal").start()
    return queue
