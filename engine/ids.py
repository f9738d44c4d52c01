"""Ids are derived, never drawn, so that a repetition is recognisable everywhere.

Each id of a session's things is the session id, `/`, and a 16-byte BLAKE2b hash in hex of what
made it: an id leads to its session without a scan. No id is made from `seq`: a replay that begins
in the middle would count differently.
"""

from hashlib import blake2b

ID_BYTES = 16


def derive(session_id: str, kind: str, *parts: str | int) -> str:
    """An id within the session: the same parts give the same id, in any process, for ever."""
    # The unit separator cannot occur in a part: ids and names are printable, texts are never parts.
    text = "\x1f".join((kind, *map(str, parts)))
    named = f"{session_id}\x1f{text}".encode("utf-8", "surrogatepass")  # any text has an id
    return f"{session_id}/{blake2b(named, digest_size=ID_BYTES).hexdigest()}"


def session_of(record_id: str) -> str:
    """The session that an event's, effect's or reply's id belongs to."""
    return record_id.rpartition("/")[0]


def is_session_id(text: str) -> bool:
    """Whether it leads to an account: `channel:account:` and the pseudonyms of who talks.

    A host keeps rows of its own beside its sessions', under names that begin with `#`.
    """
    return text.count(":") >= 2 and not text.startswith("#")


def account_of(session_id: str) -> tuple[str, str]:
    """The kind of a session's channel, and the account there."""
    channel, account, _ = session_id.split(":", 2)
    return channel, account


def message_event_id(session_id: str, account: str, *, message_id: str) -> str:
    """A message's event: from the account and the platform's own message id."""
    return derive(session_id, "message", account, message_id)


def outcome_event_id(effect_id: str) -> str:
    """The one outcome that ends a request: whoever reports it, and however often, it is this id."""
    return derive(session_of(effect_id), "outcome", effect_id)


def effect_id(session_id: str, cause: str, *, index: int) -> str:
    """The index-th effect of a step (0-based), made for `cause`: an event, or a pending now due."""
    return derive(session_id, "effect", cause, index)


def reply_id(effect: str) -> str:
    """The reply that a request or a send fills."""
    return derive(session_of(effect), "reply", effect)
