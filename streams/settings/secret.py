"""A value that is never shown: not by `str`, `repr`, a log line, a traceback, JSON or a pickle.

Made by `streams.settings.load`; revealed only at the call that hands it to the platform.
"""

import hmac
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from engine.errors import Refused

MASK = "••••"
SECRET_BYTES_MAX = 16 * 1024
"""Of a secret's file: a key or a certificate is shorter, a wrong path often leads to more."""

_FROM_ENV = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_PLACEHOLDER = re.compile(
    r"(?i)your[_\- ].*|<.*>|x{3,}|\*{3,}|change[_\- ]?me|replace[_\- ]?me|todo|placeholder"
)


class Secret:
    """A secret and where it came from: `set`, `${NAME}` or `file:/path` (never the value)."""

    __slots__ = ("_value", "source")

    def __init__(self, value: str, source: str = "set") -> None:
        self._value = value
        self.source = source

    def reveal(self) -> str:
        """The secret itself. Call it where it is used, and keep what it returns nowhere."""
        return self._value

    @property
    def is_placeholder(self) -> bool:
        """Whether it is what an example shows (`YOUR_APP_KEY`, `<token>`, nothing at all)."""
        return not self._value or _PLACEHOLDER.fullmatch(self._value) is not None

    def matches(self, offered: str) -> bool:
        """Whether somebody offered the right one, in a time that tells nothing about it."""
        return hmac.compare_digest(self._value.encode(), offered.encode("utf-8", "replace"))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.matches(other._value)

    def __hash__(self) -> int:
        return hash(("Secret", self.source))

    def __str__(self) -> str:
        return MASK

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled: the process that needs it loads its own settings")


def resolve(text: str, env: Mapping[str, str], *, base: Path) -> Secret:
    """The secret that a settings value names: `${NAME}`, `file:/path`, else the value itself.

    Raises: Refused where the variable or file is not there, without saying what is in it.
    """
    named = _FROM_ENV.fullmatch(text)
    if named:
        value = env.get(named[1], "")
        if not value:
            raise Refused(f"the environment variable {named[1]} is not set")
        return Secret(value, text)
    if text.startswith("file:"):
        return Secret(_read(base / text.removeprefix("file:")), text)
    if "${" in text:
        raise Refused("${NAME} must be the whole value, and NAME a variable's name")
    return Secret(text)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(SECRET_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise Refused(f"{path} cannot be read: {reason}") from None
    if len(content) > SECRET_BYTES_MAX:
        raise Refused(f"{path} has more than {SECRET_BYTES_MAX} bytes: it is no secret")
    try:
        # Editors and `echo` end a file with a line break that is no part of the secret.
        value = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise Refused(f"{path} is not UTF-8 text") from None
    if not value:
        raise Refused(f"{path} is empty")
    return value
