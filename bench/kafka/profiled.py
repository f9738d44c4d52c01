"""`python -m bench.kafka.profiled FILE worker --role …`: `ai-assistant` under cProfile.

A worker ends by `os._exit`, at which nothing would be written: the profile is written just before.
"""

import cProfile
import os
import sys
import time
from typing import NoReturn

from console.main import main


def run(path: str) -> None:
    """Run the rest of the command line."""
    profile = cProfile.Profile(time.thread_time)  # not what others took meanwhile
    leave = os._exit

    def ended(code: int) -> NoReturn:
        profile.disable()
        profile.dump_stats(path)
        leave(code)

    os._exit = ended
    profile.enable()
    main()


if __name__ == "__main__":
    file = sys.argv.pop(1)
    run(file)
