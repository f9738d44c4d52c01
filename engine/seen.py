"""The set of ids that a session has taken, as one bytes value of hourly buckets.

A bucket is `hour` (uint32, hours of log time since the epoch), `count` (uint16), then `count`
hashes of 8 bytes, the newest first. The newest bucket stands first and is small: it alone is a part
of the session's JSON line. After it, where there are older ones, come their digest (16 bytes) and
they themselves, which change with every 64th id or once an hour. So the line names all that was
taken, and a step neither encodes nor hashes 12 KB for it.

Two ids collide with probability 2^-64; 4 000 ids are 32 KB. A set never holds many more than
`SEEN_MAX + SEEN_OTHERS_MAX` ids: beyond them the oldest are forgotten early, whatever floods it.
"""

from hashlib import blake2b
from struct import Struct

from engine.limits import SEEN_KEPT_MS, SEEN_MAX, SEEN_OTHERS_MAX

_HEADER = Struct(">IH")
_HASH_BYTES = 8
_DIGEST_BYTES = 16
_HOUR_MS = 3_600_000
_BUCKET_MAX = 64


def contains(seen: bytes, event_id: str) -> bool:
    """Whether this id was taken in the last 25 h (or a little longer)."""
    wanted = _hash(event_id)
    if wanted not in seen:  # nearly always: one memmem instead of a walk over the buckets
        return False
    return any(
        seen[at : at + _HASH_BYTES] == wanted
        for _, start, n in _buckets(seen)
        for at in range(start, start + n * _HASH_BYTES, _HASH_BYTES)
    )


def full(seen: bytes, limit: int, *, now_ms: int) -> bool:
    """Whether as many ids as `limit` were taken in the last 25 h (or a little longer)."""
    if len(seen) < limit * _HASH_BYTES:  # nearly always: nothing is counted
        return False
    since = (now_ms - SEEN_KEPT_MS) // _HOUR_MS
    return sum(n for hour, _, n in _buckets(seen) if hour >= since) >= limit


def add(seen: bytes, event_id: str, *, now_ms: int) -> bytes:
    """The set with this id, taken at `now_ms` (log time); forgets what is older than 25 h.

    And what is older than the last `SEEN_MAX + SEEN_OTHERS_MAX` ids: it stays as full as that.
    """
    hour = now_ms // _HOUR_MS
    if not seen:
        return _HEADER.pack(hour, 1) + _hash(event_id)
    newest, n = _HEADER.unpack_from(seen)
    if newest >= hour and n < _BUCKET_MAX:
        return b"".join((_HEADER.pack(newest, n + 1), _hash(event_id), seen[_HEADER.size :]))
    older = _since(seen, (now_ms - SEEN_KEPT_MS) // _HOUR_MS)
    # Log time never goes back: a bucket that is begun stands for its own hour or a later one.
    begun = _HEADER.pack(max(hour, newest), 1) + _hash(event_id)
    return b"".join((begun, _digest(older), older)) if older else begun


def newest_bytes(seen: bytes) -> int:
    """How much of it belongs into the session's line: the newest bucket, the digest of the rest."""
    if not seen:
        return 0
    n: int = _HEADER.unpack_from(seen)[1]
    return min(_HEADER.size + n * _HASH_BYTES + _DIGEST_BYTES, len(seen))


def _hash(event_id: str) -> bytes:
    named = event_id.encode("utf-8", "surrogatepass")
    return blake2b(named, digest_size=_HASH_BYTES).digest()


def _digest(older: bytes) -> bytes:
    return blake2b(older, digest_size=_DIGEST_BYTES).digest()


def _buckets(seen: bytes) -> list[tuple[int, int, int]]:
    """(hour, start of the hashes, their number) of each bucket, newest first."""
    found: list[tuple[int, int, int]] = []
    at = 0
    while at < len(seen):
        hour, n = _HEADER.unpack_from(seen, at)
        found.append((hour, at + _HEADER.size, n))
        at += _HEADER.size + n * _HASH_BYTES
        if len(found) == 1:
            at += _DIGEST_BYTES
    return found


def _since(seen: bytes, first_hour: int) -> bytes:
    """The buckets of this hour and later ones, without a digest among them; the newest, if many."""
    kept: list[bytes] = []
    ids = 0
    for hour, start, n in _buckets(seen):
        if hour < first_hour or ids >= SEEN_MAX + SEEN_OTHERS_MAX:
            break  # they stand in order: all that follow are older
        kept.append(seen[start - _HEADER.size : start + n * _HASH_BYTES])
        ids += n
    return b"".join(kept)
