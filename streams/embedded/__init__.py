"""The embedded host: all hops in one process over one log file, nothing else to install.

`pipeline` wires the hops and decides one batch at a time; `host` is the event loop around it, the
only place that waits, calls and is called; `guard` tells which event killed a process; `parent`
restarts the process that `host` runs in; `clock` is log time.
"""

from streams.embedded.data_dir import LOG_FILE

__all__ = ["LOG_FILE"]
