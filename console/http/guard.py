"""What stands before every route: who may come in, how much they may bring, what goes out with it.

Plain ASGI, so that it holds for HTTP and WebSocket alike: the Origin of a browser is checked, a
body has a limit, answers carry security headers, and beyond loopback nothing but the chat and the
probes is served to those without the operator's token.

What it never does: look into bodies, or know a route's meaning.
"""

import hmac
import ipaddress
import re
import time
from collections import deque
from hashlib import blake2b

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adapters.channels.webchat_http import refuse, reply
from adapters.channels.webchat_wire import fault

BODY_BYTES_MAX = 256 * 1024
"""The longest message, escaped as JSON may escape it, and some."""

TOO_LONG = f"the body is over {BODY_BYTES_MAX} bytes: send less, or split it"

SIGNED_IN_S = 12 * 3_600
"""An operator's working day; then the token is asked for again."""

GUESSES_MAX = 10
"""Wrong tokens a minute; then even the right one has to wait."""

COOKIE = "operator"

OPERATOR_PATHS = ("/api/operator", "/api/state")
PRIVATE_PATHS = (*OPERATOR_PATHS, "/metrics", "/operator")
"""Beyond loopback these need the token; `OPERATOR_PATHS` need it everywhere."""

LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")

OPEN_PATHS = ("/operator/login",)

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)

HEADERS = {
    "cache-control": "no-cache",  # ask again, or an upgrade is not seen; ETags keep it cheap
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class OperatorToken:
    """The secret that makes a caller an operator; without one (empty), nobody is."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self._guesses: deque[float] = deque(maxlen=GUESSES_MAX)

    @property
    def exists(self) -> bool:
        """False where no token was configured."""
        return bool(self._token)

    def guess(self, token: str) -> bool:
        """True for the right token, unless there were too many wrong ones just now."""
        now = time.monotonic()
        if len(self._guesses) == GUESSES_MAX and now - self._guesses[0] < 60:
            return False
        if self._token and hmac.compare_digest(token.encode(), self._token):
            return True
        self._guesses.append(now)
        return False

    def cookie(self) -> str:
        """What a browser keeps in place of the token; worthless once the token changes."""
        until = str(int(time.time()) + SIGNED_IN_S)
        return f"{until}.{self._sign(until)}"

    def carried(self, connection: HTTPConnection) -> bool:
        """True where the request carries the token, or the cookie of somebody who gave it."""
        if not self._token:
            return False
        scheme, _, given = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return hmac.compare_digest(given.strip().encode(), self._token)
        until, _, signature = connection.cookies.get(COOKIE, "").partition(".")
        if not until.isdecimal() or not until.isascii() or int(until) < time.time():
            return False
        return hmac.compare_digest(signature.encode(), self._sign(until).encode())

    def _sign(self, until: str) -> str:
        key = blake2b(self._token, digest_size=32).digest()
        return blake2b(until.encode(), key=key, digest_size=16).hexdigest()


def from_loopback(connection: HTTPConnection) -> bool:
    """True where the peer is this machine itself, under a name of its own, and no proxy's."""
    forwarded = {"x-forwarded-for", "forwarded", "x-real-ip"} & set(connection.headers)
    if connection.client is None or forwarded:
        return False
    # A page may make its own name lead here (DNS rebinding); then the Host is that name.
    if re.sub(r":\d{1,5}\Z", "", connection.headers.get("host", "")) not in LOCAL_NAMES:
        return False
    try:
        return ipaddress.ip_address(connection.client.host).is_loopback
    except ValueError:
        return False


def own_origin(connection: HTTPConnection, allowed: tuple[str, ...]) -> bool:
    """True where no browser page, or one of ours, is behind the request."""
    origin = connection.headers.get("origin")
    if origin is None or origin in allowed:
        return True
    _, found, authority = origin.partition("://")
    return bool(found) and authority == connection.headers.get("host")


class Guard:
    """The ASGI application in front of the app. `allowed`: further origins, scheme included."""

    def __init__(self, app: ASGIApp, *, token: OperatorToken, allowed: tuple[str, ...]) -> None:
        self._app = app
        self._token = token
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, or turn it away."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        refusal = self._refusal(connection)
        if scope["type"] == "websocket":
            if refusal is None:
                await self._app(scope, receive, send)
            else:
                # Before the handshake is accepted this is answered with 403.
                await send({"type": "websocket.close", "code": 1008, "reason": "forbidden"})
            return
        outgoing = _with_headers(send)
        if refusal is not None:
            status, text = refusal
            await reply(fault("refused", text), status=status)(scope, receive, outgoing)
            return
        declared = connection.headers.get("content-length", "0")
        if declared.isdecimal() and int(declared) > BODY_BYTES_MAX:
            await refuse(fault("too_long", TOO_LONG))(scope, receive, outgoing)
            return
        await self._app(scope, _Bounded(receive).receive, outgoing)

    def _refusal(self, connection: HTTPConnection) -> tuple[int, str] | None:
        # Not `connection.url`: that is built from the Host header, which a caller may forge.
        path: str = connection.scope["path"]
        reads = connection.scope.get("method") in ("GET", "HEAD")
        if not reads and not own_origin(connection, self._allowed):
            return 403, "a page of another origin asked: open the chat under its own address"
        private = path.startswith(PRIVATE_PATHS) and not path.startswith(OPEN_PATHS)
        if not private or self._token.carried(connection):
            return None
        if not from_loopback(connection):
            if path == "/operator" and self._token.exists:
                return None  # the log-in form, which shows nothing
            return 403, "beyond this machine only with the token: Authorization: Bearer <token>"
        if path.startswith(OPERATOR_PATHS):
            return 401, "the operator's token is needed: Authorization: Bearer <token>"
        return None


class _Bounded:
    """Counts what the app reads of a body."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._size = 0

    async def receive(self) -> Message:
        message = await self._receive()
        self._size += len(message.get("body", b""))
        if self._size > BODY_BYTES_MAX:
            raise HTTPException(413, TOO_LONG)
        return message


def _with_headers(send: Send) -> Send:
    async def outgoing(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return outgoing
