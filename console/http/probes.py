"""Probes and metrics: the same routes for every process, and all that a worker without pages has.

Asked by whoever runs the process: is it alive, may it be sent work, what does it count. It never
says anything of a conversation. Without FastAPI, which takes a quarter of a second to import: a
worker that was killed has to be back sooner.
"""

from collections.abc import Callable

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from adapters.channels.webchat_http import reply
from console.http.answers import answer, answer_errors
from console.http.guard import Guard, OperatorToken
from streams.host_state import HostState


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a probe."""

    status: str
    reason: str = ""


def make_probes(
    state: Callable[[], HostState],
    *,
    alive: Callable[[], str],
    registry: CollectorRegistry,
    token: str,
) -> Starlette:
    """The app of a worker that nobody talks to. `token`: opens /metrics beyond this machine."""
    app = Starlette(routes=probe_routes(state, alive=alive, registry=registry))
    app.add_middleware(Guard, token=OperatorToken(token), allowed=())
    answer_errors(app)
    return app


def probe_routes(
    state: Callable[[], HostState], *, alive: Callable[[], str], registry: CollectorRegistry
) -> list[BaseRoute]:
    """`/healthz` (the process lives), `/readyz` (it can answer), `/metrics`, `/api/state`.

    `alive`: empty, or what does not move any more.
    """

    async def healthz(_: Request) -> Response:
        stuck = alive()
        if stuck:
            return reply(Probe(status="stuck", reason=stuck), status=503)
        return answer(Probe(status="ok"))

    async def readyz(_: Request) -> Response:
        found = state()
        if found.ready:
            return answer(Probe(status="ok"))
        return reply(Probe(status="not ready", reason=found.reason), status=503)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    async def api_state(_: Request) -> Response:
        return answer(state())

    return [
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", metrics),
        Route("/api/state", api_state),
    ]
