"""The FastAPI app: pages, web chat, probes, metrics, and the operators' API behind a token.

In front of the host; `Guard` stands in front of every route. Pages are static files beside this
package, without a build step, a framework or anything from elsewhere.

What it never does: keep state of its own, or show a session to anybody but its person and an
operator.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from fastapi import FastAPI, Request
from prometheus_client import CollectorRegistry
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

from adapters.channels.webchat import WebChat
from adapters.channels.webchat_follow import line_frame
from adapters.channels.webchat_http import Page, refuse, reply
from adapters.channels.webchat_wire import ErrorFrame, Ident, fault, read_hello
from console.http.answers import answer, answer_errors, read
from console.http.guard import COOKIE, SIGNED_IN_S, Guard, OperatorToken
from console.http.host import Host
from console.http.probes import Probe, probe_routes
from streams.host_state import HandedOver, HostState

PAGES = Path(__file__).parent.parent / "pages"

PAGE_LINES = 200
"""Lines in one answer to an operator."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the app is made of. `token`: the operators'; empty means that there are none.

    `origins`: other origins whose pages may connect, such as `https://intranet.example.com`.
    `state`, `alive`: of a process that does more than the host; else the host's, and always.
    """

    host: Host
    chat: WebChat
    token: str
    registry: CollectorRegistry
    origins: tuple[str, ...] = ()
    state: Callable[[], HostState] | None = None
    alive: Callable[[], str] = lambda: ""


class SignIn(msgspec.Struct, frozen=True, kw_only=True):
    """The body of the operators' log-in form."""

    token: str


OperatorName = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Say(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator says; `id` is new for each, and the same when it is sent again."""

    id: Ident
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=16 * 1024)]
    operator: OperatorName = "operator"


class HandBack(msgspec.Struct, frozen=True, kw_only=True):
    """An operator gives the session back."""

    id: Ident
    operator: OperatorName = "operator"


class Redrive(msgspec.Struct, frozen=True, kw_only=True):
    """An operator has a dead letter's message taken again."""

    id: Ident
    operator: OperatorName = "operator"


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """The request of this id is durable."""

    id: str


class Sessions(msgspec.Struct, frozen=True, kw_only=True):
    """The sessions in people's hands."""

    sessions: Sequence[HandedOver]


def make_app(parts: Parts) -> FastAPI:
    """The app over these parts; run it with `console.http.serve`."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    token = OperatorToken(parts.token)
    app.add_middleware(Guard, token=token, allowed=parts.origins)
    answer_errors(app)
    app.router.routes.extend(parts.chat.routes())
    state = parts.state or parts.host.state
    app.router.routes.extend(probe_routes(state, alive=parts.alive, registry=parts.registry))
    add_operators(app, parts.host)
    add_pages(app, parts.chat, token=token)
    return app


def add_operators(app: FastAPI, host: Host) -> None:
    """The operators' API; the guard has seen their token."""

    @app.get("/api/operator/sessions")
    async def sessions() -> Response:
        return answer(Sessions(sessions=await host.operator_sessions()))

    @app.get("/api/operator/sessions/{session_id:path}/lines")
    async def lines(session_id: str, request: Request) -> Response:
        asked = read_hello("operator", request.query_params.get("after", "0"))
        if isinstance(asked, ErrorFrame):
            return refuse(asked)
        found = await host.lines(session_id, after=asked.after, limit=PAGE_LINES)
        page = [line_frame(line, session_id) for line in found]
        return answer(Page(conversation=session_id, lines=page, more=len(page) == PAGE_LINES))

    @app.post("/api/operator/sessions/{session_id:path}/say")
    async def say(session_id: str, request: Request) -> Response:
        said = await read(request, Say)
        await host.operator_say(
            session_id, request_id=said.id, text=said.text, operator=said.operator
        )
        return answer(Done(id=said.id))

    @app.post("/api/operator/sessions/{session_id:path}/hand-back")
    async def hand_back(session_id: str, request: Request) -> Response:
        asked = await read(request, HandBack)
        await host.hand_back(session_id, request_id=asked.id, operator=asked.operator)
        return answer(Done(id=asked.id))

    @app.post("/api/operator/dead-letters/{number}/redrive")
    async def redrive(number: str, request: Request) -> Response:
        asked = await read(request, Redrive)
        await host.redrive(number, operator=asked.operator)
        return answer(Done(id=asked.id))


def add_pages(app: FastAPI, chat: WebChat, *, token: OperatorToken) -> None:
    """The chat at `/`, the operators' page with its log-in, and their static files."""

    @app.get("/")
    async def chat_page(request: Request) -> Response:
        response = FileResponse(PAGES / "chat.html")
        chat.greet(request, response)
        # The cookie is one browser's: no cache on the way may give it to another.
        response.headers["cache-control"] = "private, no-cache"
        return response

    @app.get("/operator")
    async def operator_page() -> Response:
        return FileResponse(PAGES / "operator.html")

    @app.post("/operator/login")
    async def sign_in(request: Request) -> Response:
        given = await read(request, SignIn)
        if not token.guess(given.token):
            text = "not the token, or too many wrong ones in this minute: look it up, try again"
            return reply(fault("refused", text), status=403)
        response = answer(Probe(status="ok"))
        secure = request.scope["scheme"] == "https"
        response.set_cookie(
            COOKIE,
            token.cookie(),
            max_age=SIGNED_IN_S,
            httponly=True,
            samesite="strict",
            secure=secure,
        )
        return response

    @app.post("/operator/logout")
    async def sign_out() -> Response:
        response = answer(Probe(status="ok"))
        response.delete_cookie(COOKIE)
        return response

    app.mount("/static", StaticFiles(directory=PAGES))
