"""A model runner that tells the process's log when the model fails.

Between the runners hop and any `ModelRunner`, for answers and for what skills ask: a person who
gets nothing but apologies reads on the terminal why. What it never does: change an outcome, or tell
what was said; a failure's detail names server, status and file.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from engine.effects import ModelRequest
from engine.events import ModelFailed, Outcome
from engine.ports import ModelRunner
from streams.machine_clock import wall_ms

log = logging.getLogger(__name__)

AGAIN_AFTER_S = 60.0
"""The same failure is told once in this time, however many messages it costs."""

TOLD_CHARS_MAX = 500


class ToldModel:
    """`runner`, whose failures are told: when they change, and once a minute while they last."""

    def __init__(self, runner: ModelRunner) -> None:
        self._runner = runner
        self._told = ""
        self._told_s = 0.0

    async def start(self) -> None:
        """Make the runner ready."""
        await self._runner.start()

    async def close(self) -> None:
        """Let go of what the runner holds."""
        await self._runner.close()

    async def run(self, request: ModelRequest, show: Callable[[str], None]) -> Outcome:
        """Answer; see `ModelRunner`."""
        try:
            outcome = await self._runner.run(request, show)
        except asyncio.CancelledError:
            # Its time was up, or nobody wants it any more: only the first is a failure.
            if request.expires_ms and wall_ms() >= request.expires_ms:
                self._tell("deadline: it gave no answer in time")
            raise
        if isinstance(outcome, ModelFailed):
            self._tell(f"{outcome.reason}: {outcome.detail}" if outcome.detail else outcome.reason)
        return outcome

    def _tell(self, failure: str) -> None:
        now_s = time.monotonic()
        if failure != self._told or now_s - self._told_s >= AGAIN_AFTER_S:
            self._told, self._told_s = failure, now_s
            log.warning("the model failed, %s", _printable(failure))


def _printable(failure: str) -> str:
    """On one line, with nothing that a terminal would obey: servers word errors as they like."""
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in failure)
    return line if len(line) <= TOLD_CHARS_MAX else line[: TOLD_CHARS_MAX - 1] + "…"
