"""Every setting there is: its key, type, bounds and default.

Read by `streams.settings.load`, which turns files and environment into these records. A key of
`assistant.toml` is section and field: `server.bind`. Whoever needs a bound that nobody should have
to set puts it into `engine.limits`, or beside the code that it bounds.
"""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from engine.effects import FallbackStrategy
from streams.settings.secret import Secret

Name = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$",
        description="a name: a letter, then up to 63 letters, digits, _ or -",
    ),
]
SkillName = Annotated[
    str,
    Meta(
        pattern=r"^\w[\w.-]{0,63}$",
        description='names of installed skills, such as "summary"',
    ),
]
Language = Annotated[
    str, Meta(pattern=r"^[a-z]{2,3}$", description='languages like "en" or "zh" (ISO 639)')
]
SiteOrigin = Annotated[
    str,
    Meta(
        pattern=r"^https?://[A-Za-z0-9.\[\]:-]+$",
        description='sites as a browser names them, such as "https://intranet.example.com"',
    ),
]
Broker = Annotated[
    str,
    Meta(
        pattern=r"^(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9_.-]+):[0-9]{1,5}$",
        description='brokers as host:port, such as "kafka-0:9092"',
    ),
]
Instance = Annotated[
    str,
    Meta(
        pattern=r"^([A-Za-z][A-Za-z0-9._-]{0,199})?$",
        description='a name for this process, such as "sessions-0"',
    ),
]
TopicPrefix = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_.-]{0,100}$",
        description='up to 100 letters, digits, . _ or -, such as "test."',
    ),
]
Seconds = Annotated[float, Meta(ge=0.1, le=3_600)]


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all sections: immutable, made by keyword."""


class Server(Section, frozen=True):
    """[server]. `bind` is host:port (port 0: any free one). `drain_s`: how long a stop waits."""

    bind: str = "127.0.0.1:8080"
    data_dir: Path = Path()
    drain_s: Annotated[float, Meta(ge=0, le=600)] = 10.0

    @property
    def host(self) -> str:
        """The host part of `bind`, without the brackets of an IPv6 address."""
        return self.bind.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port part of `bind`: 0 to 65 535."""
        return int(self.bind.rpartition(":")[2])

    @property
    def is_loopback(self) -> bool:
        """Whether nobody outside this machine can connect."""
        return is_loopback(self.host)


class Engine(Section, frozen=True):
    """[engine]. `batch_events_max`: most events that are stepped in one commit."""

    batch_events_max: Annotated[int, Meta(ge=1, le=4_096)] = 256


class FlowSettings(Section, frozen=True):
    """[flow]. `config` is the table [flow.config] as JSON with sorted keys: the flow checks it."""

    name: Name = "assistant"
    config: msgspec.Raw = msgspec.Raw(b"{}")


class Model(Section, frozen=True):
    """[model]. Which model answers, and how much of it.

    `path`: the .gguf file (llama), by default the fetched model; None where there is none.
    `base_url`, `model`, `api_key`: of an OpenAI-compatible server. `n_threads` 0: one
    less than there are cores. `calls_max`: calls at once. `languages`: what the model speaks well.
    """

    kind: Literal["llama", "openai", "scripted"] = "llama"
    path: Path | None = None
    base_url: str | None = None
    model: str | None = None
    api_key: Secret | None = None
    n_ctx: Annotated[int, Meta(ge=256, le=1_048_576)] = 4_096
    n_threads: Annotated[int, Meta(ge=0, le=256)] = 0
    calls_max: Annotated[int, Meta(ge=1, le=64)] = 4
    max_tokens: Annotated[int, Meta(ge=1, le=32_768)] = 512
    temperature: Annotated[float, Meta(ge=0, le=2)] = 0.2
    languages: tuple[Language, ...] = ("en",)


class WebChat(Section, frozen=True):
    """[webchat]. The chat page and its WebSocket; `account` is a part of its sessions' ids.

    `origins`: other sites whose pages may connect; the assistant's own address always may.
    """

    enabled: bool = True
    account: Name = "web"
    origins: tuple[SiteOrigin, ...] = ()


