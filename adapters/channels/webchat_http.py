"""The HTTP twins of the WebSocket protocol, for clients that cannot hold a socket open.

The same checks, the same frames and the same errors as over the socket: a body is an `ErrorFrame`
wherever the status is not 200.

What it never does: acknowledge (200) before the gateway returned.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from adapters.channels.webchat_follow import line_frame
from adapters.channels.webchat_wire import (
    Ack,
    ErrorFrame,
    LineFrame,
    fault,
    language,
    read_hello,
    read_message,
)
from engine.errors import Refused, Unavailable, trace_of
from engine.ports import Incoming

if TYPE_CHECKING:
    from adapters.channels.webchat import WebChat

PAGE_LINES = 200
"""Lines in one answer; a client asks again for more."""

NO_PERSON = fault("no_person", "no cookie of ours: POST /api/person first, and keep what it sets")

_STATUS = {"too_long": 413, "no_person": 401, "unavailable": 503, "internal": 500, "refused": 422}

log = logging.getLogger(__name__)


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Lines after a number; `more`: ask again after the last of them."""

    conversation: str
    lines: list[LineFrame]
    more: bool


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """`new`: this browser had no cookie of ours."""

    new: bool


def reply(body: msgspec.Struct, *, status: int = 200) -> Response:
    """A JSON response that nobody keeps."""
    headers = {"cache-control": "no-store"}
    return Response(
        msgspec.json.encode(body), status, media_type="application/json", headers=headers
    )


def refuse(error: ErrorFrame) -> Response:
    """An error with the status that its code stands for."""
    response = reply(error, status=_STATUS.get(error.code, 400))
    if error.retry_after_ms is not None:
        response.headers["retry-after"] = str(max(1, round(error.retry_after_ms / 1_000)))
    return response


Handler = Callable[[Request], Awaitable[Response]]


def _guarded(handler: Handler) -> Handler:
    """Turn the engine's errors, and bugs, into answers that say what to do."""

    async def guarded(request: Request) -> Response:
        try:
            return await handler(request)
        except Refused as error:
            return refuse(fault("refused", str(error)))
        except Unavailable as error:
            wait_ms = error.retry_after_ms
            return refuse(fault("unavailable", str(error), retry_after_ms=wait_ms))
        except (HTTPException, ClientDisconnect):
            raise
        except Exception as error:
            log.error("%s %s failed: %s", request.method, request.scope["path"], trace_of(error))
            return refuse(fault("internal", "the server failed and has logged why: try later"))

    return guarded


def routes(chat: "WebChat") -> list[BaseRoute]:
    """The twins, for one account."""

    async def person(request: Request) -> Response:
        known = chat.person(request) is not None
        response = reply(Person(new=not known))
        chat.greet(request, response)
        return response

    async def lines(request: Request) -> Response:
        conversation = request.path_params["conversation"]
        read = read_hello(conversation, request.query_params.get("after", "0"))
        if isinstance(read, ErrorFrame):
            return refuse(read)
        sender = chat.person(request)
        if sender is None:
            return refuse(NO_PERSON)
        session_id = chat.gateway.session_id(chat.account, conversation=conversation, sender=sender)
        found = await chat.gateway.lines(session_id, after=read.after, limit=PAGE_LINES)
        page = [line_frame(line, conversation) for line in found]
        return reply(Page(conversation=conversation, lines=page, more=len(page) == PAGE_LINES))

    async def messages(request: Request) -> Response:
        conversation = request.path_params["conversation"]
        read = read_message(conversation, await request.body())
        if isinstance(read, ErrorFrame):
            return refuse(read)
        sender = chat.person(request)
        if sender is None:
            return refuse(NO_PERSON)
        await chat.gateway.accept(
            Incoming(
                account=chat.account,
                conversation=conversation,
                sender=sender,
                message_id=read.id,
                text=read.text,
                quoted=read.quoted,
                sent_ms=read.sent_ms,
                locale=language(request.headers.get("accept-language", "")),
            )
        )
        return reply(Ack(conversation=conversation, id=read.id))

    return [
        Route("/api/person", _guarded(person), methods=["POST"]),
        Route("/api/conversations/{conversation}/lines", _guarded(lines), methods=["GET"]),
        Route("/api/conversations/{conversation}/messages", _guarded(messages), methods=["POST"]),
    ]
