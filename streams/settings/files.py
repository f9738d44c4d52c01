"""Finds the settings directory and reads its two files into raw tables.

Called by `load`. What it never does: judge a key or a value; only what the formats themselves say
(JSON, TOML, UTF-8, a key given twice) is refused here, with line and column.
"""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from engine.errors import Refused

IM_ADAPTER = "im_adapter.json"
ASSISTANT = "assistant.toml"
DIRECTORY_VARIABLE = "AI_ASSISTANT_CONFIG"
LOCAL_DIRECTORY = Path("config")
SYSTEM_DIRECTORY = Path("/etc/ai-config")
FILE_BYTES_MAX = 1024 * 1024


def find_directory(given: Path | None, env: Mapping[str, str]) -> Path | None:
    """The settings directory, or None where there is none.

    Raises: Refused where one that was asked for is not there.
    """
    named = env.get(DIRECTORY_VARIABLE, "")
    if given is not None:
        return _must_be_there(given, "--config")
    if named:
        return _must_be_there(Path(named).expanduser(), DIRECTORY_VARIABLE)
    # Many projects have a folder `config` of their own: it is ours only if a file of ours is in it.
    places = (LOCAL_DIRECTORY, SYSTEM_DIRECTORY)
    return next((p for p in places if (p / IM_ADAPTER).exists() or (p / ASSISTANT).exists()), None)


def _must_be_there(path: Path, asked_by: str) -> Path:
    if path.is_dir():
        return path
    found = "a file" if path.exists() else "nothing"
    raise Refused(
        f"{asked_by}: {path}: found {found}; allowed: a directory with {ASSISTANT} and {IM_ADAPTER}"
        " (either may be missing)"
    )


def read(path: Path) -> object:
    """The file's content as plain tables; an empty table where there is no such file.

    Raises: Refused with file, line and column where it cannot be read or parsed.
    """
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise Refused(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > FILE_BYTES_MAX:
        raise Refused(f"{path}: found more than {FILE_BYTES_MAX} bytes; allowed: at most 1 MiB")
    try:
        # Some editors put a byte order mark first; it means nothing in UTF-8.
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused(f"{path}: found a byte at {error.start} that is not UTF-8 text") from None
    try:
        if path.suffix == ".toml":
            return tomllib.loads(text)
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise Refused(f"{path}: not {path.suffix[1:].upper()}: {error}") from None


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    table = dict(pairs)
    if len(table) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        # JSON readers take the last one in silence; a person changed the first and wonders.
        raise ValueError(f"the key {', '.join(twice)} is given twice in one object")
    return table


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")
