"""Where and of what the processes of `testkit.embedded` die."""

from collections.abc import Callable
from random import Random

from engine.crash_points import CrashPoint


class Died(BaseException):
    """The process is gone. No Exception: nothing inside it may catch this and go on."""


class Deaths:
    """Those that wait for their instant. `dies`: told where, before the process is gone.

    `standing`: the event that is being stepped, as the host's guard has it: the next process finds
    it. `from_outside`: the events at which a process may die in the middle of a step.
    """

    def __init__(self, rng: Random, *, dies: Callable[[CrashPoint], None]) -> None:
        self.armed: list[CrashPoint] = []
        self.standing = ""
        self.from_outside: set[str] = set()
        self._rng = rng
        self._dies = dies
        self._deadly = ""  # at which the last one died, while more are to die of a step

    def clear(self) -> None:
        """Nobody dies any more."""
        self.armed.clear()
        self._deadly = ""

    def at(self, point: CrashPoint, things: int) -> None:
        """Die here, if that is wanted. Raises Died."""
        if things and point in self.armed:
            self._die(point)

    def stepping(self, event_id: str) -> None:
        """Half of those who are to die of a step die in the middle of it. Raises Died.

        Who steps the same event next dies of it, too, if more are to die: it is the event's doing.
        """
        self.standing = event_id
        point = CrashPoint.STEP_COMMIT
        if event_id not in self.from_outside or point not in self.armed:
            return
        if self._deadly == event_id or (not self._deadly and self._rng.random() < 0.5):
            self._deadly = event_id
            self._die(point)

    def _die(self, point: CrashPoint) -> None:
        self.armed.remove(point)
        if point not in self.armed:
            self._deadly = ""
        self._dies(point)
        raise Died(point.value)
