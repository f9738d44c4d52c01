"""Runner for servers that speak OpenAI's chat completions: OpenAI, vLLM, Ollama, llama.cpp's own.

Place in the data path: behind the `ModelRunner` port. One HTTP request for each model request;
the answer is streamed. A request is tried again only while nothing of an answer has come, and only
after an error that a second try can mend. Cancelling closes the connection, which is how such
servers are told to stop.

What it never does: write the key or anybody's text into a log or an error.
"""

import asyncio
import email.utils
import random
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_address

import httpx
import msgspec

from engine.effects import ModelRequest
from engine.errors import Refused
from engine.events import FailureReason, MadeBy, ModelFailed, ModelReplied, Outcome
from engine.limits import REPLY_TEXT_BYTES_MAX
from models import openai_wire as wire

CONNECTIONS_MAX = 20
KEPT_ALIVE_S = 300.0
BODY_BYTES_MAX = 8 << 20
"""All that one answer may send; 24 KiB of text in its smallest pieces stay well below."""
WAIT_S_MAX = 30.0
"""A server that wants a longer pause than this before a second try is not there for this person."""

EXAMPLE = "http://127.0.0.1:11434/v1"

Show = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class OpenAISettings:
    """Which server, which model, and how long to wait.

    `base_url`: up to and with `/v1`. `api_key`: sent as a bearer token, never shown.
    `temperature_permille`, `top_p_permille`: None leaves the server its own. `read_timeout_s`: the
    longest silence, so also the time to a first token. `timeout_s`: for the whole answer, all
    tries included. `tries`: 1 never tries again. `pause_s`: the first pause's upper bound; it
    doubles with each.
    """

    base_url: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    temperature_permille: int | None = None
    top_p_permille: int | None = None
    max_tokens: int = 512
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 60.0
    timeout_s: float = 120.0
    tries: int = 3
    pause_s: float = 0.5


@dataclass(kw_only=True)
class _Answer:
    """What has come of an answer so far, and who is shown it."""

    show: Show
    text: str = ""
    tokens: int = 0
    finished: str | None = None
    cut: bool = False

    @property
    def full(self) -> bool:
        """Is it longer than any reply may be? Then nobody waits for more."""
        return len(self.text) > REPLY_TEXT_BYTES_MAX


class _Failure(Exception):
    """A try that failed. `again`: a second one may help; `wait_s`: the server's own wish."""

    def __init__(
        self, reason: FailureReason, detail: str, *, again: bool = False, wait_s: float = 0.0
    ) -> None:
        super().__init__(detail)
        self.reason: FailureReason = reason
        self.detail = detail
        self.again = again
        self.wait_s = wait_s


