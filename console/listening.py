"""What every process that serves has in common: its socket, its address, a calm collector."""

import gc
import socket

from engine.errors import Refused
from streams.settings import Settings

BACKLOG = 1_024
"""Connections that wait to be taken: a page reconnects by itself after a restart, all at once."""


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
            "take another, such as AI_ASSISTANT_SERVER__BIND=127.0.0.1:8081 make run "
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
