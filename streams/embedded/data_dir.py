"""The data directory: where the embedded host keeps its log and the secrets it made itself.

Made at the first start, mode 0700. `keys.json` holds the pseudonym keys, newest first, and the key
that signs web chat's cookies: lose it, and nobody finds their old conversations again.
"""

import os
import secrets
from pathlib import Path

import msgspec

from engine.errors import Refused
from engine.pseudonym import Key

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
    """Make the directory where there is none. Raises Refused where it cannot be written."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = path / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise Refused(
            f"data directory {path} cannot be written: {error.strerror}; "
            "set another with --data, or correct its owner"
        ) from None


def keys(path: Path) -> Keys:
    """The keys of this directory, made on the first call. Raises Refused where they are damaged."""
    file = path / KEYS_FILE
    try:
        return msgspec.json.decode(file.read_bytes(), type=Keys)
    except FileNotFoundError:
        return _make(file)
    except (msgspec.DecodeError, OSError) as error:
        raise Refused(
            f"{file} cannot be read ({error}): restore it; a new one would cut everybody off from "
            "their conversations"
        ) from None


def _make(file: Path) -> Keys:
    made = Keys(
        pseudonyms=(Key(id="k1", secret=secrets.token_bytes(KEY_BYTES)),),
        cookies=secrets.token_bytes(KEY_BYTES),
    )
    scratch = file.with_suffix(f".{os.getpid()}")
    with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        out.write(msgspec.json.encode(made))
        out.flush()
        os.fsync(out.fileno())
    scratch.rename(file)
    return made
