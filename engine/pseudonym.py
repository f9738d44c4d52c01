"""Platform ids become keyed pseudonyms at ingress: nobody reads a person out of a session id.

A session id is `channel:account:key id:pseudonym`. The current key makes new sessions; sessions
that an older key made are found as long as that key is kept, newest first.
"""

from collections.abc import Callable
from hashlib import blake2b

import msgspec

PSEUDONYM_BYTES = 12


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A secret of 16 to 64 bytes. `id` is short, of letters and digits, and never used again."""

    id: str
    secret: bytes

    def __repr__(self) -> str:
        return f"Key(id={self.id!r})"  # a secret is never shown


def session_id(channel: str, account: str, *, who: tuple[str, ...], key: Key) -> str:
    """The session of these platform ids (conversation, sender or both) under one key."""
    # Lengths go into the hash, so that ("ab", "c") and ("a", "bc") are two people.
    text = "\x1f".join(f"{len(part)}:{part}" for part in (channel, account, *who))
    digest = blake2b(
        text.encode("utf-8", "surrogatepass"), digest_size=PSEUDONYM_BYTES, key=key.secret
    ).hexdigest()
    return f"{channel}:{account}:{key.id}:{digest}"


def find_session(
    channel: str,
    account: str,
    *,
    who: tuple[str, ...],
    keys: tuple[Key, ...],
    known: Callable[[str], bool],
) -> str:
    """The session under the newest key that has one; else a new one under the current key.

    `keys`: newest first, at least one. `known`: whether a session of this id exists.
    """
    candidates = [session_id(channel, account, who=who, key=key) for key in keys]
    if len(candidates) == 1:
        return candidates[0]
    return next((candidate for candidate in candidates if known(candidate)), candidates[0])
