"""How every client of this process reaches the brokers: in one place, so that none is left out.

Clients come from here unstarted. What aiokafka raises becomes, in `told`, what a host can act on.
"""

import asyncio
import logging
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    ProducerFenced,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.producer import sender
from aiokafka.structs import ConsumerRecord

from adapters.kafka.records import Fetched
from engine.errors import Conflict, InvalidRecord, Refused, Unavailable

BATCH_BYTES_MAX = 900_000
"""A broker takes 1 MiB in one batch."""
REQUEST_BYTES_MAX = 1_000_000
RETRY_BACKOFF_MS = 10
"""aiokafka's 100 ms would be a tenth of a second in every seventh transaction."""
sender.BACKOFF_OVERRIDE = 0.003
"""How long a transaction waits, in seconds, where the last one's end is not written everywhere yet:
a millisecond or two. aiokafka's 20 ms would stand in every other one of a busy partition."""
REQUEST_TIMEOUT_MS = 30_000
RETRY_ELSE_MS = 100
FETCH_WAIT_MS = 500
ASK_WITHIN_MS = 5_000
STOP_WITHIN_S = 2.0

# What it has to say comes as errors, which `told` tells; its log repeats each of its retries, a
# hundred times a second while a broker is away.
logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

_FORBIDDEN = (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

Protocol = Literal["plaintext", "tls"]
Mechanism = Literal["", "plain", "scram-sha-256", "scram-sha-512"]


class KafkaSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the brokers are and how they are reached.

    `brokers`: host:port, with commas. `prefix`: before every name of this installation. `ca_file`:
    whom to trust, by default whom the machine trusts; `cert_file` and `key_file`: who we are.
    """

    brokers: str
    prefix: str = ""
    security: Protocol = "plaintext"
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    sasl: Mechanism = ""
    username: str = ""
    password: str = ""
    transaction_timeout_ms: int = 10_000
    session_timeout_ms: int = 30_000

    def __repr__(self) -> str:
        """Without the password."""
        return f"KafkaSettings(brokers={self.brokers!r}, prefix={self.prefix!r})"

    def named(self, name: str) -> str:
        """The name on the brokers: of a topic, a group, a transactional id."""
        return f"{self.prefix}{name}"


def producer_of(
    settings: KafkaSettings, *, transactional_id: str | None = None, durable: bool = True
) -> AIOKafkaProducer:
    """A producer: idempotent and acknowledged by all copies, unless it is not `durable`."""
    more: dict[str, Any] = {"acks": 1}
    if durable:
        more = {"acks": "all", "enable_idempotence": True}
    if transactional_id is not None:
        more["transactional_id"] = settings.named(transactional_id)
        more["transaction_timeout_ms"] = settings.transaction_timeout_ms
    return AIOKafkaProducer(
        **_link(settings),
        **more,
        retry_backoff_ms=RETRY_BACKOFF_MS,
        request_timeout_ms=REQUEST_TIMEOUT_MS,
        max_batch_size=BATCH_BYTES_MAX,
        max_request_size=REQUEST_BYTES_MAX,
    )


def consumer_of(
    settings: KafkaSettings,
    *,
    group: str | None = None,
    instance: str = "",
    committed: bool = True,
    from_start: bool = True,
    wait_ms: int = FETCH_WAIT_MS,
) -> AIOKafkaConsumer:
    """A consumer that commits nothing by itself.

    `instance`: its name in the group over restarts (static membership). `committed`: what is in
    open or aborted transactions is not shown. `from_start`: where there is no offset yet.
    `wait_ms`: a broker that has nothing answers after so long, and a reader that has turned to
    another partition meanwhile waits for that answer.
    """
    more: dict[str, Any] = {}
    if group is not None:
        more = {
            "group_id": settings.named(group),
            "group_instance_id": instance or None,
            "session_timeout_ms": settings.session_timeout_ms,
            # Whoever loses a partition may finish what it has begun there.
            "rebalance_timeout_ms": max(60_000, settings.session_timeout_ms),
            "heartbeat_interval_ms": min(2_000, settings.session_timeout_ms // 3),
        }
    return AIOKafkaConsumer(
        **_link(settings),
        **more,
        enable_auto_commit=False,
        auto_offset_reset="earliest" if from_start else "latest",
        isolation_level="read_committed" if committed else "read_uncommitted",
        fetch_max_wait_ms=wait_ms,
        request_timeout_ms=REQUEST_TIMEOUT_MS,
        # The client waits so long even for what it has just asked about a topic new to it.
        retry_backoff_ms=min(wait_ms, RETRY_ELSE_MS),
    )


def admin_of(settings: KafkaSettings) -> AIOKafkaAdminClient:
    """A client that makes topics and describes them."""
    return AIOKafkaAdminClient(**_link(settings), request_timeout_ms=REQUEST_TIMEOUT_MS)


def tls_context(settings: KafkaSettings) -> ssl.SSLContext | None:
    """TLS 1.2 or later, the brokers' names checked; None on plain links.

    Raises Refused with the setting whose file cannot be used.
    """
    if settings.security != "tls":
        return None
    for name in ("ca_file", "cert_file", "key_file"):
        _require_readable(f"kafka.{name}", getattr(settings, name))
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except ssl.SSLError as error:
        raise Refused("kafka.ca_file has no certificates in PEM that can be read") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.cert_file is not None:
        try:
            # Without an answer of ours OpenSSL would ask at the terminal, and wait.
            context.load_cert_chain(settings.cert_file, settings.key_file, password=_no_passphrase)
        except ssl.SSLError as error:
            raise Refused(
                "kafka.cert_file and kafka.key_file are no certificate and its key in PEM"
            ) from error
    return context


def _require_readable(setting: str, path: Path | None) -> None:
    try:
        if path is not None:
            path.read_bytes()
    except OSError as error:
        raise Refused(f"{setting} cannot be read: {path} ({error.strerror})") from error


def _no_passphrase() -> str:
    raise Refused("kafka.key_file is encrypted: give one without a passphrase, that only we read")


def _link(settings: KafkaSettings) -> dict[str, Any]:
    secured = {"plaintext": "PLAINTEXT", "tls": "SSL"}[settings.security]
    link: dict[str, Any] = {
        "bootstrap_servers": settings.brokers,
        "security_protocol": secured,
        "ssl_context": tls_context(settings),
    }
    if settings.sasl:
        link["security_protocol"] = "SASL_SSL" if settings.security == "tls" else "SASL_PLAINTEXT"
        link["sasl_mechanism"] = settings.sasl.upper()
        link["sasl_plain_username"] = settings.username
        link["sasl_plain_password"] = settings.password
    return link


async def begun(
    client: AIOKafkaConsumer | AIOKafkaProducer | AIOKafkaAdminClient,
    settings: KafkaSettings,
    *,
    what: str,
) -> None:
    """Start a client; one that does not start is let go.

    Raises Unavailable, or Refused with what a broker has against us.
    """
    with told(what):
        try:
            await client.start()
        except BaseException as error:
            await _let_go(client)
            if isinstance(error, KafkaConnectionError):
                await _ask_why(settings)
                raise Unavailable(
                    f"{what}: no broker answers at {settings.brokers}: start one, or correct "
                    "kafka.brokers"
                ) from error
            raise


async def _let_go(client: AIOKafkaConsumer | AIOKafkaProducer | AIOKafkaAdminClient) -> None:
    if isinstance(client, AIOKafkaProducer):
        await ended(client)
    elif isinstance(client, AIOKafkaConsumer):
        await closed(client)
    else:
        await client.close()


async def _ask_why(settings: KafkaSettings) -> None:
    """A client says only that it could not connect: raise what the first broker says that does."""
    link = _link(settings)
    for host, port, _ in collect_hosts(link.pop("bootstrap_servers")):
        try:
            conn = await create_conn(host, port, **link, request_timeout_ms=ASK_WITHIN_MS)
        except (ssl.SSLError, SaslAuthenticationFailed, UnsupportedSaslMechanismError):
            raise
        except (OSError, KafkaError):
            continue
        conn.close()


async def closed(consumer: AIOKafkaConsumer) -> None:
    """Stop a consumer, for good after a while.

    In a task of its own: of a broker that is away it raises the cancellation of one of its tasks,
    which would look like ours; and right after it was given another partition it does not hear that
    it is to stop before it is told again.
    """
    stopping = asyncio.ensure_future(consumer.stop())
    for _ in range(2):
        done, _ = await asyncio.wait([stopping], timeout=STOP_WITHIN_S)
        if done:
            break
        stopping.cancel()
    with suppress(KafkaError, TimeoutError, asyncio.CancelledError, asyncio.InvalidStateError):
        stopping.result()


async def ended(producer: AIOKafkaProducer) -> None:
    """Stop a producer, for good after a while: it would wait for brokers that are away for ever."""
    with suppress(KafkaError, TimeoutError):
        async with asyncio.timeout(STOP_WITHIN_S):
            await producer.stop()
            return
    with suppress(KafkaError, TimeoutError):
        async with asyncio.timeout(STOP_WITHIN_S):
            await producer._sender.close()
    await producer.client.close()


def fetched(settings: KafkaSettings, records: Sequence[ConsumerRecord]) -> list[Fetched]:
    """Records of one topic, under its name without the prefix."""
    if not records:
        return []
    topic = records[0].topic.removeprefix(settings.prefix)
    return [
        Fetched(topic, r.partition, r.offset, r.timestamp, r.key or b"", r.value, r.headers)
        for r in records
    ]


@contextmanager
def told(what: str) -> Iterator[None]:
    """What aiokafka raises inside, as Conflict, Refused, InvalidRecord or Unavailable."""
    try:
        yield
    except KafkaError as error:
        raise _meant(what, error) from error
    except ssl.SSLCertVerificationError as error:
        why = f"{what}: the broker's certificate is not trusted ({error.verify_message})"
        raise Refused(f"{why}: set the file of the authority that signed it") from error
    except OSError as error:  # a name that nobody knows, TLS on one side only
        raise Unavailable(f"{what}: {type(error).__name__}") from error


def _meant(what: str, error: KafkaError) -> Exception:
    name = type(error).__name__
    if isinstance(error, ProducerFenced) or "Fenced" in str(error):
        return Conflict(f"{what}: another owner has taken over")
    if isinstance(error, SaslAuthenticationFailed | UnsupportedSaslMechanismError):
        return Refused(f"{what}: the broker does not accept the user name and password ({name})")
    if isinstance(error, _FORBIDDEN):
        return Refused(f"{what}: the broker does not allow it ({name})")
    if isinstance(error, MessageSizeTooLargeError):
        if error.args:  # the client's own finding; a broker says no more than that
            return InvalidRecord(f"{what}: a record is larger than {REQUEST_BYTES_MAX} bytes")
        return Refused(
            f"{what}: a batch is larger than its topic takes, which should be at least "
            f"{REQUEST_BYTES_MAX} bytes: `ai-assistant topics check` compares max.message.bytes"
        )
    return Unavailable(f"{what}: the brokers do not answer as they should ({name})")
