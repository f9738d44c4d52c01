"""The child process of the llama.cpp runner, seen from its parent.

Place in the data path: between `models.llama_cpp` and `models.llama_child`. It starts the process,
waits until the model is loaded, gives out request numbers, and brings each message to its request.

What it never does: restart anything, or know what a reply is. A dead child is replaced by a new
object of this class.
"""

import asyncio
import os
import re
import signal
import socket
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from engine.errors import Refused
from models import llama_wire as wire
from models.gguf_header import AGAIN

LOAD_S_MAX = 600.0
"""Forty gigabytes from a slow disk."""
END_S_MAX = 1.0
"""From the end of the stream to the end of the process."""
COMPLAINT_CHARS_MAX = 300
ROOT = Path(__file__).resolve().parent.parent
"""Where the child finds the packages, in a checkout and in a wheel's site-packages alike."""

Show = Callable[[str], None]


@dataclass(kw_only=True)
class Pending:
    """A request in the child's hands. `ended` gets the message that ends it; None: it died."""

    number: int
    show: Show
    ended: asyncio.Future[wire.Ended | wire.Failed | None]
    text: str = ""


class ChildProcess:
    """One running child with its model loaded; made by `start`.

    `template`: the digest of the model's chat template. `heard`: monotonic seconds at which its
    last message came. `death`: why it is not alive any more; empty while it is.
    """

    def __init__(
        self, process: Process, *, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.template = ""
        self.heard = time.monotonic()
        self.death = ""
        self._process = process
        self._reader = reader
        self._writer = writer
        self._complaint = asyncio.create_task(_last_complaint(process))
        self._listening: asyncio.Task[None] | None = None
        self._pending: dict[int, Pending] = {}
        self._number = 0

    @classmethod
    async def start(cls, load: wire.Load) -> "ChildProcess":
        """Start a process and let it load the model. Raises: Refused where it cannot."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = await _spawn(theirs)
            except OSError as error:
                ours.close()
                raise Refused(f"no process can be started for the model: {error}") from error
        reader, writer = await asyncio.open_connection(sock=ours)
        child = cls(process, reader=reader, writer=writer)
        try:
            await child._load(load)
        except BaseException:
            await child.kill()
            raise
        return child

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def ask(self, ask: Callable[[int], wire.Ask], show: Show) -> Pending:
        """Hand over a request, made with the number that it gets here.

        Raises: UnicodeEncodeError where its text cannot be written as UTF-8.
        """
        self._number += 1
        framed = wire.frame(ask(self._number))
        pending = Pending(
            number=self._number, show=show, ended=asyncio.get_running_loop().create_future()
        )
        if self.death:
            pending.ended.set_result(None)
            return pending
        self._pending[pending.number] = pending
        self._writer.write(framed)
        return pending

    def drop(self, pending: Pending) -> None:
        """Let the child stop working on a request; one that has ended is no error."""
        if self._pending.pop(pending.number, None) is not None:
            self._writer.write(wire.frame(wire.Drop(number=pending.number)))

    async def kill(self) -> None:
        """End the child, and wait until all of it is gone. It has nothing that must be kept."""
        kill_now(self._process)
        if self._listening is not None:
            await self._listening
        else:
            await self._bury()

    async def _load(self, load: wire.Load) -> None:
        self._writer.write(wire.frame(load))
        try:
            async with asyncio.timeout(LOAD_S_MAX):
                answer = await self._receive()
        except (asyncio.IncompleteReadError, OSError):
            await self._bury()
            raise Refused(
                f"{load.path} ends the process that loads it: {self.death} {AGAIN}"
            ) from None
        except TimeoutError:
            raise Refused(f"{load.path} was not loaded within {LOAD_S_MAX:g} s") from None
        if isinstance(answer, wire.CannotLoad):
            raise Refused(f"{load.path} cannot be used: {answer.text}. {AGAIN}")
        assert isinstance(answer, wire.Loaded)
        self.template = answer.template
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        """Bring messages to their requests until the child is gone."""
        try:
            while True:
                self._deliver(await self._receive())
        except (asyncio.IncompleteReadError, OSError, ValueError, msgspec.DecodeError):
            pass  # the end of the stream, or of its sense
        finally:
            await self._bury()

    def _deliver(self, message: wire.ToParent) -> None:
        self.heard = time.monotonic()
        match message:
            case wire.Said(number=number, text=text):
                pending = self._pending.get(number)
                if pending is not None:
                    pending.text += text
                    self._show(pending)
            case wire.Ended(number=number) | wire.Failed(number=number):
                pending = self._pending.pop(number, None)
                if pending is not None and not pending.ended.done():
                    pending.ended.set_result(message)
            case _:
                raise ValueError("a message that is none of a loaded child's")

    def _show(self, pending: Pending) -> None:
        try:
            pending.show(pending.text)
        except Exception as error:  # its own request fails of it, and no other
            self.drop(pending)
            pending.ended.set_exception(error)

    async def _receive(self) -> wire.ToParent:
        head = await self._reader.readexactly(wire.LENGTH_BYTES)
        body = await self._reader.readexactly(wire.body_bytes(head))
        message: wire.ToParent = wire.to_parent.decode(body)
        return message

    async def _bury(self) -> None:
        """Make sure that the process is gone, and end what it had in hand."""
        self._writer.close()  # one that is still alive ends when it reads this
        try:
            await asyncio.wait_for(self._process.wait(), END_S_MAX)  # usually it is dead already
        except TimeoutError:
            kill_now(self._process)
        code = await self._process.wait()
        self.death = f"{_cause(code)} {await self._complaint}".strip()
        pending, self._pending = list(self._pending.values()), {}
        for each in pending:
            if not each.ended.done():
                each.ended.set_result(None)


def kill_now(process: Process) -> None:
    """Kill a process, whatever it is doing; one that has ended is no error."""
    # Not `process.kill`: that looks first whether the process has ended, and so may take its exit
    # code from asyncio, whose thread then logs an unknown child and makes a code up.
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)


async def _spawn(wire_end: socket.socket) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",  # a folder `models` where somebody happens to stand is not ours
        "-m",
        "models.llama_child",
        str(wire_end.fileno()),
        pass_fds=[wire_end.fileno()],
        env=_environment(),
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=PIPE,
    )


def _environment() -> dict[str, str]:
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        # At a failed assertion llama.cpp would start a debugger, and hang there.
        "GGML_NO_BACKTRACE": "1",
    }


def _cause(code: int) -> str:
    if code >= 0:
        return f"it ended with code {code}."
    try:
        return f"it was ended by {signal.Signals(-code).name}."
    except ValueError:
        return f"it was ended by signal {-code}."


async def _last_complaint(process: Process) -> str:
    """Read what the child prints, so that it never waits for a reader; return an assertion's text.

    Only that: a traceback might hold what somebody wrote.
    """
    assert process.stderr is not None
    complaint = ""
    while chunk := await process.stderr.read(4096):
        for line in chunk.decode("utf-8", "replace").splitlines():
            if "GGML_ASSERT" in line or "ggml_abort" in line:
                # Where llama.cpp was compiled says nothing to anybody here.
                complaint = re.sub(r"^\S*/", "", line.strip())[:COMPLAINT_CHARS_MAX]
    return complaint
