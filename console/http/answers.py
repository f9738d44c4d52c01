"""JSON in and out of the operators' API: bodies decoded at the edge, errors that name the fix.

Every error of the app, whoever raised it, is an `ErrorFrame` of the web chat's protocol: one shape
for pages, scripts and the command line.
"""

import re
from typing import TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from adapters.channels.webchat_http import refuse, reply
from adapters.channels.webchat_wire import NO_UTF8, ErrorCode, ErrorFrame, fault
from engine.errors import Refused, Unavailable

Body = TypeVar("Body", bound=msgspec.Struct)

_TEXTS = {
    404: "there is nothing at this address: the chat is at /, the operators' page at /operator",
    405: "this address does not take that method",
}


class BadBody(Exception):
    """A body that does not fit; carries the answer."""

    def __init__(self, error: ErrorFrame) -> None:
        super().__init__(error.text)
        self.error = error


async def read(request: Request, kind: type[Body]) -> Body:
    """The request's JSON body as a `kind`. Raises BadBody, which the app answers with 400."""
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except msgspec.DecodeError as error:
        raise BadBody(fault("bad_frame", _explain(error, kind))) from None
    except UnicodeDecodeError:
        raise BadBody(fault("bad_frame", NO_UTF8)) from None


def answer(body: msgspec.Struct) -> Response:
    """A JSON answer with status 200 that nobody keeps."""
    return reply(body)


def answer_errors(app: Starlette) -> None:
    """Make every error of the app an ErrorFrame with its status."""

    async def bad_body(_: Request, error: Exception) -> Response:
        assert isinstance(error, BadBody)
        return refuse(error.error)

    async def refused(_: Request, error: Exception) -> Response:
        return refuse(fault("refused", str(error)))

    async def unavailable(_: Request, error: Exception) -> Response:
        assert isinstance(error, Unavailable)
        wait_ms = error.retry_after_ms
        return refuse(fault("unavailable", str(error), retry_after_ms=wait_ms))

    async def http(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        text = _TEXTS.get(error.status_code, str(error.detail))
        code: ErrorCode = "too_long" if error.status_code == 413 else "refused"
        return reply(fault(code, text), status=error.status_code)

    async def bug(_: Request, error: Exception) -> Response:
        # The server logs it with its traceback: Starlette raises it again after this answer.
        return refuse(fault("internal", "the server failed and has logged why: try again later"))

    app.add_exception_handler(BadBody, bad_body)
    app.add_exception_handler(Refused, refused)
    app.add_exception_handler(Unavailable, unavailable)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, bug)


def _explain(error: msgspec.DecodeError, kind: type[msgspec.Struct]) -> str:
    """Which field is wrong, and what the body should look like."""
    what, _, path = str(error).partition(" - at ")
    missing = re.search(r"required field `(\w+)`", what)
    field = missing[1] if missing else path.strip("`$.")
    expected = ", ".join(f"`{name}`" for name in kind.__struct_fields__)
    named = f"field `{field}`: " if field else ""
    return f"{named}{what}. The fix: a JSON object with {expected}"
