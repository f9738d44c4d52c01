"""What every process that serves has in common: its log, its signals, its socket and server."""

import asyncio
import gc
import logging
import signal
import socket

from starlette.types import ASGIApp

from console.http.serve import Server
from console.http.serve import config as server_config
from engine.errors import Refused
from streams.settings import Settings

OURS = ("adapters", "console", "engine", "models", "statemachines", "streams")
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

BACKLOG = 1_024
"""Connections that wait to be taken: a page reconnects by itself after a restart, all at once."""


def log_to_stderr() -> None:
    """Our own packages from INFO on. Libraries tell too much there: every request, every callback
    of a flow."""
    logging.basicConfig(format=LOG_FORMAT, level=logging.WARNING)
    for name in OURS:
        logging.getLogger(name).setLevel(logging.INFO)


def stop_on_signals() -> asyncio.Event:
    """Set by SIGTERM and Ctrl-C, from now on."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def server_of(app: ASGIApp, settings: Settings) -> Server:
    """The app's server; it stops within the time that a stop waits."""
    bind = settings.server
    return Server(server_config(app, host=bind.host, port=bind.port, drain_s=round(bind.drain_s)))


def bound_socket(settings: Settings) -> socket.socket:
    """The listening socket. Raises Refused where the address is in use or not this machine's."""
    bind = settings.server
    family = socket.AF_INET6 if ":" in bind.host else socket.AF_INET
    # With the protocol named: asyncio switches Nagle's algorithm off only where it sees TCP, and
    # with it on each answer of a quiet conversation waits 40 ms for an acknowledgement.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((bind.host, bind.port))
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        raise Refused(
            f"nothing can listen at {bind.bind}: {error.strerror or error}; "
            "take another, such as AI_ASSISTANT_SERVER__BIND=127.0.0.1:8081 before the command "
            "(the setting server.bind)"
        ) from None
    return made


def url_of(bound: socket.socket) -> str:
    """Where somebody on this machine finds what listens there."""
    host, port = bound.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def calm_collector() -> None:
    """Let the garbage collector look less often: nearly all that a turn makes has no cycles.

    By default it runs every 700 objects, over and over through all that was ever imported; that was
    a tenth of a turn. Process-wide, so only a process that is an engine does it.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
