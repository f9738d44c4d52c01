"""The HTTP app of an ingress process on a cluster: the same pages and routes as the embedded ones.

Served from the start, so that probes are answered while the gateway catches up.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry

from console.http.app import Parts, make_app
from console.http.serve import Server
from console.http.serve import config as server_config
from console.serving import bound_socket, url_of
from streams.cluster.assemble_gateway import GatewayRole
from streams.cluster.links import shared_token
from streams.settings import Settings


@asynccontextmanager
async def served(
    settings: Settings, role: GatewayRole, *, registry: CollectorRegistry
) -> AsyncIterator[str]:
    """The app of this role as long as the block runs; where it is.

    The block starts the gateway, and stops it; open sockets are closed by that.

    Raises: Refused where no token is set for the operators, or the address is in use.
    """
    app = make_app(
        Parts(
            host=role.gateway,
            chat=role.webchat,
            token=shared_token(settings).reveal(),
            registry=registry,
            origins=settings.webchat.origins,
        )
    )
    bind = settings.server
    bound = bound_socket(settings)
    drain_s = round(bind.drain_s)
    server = Server(server_config(app, host=bind.host, port=bind.port, drain_s=drain_s))
    serving = asyncio.create_task(server.serve(sockets=[bound]), name="http")
    try:
        yield url_of(bound)
    finally:
        server.should_exit = True
        await serving
        bound.close()