class OpenAICompatible:
    """The `ModelRunner` for one server and model: `start` it, `run` requests, `close` it."""

    def __init__(self, settings: OpenAISettings) -> None:
        self._settings = settings
        self._client: httpx.AsyncClient | None = None
        self._calls: set[asyncio.Timeout] = set()
        self._limit_field = "max_tokens"
        self._where = ""
        self._path = ""

    async def start(self) -> None:
        """Make the connection pool; the server is not asked yet, for it may come up later.

        Raises: Refused where the address or the key can never be right.
        """
        url = _address(self._settings.base_url)
        headers = {
            "User-Agent": "ai-assistant",
            "Accept": "text/event-stream, application/json",
            "Content-Type": "application/json",
        }
        if self._settings.api_key:
            headers["Authorization"] = _bearer(self._settings.api_key)
        self._path = str(url)
        self._where = f"{url.scheme}://{url.netloc.decode('ascii')}{url.path}"
        seconds = self._settings
        self._client = httpx.AsyncClient(
            headers=headers,
            verify=tls_context() if url.scheme == "https" else True,
            # What is on this machine is never behind the proxy that the environment names.
            trust_env=not _is_local(url.host),
            timeout=httpx.Timeout(seconds.read_timeout_s, connect=seconds.connect_timeout_s),
            limits=httpx.Limits(
                max_connections=CONNECTIONS_MAX,
                max_keepalive_connections=CONNECTIONS_MAX,
                keepalive_expiry=KEPT_ALIVE_S,
            ),
        )

    async def close(self) -> None:
        """Close all connections; calls in hand, and later ones, end as `unavailable`."""
        client, self._client = self._client, None
        for call in self._calls:  # one that still waits for a connection would not notice
            call.reschedule(0)
        if client is not None:
            await client.aclose()

    async def run(self, request: ModelRequest, show: Show) -> Outcome:
        """Answer one request; see `ModelRunner`."""
        began = time.monotonic()
        answer, attempt = _Answer(show=show), 0
        failure: _Failure | None = None
        bound = asyncio.timeout(self._settings.timeout_s)
        self._calls.add(bound)
        try:
            async with bound:
                for attempt in range(1, self._settings.tries + 1):
                    failure = await self._try(request, answer)
                    last = attempt == self._settings.tries
                    if failure is None or not failure.again or last:
                        break
                    await asyncio.sleep(self._pause_s(attempt, failure))
        except TimeoutError:
            failure = self._out_of_time()
        finally:
            self._calls.discard(bound)
        made_by = self._made_by(request, began=began, attempt=attempt, tokens=answer.tokens)
        if failure is not None:
            return ModelFailed(reason=failure.reason, detail=failure.detail, made_by=made_by)
        if not answer.text:
            detail = f"{self._where} answered without text"
            return ModelFailed(reason="empty", detail=detail, made_by=made_by)
        return ModelReplied(text=answer.text, cut=answer.cut, made_by=made_by)

    def _out_of_time(self) -> _Failure:
        if self._client is None:
            return _Failure("unavailable", "the model runner was closed")
        detail = f"{self._where} gave no whole answer within {self._settings.timeout_s:g} s"
        return _Failure("timeout", detail)

    async def _try(self, request: ModelRequest, answer: _Answer) -> _Failure | None:
        """Ask once. Only a try of which nothing was shown may be repeated."""
        try:
            await self._ask(request, answer)
        except _Failure as failure:
            found = failure
        except wire.Rubbish as error:
            found = _Failure("error", f"{self._where} sent {error}")
        except httpx.HTTPError as error:
            found = self._transport(error, begun=bool(answer.text))
        except UnicodeEncodeError:
            found = _Failure("refused", "the prompt is not valid Unicode")
        else:
            return None
        found.again = found.again and not answer.text
        return found

    async def _ask(self, request: ModelRequest, answer: _Answer) -> None:
        if self._client is None:
            raise _Failure("unavailable", "the model runner is not started, or closed")
        sent = self._body(request)
        async with self._client.stream("POST", self._path, content=sent) as response:
            if response.status_code != 200:
                raise self._status(response, await _head(response))
            if response.headers.get("content-type", "").startswith("application/json"):
                self._take(answer, await _whole(response))
                answer.finished = answer.finished or "stop"
            else:
                await self._follow(response, answer)
        if answer.finished is None:
            raise _Failure("error", f"{self._where} ended its answer in the middle")

    async def _follow(self, response: httpx.Response, answer: _Answer) -> None:
        """Read an event stream to its end."""
        lines, size = wire.EventLines(), 0
        async for data in response.aiter_bytes():
            size += len(data)
            for event in lines.feed(data):
                self._take(answer, event)
            if answer.full:
                return
            if size > BODY_BYTES_MAX:
                raise wire.Rubbish("an answer without end")
        for event in lines.end():
            self._take(answer, event)

    def _take(self, answer: _Answer, event: bytes) -> None:
        """Add what one event says."""
        if event == wire.DONE:
            answer.finished = answer.finished or "stop"
            return
        said = wire.decode(event)
        if said.error is not None:
            raise _Failure("error", f"{self._where} reports an error: {wire.named_error(event)}")
        for choice in said.choices[:1]:
            answer.finished = choice.finish_reason or answer.finished
            answer.cut = answer.cut or choice.finish_reason == "length"
            if choice.text:
                answer.text += choice.text
                answer.tokens += 1  # servers send about one event for each token
                answer.show(answer.text)
        if said.usage is not None and said.usage.completion_tokens:
            answer.tokens = said.usage.completion_tokens
        if answer.full:
            answer.cut, answer.finished = True, "length"

    def _body(self, request: ModelRequest) -> bytes:
        settings = self._settings
        body: dict[str, object] = {
            "model": settings.model,
            "messages": [{"role": line.role, "content": line.text} for line in request.lines],
            "stream": True,
            self._limit_field: max(1, min(request.max_tokens, settings.max_tokens)),
        }
        if settings.temperature_permille is not None:
            body["temperature"] = settings.temperature_permille / 1000
        if settings.top_p_permille is not None:
            body["top_p"] = settings.top_p_permille / 1000
        return msgspec.json.encode(body)

    def _other_limit_field(self, body: bytes) -> bool:
        """Newer models of OpenAI refuse `max_tokens` and name the field they want."""
        if self._limit_field == "max_tokens" and b"max_completion_tokens" in body:
            self._limit_field = "max_completion_tokens"
            return True
        return False

    def _status(self, response: httpx.Response, body: bytes) -> _Failure:
        status, code = response.status_code, wire.named_error(body)
        said = f"{self._where} answered {status}" + (f" ({code})" if code else "")
        if status == 429 or status >= 500:
            wait_s = _retry_after_s(response.headers.get("retry-after", ""))
            return _Failure("unavailable", said, again=wait_s <= WAIT_S_MAX, wait_s=wait_s)
        if status in (401, 403):
            return _Failure("refused", f"{said}: the key is missing or has no right to this model")
        if status == 404:
            return _Failure(
                "refused",
                f"{said}: the address is wrong, or there is no model {self._settings.model}",
            )
        if status == 400 and self._other_limit_field(body):
            return _Failure("refused", f"{said}: it wants {self._limit_field}", again=True)
        if 400 <= status < 500:
            return _Failure("refused", f"{said}: the server refuses the request")
        return _Failure("error", f"{said}, which is no answer")

    def _transport(self, error: httpx.HTTPError, *, begun: bool) -> _Failure:
        """Say what went wrong between us; httpx's own texts hold no content, but say little."""
        where, kind = self._where, type(error).__name__
        if isinstance(error, httpx.ConnectTimeout | httpx.ConnectError | httpx.PoolTimeout):
            return _Failure("unavailable", f"{where} cannot be reached ({kind})", again=True)
        if isinstance(error, httpx.TimeoutException):
            seconds = self._settings.read_timeout_s
            return _Failure("timeout", f"{where} was silent for {seconds:g} s")
        if isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError):
            if begun:
                return _Failure("error", f"{where} broke off in the middle ({kind})")
            return _Failure("unavailable", f"{where} broke off before its answer ({kind})")
        return _Failure("error", f"{where}: {kind}")

    def _pause_s(self, attempt: int, failure: _Failure) -> float:
        """Return how long to wait before the next try: full jitter, or the server's own wish."""
        longest = min(WAIT_S_MAX, self._settings.pause_s * 2 ** (attempt - 1))
        return failure.wait_s or random.uniform(0, longest)

    def _made_by(self, request: ModelRequest, *, began: float, attempt: int, tokens: int) -> MadeBy:
        settings = self._settings
        return MadeBy(
            runner="openai",
            weights=settings.model,
            sampler=", ".join(
                f"{name} {value}‰"
                for name, value in (
                    ("temperature", settings.temperature_permille),
                    ("top-p", settings.top_p_permille),
                )
                if value is not None
            )
            or "the server's",
            attempt=max(1, attempt),
            request_digest=request.request_digest,
            latency_ms=int(1000 * (time.monotonic() - began)),
            tokens=tokens,
        )


