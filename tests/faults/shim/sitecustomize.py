"""What the lab changes in a worker process, before anything else runs there: found by PYTHONPATH.

`LAB_CLOCK` names a file that holds by how many seconds the machine's wall clock is wrong, read at
each look at it. `LAB_POISON` is a text: the step of a message with it kills the process, as an
error in a C library would. Nothing else is touched; without the variables nothing is.
"""

import os
import time


def _wrong_clock(path: str) -> None:
    right_ns = time.time_ns

    def time_ns() -> int:
        try:
            with open(path) as file:
                return right_ns() + int(float(file.read() or 0) * 1e9)
        except (OSError, ValueError):
            return right_ns()

    time.time_ns = time_ns
    time.time = lambda: time_ns() / 1e9


def _deadly_step(text: str) -> None:
    from engine.turn import Turn

    put = Turn.set

    def deadly(self: Turn, **fields: object) -> None:
        if text in self.text:
            os._exit(9)
        put(self, **fields)

    Turn.set = deadly  # type: ignore[method-assign]


if path := os.environ.get("LAB_CLOCK"):
    _wrong_clock(path)
if text := os.environ.get("LAB_POISON"):
    _deadly_step(text)
