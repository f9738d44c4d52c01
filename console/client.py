"""What a running engine is asked over HTTP: by operators, and to take a dead letter again.

Used by the commands `operator`, `dead-letters redrive` and `chat`. On the same machine no
configuration is needed: address and token are the ones that the settings and the data directory
have. What it never does: show the token, or retry by itself.
"""

import secrets
from types import TracebackType
from typing import TypeVar
from urllib.parse import quote, urlsplit

import httpx
import msgspec

from engine.errors import Refused, Unavailable
from streams.host_state import HandedOver, HostState
from streams.settings import Secret, Settings, is_loopback, operator_token

T = TypeVar("T")

WITHIN_S = 10.0
"""An operator's request is one append; a machine that needs longer is in trouble."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every error."""

    code: str
    text: str
    retry_after_ms: int | None = None


class _Sessions(msgspec.Struct, frozen=True, kw_only=True):
    sessions: list[HandedOver]


class Client:
    """A running engine at `url` (no slash at its end), asked with the operators' token."""

    def __init__(self, url: str, token: Secret | None = None) -> None:
        self.url = url
        headers = {"authorization": f"Bearer {token.reveal()}"} if token else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=WITHIN_S)

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._http.close()

    def state(self) -> HostState:
        """How the engine is. Raises Unavailable where none answers."""
        return self._ask("GET", "/api/state", HostState)

    def handed_over(self) -> list[HandedOver]:
        """The sessions in people's hands."""
        return self._ask("GET", "/api/operator/sessions", _Sessions).sessions

    def say(self, session_id: str, text: str, *, operator: str) -> None:
        """Say something to the person. Raises Refused (unknown, not handed over), Unavailable."""
        body = {"id": new_id(), "text": text, "operator": operator}
        self._ask("POST", f"/api/operator/sessions/{quote(session_id)}/say", dict, body)

    def hand_back(self, session_id: str, *, operator: str) -> None:
        """Give the session back to the bot. Raises Refused and Unavailable."""
        body = {"id": new_id(), "operator": operator}
        self._ask("POST", f"/api/operator/sessions/{quote(session_id)}/hand-back", dict, body)

    def redrive(self, number: str, *, operator: str) -> None:
        """Take a dead letter's message again. Raises Refused and Unavailable."""
        body = {"id": new_id(), "operator": operator}
        self._ask("POST", f"/api/operator/dead-letters/{quote(number)}/redrive", dict, body)

    def _ask(self, method: str, path: str, kind: type[T], body: object = None) -> T:
        try:
            answer = self._http.request(method, path, json=body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unavailable(
                f"no engine answers at {self.url} ({type(error).__name__}): start one with "
                "`ai-assistant run`, or say with --url where it is (on a cluster: any worker of "
                "the role ingress)"
            ) from None
        if answer.status_code != 200:
            raise _error(answer)
        try:
            return msgspec.json.decode(answer.content, type=kind)
        except msgspec.DecodeError as error:
            raise Refused(f"{self.url} is not an assistant of this version: {error}") from None


def operator_client(settings: Settings, url: str | None) -> Client:
    """The client of an operator on this machine, or of the engine at `url`.

    Raises: Refused where `url` is no address, or the token for another machine is not set.
    """
    if url is None:
        return Client(address(settings), operator_token(settings))
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Refused(f"--url: found {url!r}; allowed: an address such as http://127.0.0.1:8080")
    if is_loopback(parts.hostname):
        return Client(url.rstrip("/"), operator_token(settings))
    if settings.operators.token is None:
        # The token of this machine's own data directory is nobody else's business.
        raise Refused("for an engine elsewhere, set its token: AI_ASSISTANT_OPERATORS__TOKEN")
    return Client(url.rstrip("/"), settings.operators.token)


def address(settings: Settings) -> str:
    """Where a running engine with these settings is reached from this machine."""
    server = settings.server
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(server.host, server.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{server.port}"


def new_id() -> str:
    """A request's id: new for each request, the same when it is sent again."""
    return secrets.token_hex(16)


def _error(answer: httpx.Response) -> Refused | Unavailable:
    try:
        fault = msgspec.json.decode(answer.content, type=Fault)
    except msgspec.DecodeError:
        return Refused(f"{answer.url} answers {answer.status_code}: is it an assistant?")
    if answer.status_code == 503:
        return Unavailable(fault.text, retry_after_ms=fault.retry_after_ms or 1_000)
    return Refused(fault.text)
