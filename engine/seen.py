"""The set of ids that a session has taken, as one bytes value of hourly buckets.

A bucket is `hour` (uint32, hours of log time since the epoch), `count` (uint16), then `count`
hashes of 8 bytes. The newest bucket stands first, and in it the newest hash: adding one walks over
nothing. Two ids collide with probability 2^-64; 4 000 ids are 32 KB. Old buckets go when a new one
opens.
"""

from hashlib import blake2b
from struct import Struct

from engine.limits import SEEN_KEPT_MS

_HEADER = Struct(">IH")
_HASH_BYTES = 8
_HOUR_MS = 3_600_000
_COUNT_MAX = 0xFFFF


def _hash(event_id: str) -> bytes:
    return blake2b(event_id.encode(), digest_size=_HASH_BYTES).digest()


def contains(seen: bytes, event_id: str) -> bool:
    """Whether this id was taken in the last 25 h (or a little longer)."""
    wanted = _hash(event_id)
    if seen.find(wanted) < 0:  # nearly always: one memmem instead of a walk over the buckets
        return False
    return any(
        seen[at : at + _HASH_BYTES] == wanted
        for _, start, n in _buckets(seen)
        for at in range(start, start + n * _HASH_BYTES, _HASH_BYTES)
    )


def full(seen: bytes, now_ms: int, limit: int) -> bool:
    """Whether as many ids as `limit` were taken in the last 25 h (or a little longer)."""
    if len(seen) < limit * _HASH_BYTES:  # nearly always: nothing is counted
        return False
    since = (now_ms - SEEN_KEPT_MS) // _HOUR_MS
    return sum(n for hour, _, n in _buckets(seen) if hour >= since) >= limit


def add(seen: bytes, event_id: str, now_ms: int) -> bytes:
    """The set with this id, taken at `now_ms` (log time); forgets what is older than 25 h."""
    hour = now_ms // _HOUR_MS
    if seen:
        newest, n = _HEADER.unpack_from(seen)
        if newest >= hour and n < _COUNT_MAX:
            header = _HEADER.pack(newest, n + 1)
            return b"".join((header, _hash(event_id), seen[_HEADER.size :]))
    kept = _since(seen, (now_ms - SEEN_KEPT_MS) // _HOUR_MS)
    return b"".join((_HEADER.pack(hour, 1), _hash(event_id), kept))


def _buckets(seen: bytes) -> list[tuple[int, int, int]]:
    """(hour, start of the hashes, their number) of each bucket, newest first."""
    found = []
    at = 0
    while at < len(seen):
        hour, n = _HEADER.unpack_from(seen, at)
        found.append((hour, at + _HEADER.size, n))
        at += _HEADER.size + n * _HASH_BYTES
    return found


def _since(seen: bytes, first_hour: int) -> bytes:
    """The buckets of this hour and later ones."""
    for hour, start, _ in _buckets(seen):
        if hour < first_hour:
            return seen[: start - _HEADER.size]
    return seen
