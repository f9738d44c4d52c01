"""How the app is served: uvicorn with the bounds that the web chat's protocol needs."""

from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

WS_BYTES_MAX = 4 * 1024 * 1024
"""Above what is answered with a clear error (160 KiB), so that such a frame gets that error."""

PING_EVERY_S = 20
PONG_WITHIN_S = 20
"""A client that vanished is noticed, and its memory freed, within both together."""


def config(app: ASGIApp, *, host: str, port: int, drain_s: int = 5) -> uvicorn.Config:
    """The server's configuration; `drain_s`: how long open connections may take at the end."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        log_level="warning",  # at DEBUG it writes every frame, with what people said
        access_log=False,
        server_header=False,
        ws_max_size=WS_BYTES_MAX,
        ws_ping_interval=PING_EVERY_S,
        ws_ping_timeout=PONG_WITHIN_S,
        timeout_graceful_shutdown=drain_s,
        lifespan="off",
    )


class Server(uvicorn.Server):
    """A server that leaves signals to whoever runs it.

    uvicorn's own would stop serving at once, before the host has drained, and raise the signal
    again when it has stopped.
    """

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take over no signal."""
        yield
