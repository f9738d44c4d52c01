"""The installed plugin's module: the flow `rogue`, which here can kill its own process."""

import os
import signal

from tests.host_tests import rogue_flow
from tests.host_tests.rogue_flow import Rogue

__all__ = ["Rogue"]


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


rogue_flow.kill = _kill
