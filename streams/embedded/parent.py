"""The parent: restarts the engine process when it dies, and kills it when a step does not end.

`ai-assistant run` is this process; the engine is its child, with the same arguments. It looks at
the child's exit and at the guard's file, at nothing else: what is wrong with an event is for the
next engine to decide, which finds the event's id standing in that file.
"""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from streams.embedded.guard import GuardReader

STALL_S = 10.0
"""A step takes a millisecond. One that takes this long is a callback that does not end."""
LOOK_EVERY_S = 0.2
PAUSE_S = (0.0, 0.0, 0.0, 0.5, 1.0, 2.0, 5.0)
"""Before the n-th restart in a row; a child that lived for a minute begins the row anew."""
GIVE_UP = 30
"""Deaths in a row after which a restart helps nobody: whoever runs the parent must look."""
CALM_S = 60.0
STOP_MARGIN_S = 5.0
"""Beyond the time that the engine itself may take to stop."""
FINAL_CODES = frozenset({0, 1, 2, 3, 4, 6})
"""Exit codes with which the engine says that a restart would end the same way.

With 4, too: an engine that lacks something outside tries again by itself, and then gives up.
"""


@dataclass
class Parent:
    """One supervised engine. `command` starts it; `say` takes a line for a person."""

    command: Sequence[str]
    guard: Path
    drain_s: float
    say: Callable[[str], None]
    stall_s: float = STALL_S
    _stopping: threading.Event = field(default_factory=threading.Event)
    _child: "subprocess.Popen[bytes] | None" = None

    def run(self) -> int:
        """Keep an engine running until asked to stop, or until it says that it cannot; its code."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._asked)
        deaths = 0
        while True:
            began_s = time.monotonic()
            code = self._watch(self._start())
            if self._stopping.is_set() or code in FINAL_CODES:
                return max(code, 0)
            deaths = 1 if time.monotonic() - began_s > CALM_S else deaths + 1
            if deaths >= GIVE_UP:
                self.say(f"the engine died {deaths} times in a row: giving up")
                return 70
            pause_s = PAUSE_S[min(deaths, len(PAUSE_S)) - 1]
            self.say(f"the engine {_ended(code)}; restarting it" + _after(pause_s))
            if self._stopping.wait(pause_s):
                return 0

    def _asked(self, number: int, _: object) -> None:
        """To stop; by Ctrl-C a second time, at once. A supervisor's SIGTERM may well come twice."""
        if self._stopping.is_set() and number == signal.SIGINT and self._child is not None:
            self._child.kill()
        self._stopping.set()

    def _start(self) -> "subprocess.Popen[bytes]":
        # The pipe ends with this process, however it ends: the engine reads that as "stop".
        self._child = subprocess.Popen(self.command, stdin=subprocess.PIPE)
        return self._child

    def _watch(self, child: "subprocess.Popen[bytes]") -> int:
        reader = GuardReader(self.guard)
        # What stands there already is where the last engine died: this one is still starting.
        left = standing = reader.read()
        since_s = time.monotonic()
        try:
            while child.poll() is None:
                if self._stopping.wait(LOOK_EVERY_S):
                    return self._stop(child)
                now = reader.read()
                if now != standing or now == left or not now[1]:
                    standing, since_s = now, time.monotonic()
                elif time.monotonic() - since_s > self.stall_s:
                    self.say(f"the step of event {now[1]} does not end: killing the engine")
                    child.kill()
                    child.wait()
        finally:
            reader.close()
            assert child.stdin is not None
            child.stdin.close()
        return child.returncode

    def _stop(self, child: "subprocess.Popen[bytes]") -> int:
        child.send_signal(signal.SIGTERM)
        try:
            return child.wait(timeout=self.drain_s + STOP_MARGIN_S)
        except subprocess.TimeoutExpired:
            self.say("the engine did not stop in time: killing it; nothing that was taken is lost")
            child.kill()
            return child.wait()


def _ended(code: int) -> str:
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:  # real-time signals have no names
            name = f"signal {-code}"
        return f"was killed by {name}"
    return f"ended with code {code}"


def _after(pause_s: float) -> str:
    return f" in {pause_s:g} s" if pause_s else ""


def parent_is_gone(handle: int) -> bool:
    """For the child: block until the parent's pipe ends; True then."""
    while os.read(handle, 64):
        pass
    return True