class Skills(Section, frozen=True):
    """[skills]. `enabled`: skills by the name of their entry point.

    `settings`: the tables [skills.settings.NAME] as JSON, secrets not yet looked up: see
    `skill_tables`. `within_s`: a skill that takes longer is killed. `processes_max`: at once.
    """

    enabled: tuple[SkillName, ...] = ("summary",)
    settings: msgspec.Raw = msgspec.Raw(b"{}")
    within_s: Annotated[float, Meta(ge=0.1, le=600)] = 30.0
    processes_max: Annotated[int, Meta(ge=1, le=32)] = 3


class Operators(Section, frozen=True):
    """[operators]. `token`: what operators show; None is the one that the data directory keeps."""

    token: Secret | None = None


class Kafka(Section, frozen=True):
    """[kafka]. The cluster whose topics hold the log; without `brokers` it is one process's file.

    `prefix`: before each topic's name, one for each installation. `instance`: this process, kept
    over its restarts. `partitions`: chosen once; another number would part sessions from their
    past. `keys_file`: the pseudonym and cookie keys, as `keys.json` of a data directory has them:
    the same for all processes that take messages in. `read_model`: where such a process keeps what
    it read of all conversations; it can be read again. `session_timeout_s`: a process that is not
    heard of for so long loses its partitions to the others.
    """

    brokers: tuple[Broker, ...] = ()
    prefix: TopicPrefix = ""
    instance: Instance = ""
    partitions: Annotated[int, Meta(ge=1, le=1_000)] = 12
    replication: Annotated[int, Meta(ge=1, le=15)] = 3
    security: Literal["plaintext", "tls"] = "plaintext"
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    sasl: Literal["", "plain", "scram-sha-256", "scram-sha-512"] = ""
    username: str = ""
    password: Secret | None = None
    keys_file: Path | None = None
    session_timeout_s: Annotated[float, Meta(ge=1, le=1_800)] = 30.0
    read_model: Literal["file", "memory"] = "file"


class RateLimit(Section, frozen=True):
    """Never more than `max_requests` in any `period_seconds`."""

    max_requests: Annotated[int, Meta(ge=1, le=10_000)] = 10
    period_seconds: Seconds = 1.0


class ImChannel(Section, frozen=True):
    """One entry of `channels` in im_adapter.json: an account on an IM platform."""

    kind: Literal["dingtalk"] = "dingtalk"
    enabled: bool = True
    endpoint: str | None = None
    app_key: Secret | None = None
    app_secret: Secret | None = None
    message_format: Literal["markdown", "text"] = "markdown"
    rate_limit: RateLimit = RateLimit()


class Account(Section, frozen=True):
    """A channel under the name that im_adapter.json gives it."""

    name: str
    channel: ImChannel


class Origin(Section, frozen=True):
    """Where a value comes from: `default`, `file:key`, `env NAME` or `--option`."""

    key: str
    source: str


class Settings(Section, frozen=True):
    """All settings of one process. `warnings`: what is odd but no error, each with its fix."""

    directory: Path | None = None
    server: Server = Server()
    engine: Engine = Engine()
    flow: FlowSettings = FlowSettings()
    model: Model = Model()
    webchat: WebChat = WebChat()
    skills: Skills = Skills()
    operators: Operators = Operators()
    kafka: Kafka = Kafka()
    accounts: tuple[Account, ...] = ()
    fallbacks: tuple[FallbackStrategy, ...] = ()
    origins: tuple[Origin, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def on_cluster(self) -> bool:
        """Whether the log is on a Kafka cluster, not in the data directory."""
        return bool(self.kafka.brokers)

    def origin(self, key: str) -> str:
        """Where the value of a key such as `server.bind` comes from."""
        return next((o.source for o in self.origins if o.key == key), "default")


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own, for this machine only."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
