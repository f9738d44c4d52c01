"""The table of topics: what each one holds, how it is keyed, and what its broker must keep.

Created and compared by `ai-assistant topics`, and checked by every worker before it starts; never
made by a broker on its own. Pure data: it never talks to Kafka.

Topics of one width are partitioned alike, by murmur2 of the key's bytes: what belongs to a session
has the same partition number in each of them. The width is chosen once: another one would give
sessions to other partitions than those that hold their past.
"""

from enum import StrEnum
from typing import Literal, NamedTuple

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
FOR_EVER = -1
ORDERS_KEPT_MS = 7 * DAY_MS
"""Longer than a platform is away; what was ordered before that is of no use to anybody."""


class T(StrEnum):
    """The topics' names, before an installation's prefix."""

    EVENTS = "conversation.events"
    SESSIONS = "conversation.sessions"
    STEPS = "conversation.steps"
    MODEL = "effects.model"
    SKILL = "effects.skill"
    INTENT = "effects.intent"
    CANCEL = "effects.cancel"
    EGRESS = "im.egress"
    FRAMES = "im.frames"
    OUTBOX = "im.outbox"
    DELIVERIES = "im.deliveries"
    DEAD = "dead.letters"
    AUDIT = "audit"
    WORKERS = "workers"


class Topic(NamedTuple):
    """One topic. `width`: `sessions` partitions (the installation's number), or one.

    `keyed_by`: for people, and for whoever writes to it. `config`: the broker's settings that are
    compared, as Kafka names and writes them.
    """

    name: T
    keyed_by: str
    width: Literal["sessions", "one"]
    config: dict[str, str]
    why: str


# Kafka's own default, but not what each cluster has as its own: our batches are up to 900 KB, and a
# dead letter that carries a record of another program is nearly as large.
_TAKEN = {"max.message.bytes": "1048588"}


def _deleted(after_ms: int, **more: str) -> dict[str, str]:
    return {"cleanup.policy": "delete", "retention.ms": str(after_ms), **_TAKEN, **_named(more)}


def _compacted(*, tombstones_ms: int, **more: str) -> dict[str, str]:
    # What is younger than a day is not compacted: a mistake can still be looked at.
    return {
        "cleanup.policy": "compact",
        "delete.retention.ms": str(tombstones_ms),
        "min.compaction.lag.ms": str(DAY_MS),
        "max.compaction.lag.ms": str(7 * DAY_MS),
        **_TAKEN,
        **_named(more),
    }


def _named(settings: dict[str, str]) -> dict[str, str]:
    return {key.replace("_", "."): value for key, value in settings.items()}


_BROKER_TIME = {"message_timestamp_type": "LogAppendTime"}

TOPICS: tuple[Topic, ...] = (
    Topic(
        T.EVENTS,
        "session",
        "sessions",
        _deleted(FOR_EVER, **_BROKER_TIME),
        "the log of record: it is never cut, and its times are the brokers'",
    ),
    Topic(
        T.SESSIONS,
        "session",
        "sessions",
        _compacted(tombstones_ms=2 * DAY_MS),
        "each session's newest bytes and each partition's watermark: what a new owner reads",
    ),
    Topic(
        T.STEPS,
        "session",
        "sessions",
        _deleted(FOR_EVER),
        "step records: the place of record for effects, for replay and debugging",
    ),
    Topic(T.MODEL, "session", "sessions", _deleted(DAY_MS), "requests: they expire in minutes"),
    Topic(T.SKILL, "session", "sessions", _deleted(DAY_MS), "requests: they expire in minutes"),
    Topic(T.INTENT, "session", "sessions", _deleted(DAY_MS), "requests: they expire in seconds"),
    Topic(T.CANCEL, "session", "sessions", _deleted(HOUR_MS), "of use while a call runs"),
    Topic(
        T.EGRESS,
        "account",
        "sessions",
        _deleted(ORDERS_KEPT_MS),
        "orders to platforms: longer than any outage of one",
    ),
    Topic(
        T.FRAMES,
        "account, or session where a channel keeps its lines here",
        "sessions",
        _deleted(HOUR_MS, segment_ms=str(HOUR_MS // 4)),
        "text that streams: of use while somebody looks",
    ),
    Topic(
        T.OUTBOX,
        "session",
        "sessions",
        _deleted(30 * DAY_MS),
        "lines and views of web chat: as far back as a page can look",
    ),
    Topic(
        T.DELIVERIES,
        "reply",
        "sessions",
        _compacted(tombstones_ms=2 * DAY_MS),
        "each reply's state on its way to a platform; aligned with im.egress",
    ),
    Topic(T.DEAD, "partition:offset", "one", _deleted(FOR_EVER), "to be looked at by a person"),
    Topic(T.AUDIT, "actor", "one", _deleted(FOR_EVER), "who did what"),
    Topic(
        T.WORKERS,
        "instance",
        "one",
        _deleted(HOUR_MS, **_BROKER_TIME),
        "heartbeats: who is there, and what time the brokers say it is",
    ),
)
BY_NAME: dict[T, Topic] = {topic.name: topic for topic in TOPICS}