def _address(base_url: str) -> httpx.URL:
    """Return where completions are made. Raises: Refused."""
    try:
        url = httpx.URL(base_url.rstrip("/") + "/chat/completions")
    except (httpx.InvalidURL, ValueError):
        raise Refused(
            "the model's base_url is no address, such as http://127.0.0.1:11434/v1"
        ) from None
    whole = url.scheme in ("http", "https") and url.host and (url.port or 1) < 1 << 16
    if not whole or url.userinfo or url.query:
        raise Refused(
            "the model's base_url must be http:// or https://, a host and a path, such as "
            f"{EXAMPLE}; a key belongs into api_key."
        )
    return url


def _bearer(key: str) -> str:
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise Refused("the model's api_key has characters that no key has (spaces, line ends?)")
    return f"Bearer {key}"


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def tls_context() -> ssl.SSLContext:
    """Return what httpx trusts, over nothing older than TLS 1.2."""
    context = httpx.create_ssl_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


async def _head(response: httpx.Response) -> bytes:
    """Return the beginning of an error's body: enough for its code."""
    return (await _read(response, most=64 * 1024))[: 64 * 1024]


async def _whole(response: httpx.Response) -> bytes:
    """Return the body of an answer that is not streamed. Raises: Rubbish where it has no end."""
    body = await _read(response, most=BODY_BYTES_MAX)
    if len(body) > BODY_BYTES_MAX:
        raise wire.Rubbish("an answer without end")
    return body


async def _read(response: httpx.Response, *, most: int) -> bytes:
    body = b""
    async for data in response.aiter_bytes():
        body += data
        if len(body) > most:
            break
    return body


def _retry_after_s(value: str) -> float:
    """Return the pause that a server asks for, in seconds; 0 where it asks for none."""
    if value.strip().isdigit():
        return float(value)
    try:
        at = email.utils.parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return 0.0
    aware = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.now(UTC)).total_seconds())
