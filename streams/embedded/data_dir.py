"""The data directory: where the embedded host keeps its log and the secrets it made itself.

Made at the first start, mode 0700. `keys.json` holds the pseudonym keys, newest first, and the key
that signs web chat's cookies: lose it, and nobody finds their old conversations again.
"""

import os
import secrets
from pathlib import Path

import msgspec
from msgspec.structs import replace

from engine.errors import Refused
from engine.pseudonym import Key
from streams.disk import not_written

LOG_FILE = "log.sqlite"
GUARD_FILE = "stepping.guard"
KEYS_FILE = "keys.json"
KEY_BYTES = 32


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """The directory's own secrets. `pseudonyms`: newest first, at least one."""

    pseudonyms: tuple[Key, ...]
    cookies: bytes

    def __repr__(self) -> str:
        return "Keys(…)"


def prepare(path: Path) -> None:
    """Make the directory where there is none.

    Raises: Refused where it cannot be written, Unavailable where that is for lack of space.
    """
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = path / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        fix = "set another with --data, or correct its owner"
        raise not_written(f"data directory {path}", error, fix=fix) from None


def keys(path: Path) -> Keys:
    """The keys of this directory, made on the first call.

    Raises: Refused where they are damaged; Unavailable where there is no space to make them.
    """
    file = path / KEYS_FILE
    return _read(file) if file.exists() else _make(file)


def kept_keys(file: Path) -> Keys:
    """The keys of this file. Raises Refused where there are none yet, or they are damaged."""
    if not file.exists():
        raise Refused(f"there are no keys at {file} yet: the first start makes them")
    return _read(file)


def make(file: Path) -> Keys:
    """New keys in a new file. Raises Refused where there is one."""
    if file.exists():
        raise Refused(f"{file} is there already: other keys would cut everybody off")
    return _make(file)


def rotate(file: Path) -> Keys:
    """Put a new pseudonym key before those that there are; the keys after it.

    An engine takes it up at its next start: the new key makes new sessions' ids then, and older
    keys find the sessions that they made.

    Raises: Refused where there are no keys yet, or they are damaged; Unavailable without space.
    """
    kept = kept_keys(file)
    rotated = replace(kept, pseudonyms=(_next_key(kept), *kept.pseudonyms))
    _write(file, rotated)
    return rotated


def announce(file: Path) -> Keys:
    """Put a new key behind those that there are, for processes that share the file: the keys then.

    It makes no ids until `take_up`; but whoever has it finds the sessions that it will make at
    others. Raises as `rotate`, and Refused where one is announced already.
    """
    kept = kept_keys(file)
    if announced(kept) is not None:
        raise Refused("a key is announced already: `ai-assistant keys rotate` takes it up")
    told = replace(kept, pseudonyms=(*kept.pseudonyms, _next_key(kept)))
    _write(file, told)
    return told


def take_up(file: Path) -> Keys:
    """Make the announced key the one that new sessions' ids are made with: the keys after it.

    Raises as `rotate`, and Refused where none is announced: a process without the key would take
    who wrote at one that has it for somebody else.
    """
    kept = kept_keys(file)
    next_one = announced(kept)
    if next_one is None:
        raise Refused(
            "no key is announced: `ai-assistant keys announce` first, then restart all processes "
            "that take messages in"
        )
    others = (key for key in kept.pseudonyms if key != next_one)
    rotated = replace(kept, pseudonyms=(next_one, *others))
    _write(file, rotated)
    return rotated


def _number(key: Key) -> int:
    return int(key.id[1:]) if key.id[1:].isdecimal() else 0


def _next_key(kept: Keys) -> Key:
    # An id is never used again, so that no session is looked for under another key's id.
    return _key(max(map(_number, kept.pseudonyms)) + 1)


def announced(kept: Keys) -> Key | None:
    """The newest key, where it is not the one that makes ids."""
    newest = max(kept.pseudonyms, key=_number)
    return None if newest == kept.pseudonyms[0] else newest


def _read(file: Path) -> Keys:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Keys)
    except (msgspec.DecodeError, OSError) as error:
        raise Refused(
            f"{file} cannot be read ({error}): restore it; a new one would cut everybody off from "
            "their conversations"
        ) from None


def _make(file: Path) -> Keys:
    made = Keys(pseudonyms=(_key(1),), cookies=secrets.token_bytes(KEY_BYTES))
    _write(file, made)
    return made


def _key(number: int) -> Key:
    return Key(id=f"k{number}", secret=secrets.token_bytes(KEY_BYTES))


def _write(file: Path, made: Keys) -> None:
    """Whole or not at all, and durable before anything is named by a new key."""
    scratch = file.with_suffix(f".{os.getpid()}")
    try:
        try:
            with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
                out.write(msgspec.json.encode(made))
                out.flush()
                os.fsync(out.fileno())
            scratch.rename(file)
        finally:
            scratch.unlink(missing_ok=True)
        directory = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise not_written(str(file), error, fix="correct its owner") from None
