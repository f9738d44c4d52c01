"""The operators' token: the one that is set, else a local one that the data directory keeps.

Whoever may read the data directory may be an operator: that is how the command line on the same
machine works without any configuration.
"""

import os
import secrets
from pathlib import Path

from streams.disk import not_written
from streams.settings.schema import Settings
from streams.settings.secret import Secret

FILE_NAME = "operator.token"
TOKEN_BYTES = 24


def operator_token(settings: Settings) -> Secret:
    """The token that operators show, made and kept (mode 0600) on the first call if none is set.

    Two processes that ask at once get the same one.

    Raises: Refused where the data directory cannot be written, Unavailable where there is no space.
    """
    if settings.operators.token is not None:
        return settings.operators.token
    path = settings.server.data_dir / FILE_NAME
    try:
        return _kept(path) or _make(path)
    except OSError as error:
        what, fix = f"the operators' token in {path}", "correct its owner"
        raise not_written(what, error, fix=fix) from error


def _kept(path: Path) -> Secret | None:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    return Secret(text, f"file:{path}") if text else None


def _make(path: Path) -> Secret:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    scratch = path.with_name(f".{FILE_NAME}.{os.getpid()}")
    try:
        with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(TOKEN_BYTES) + "\n")
        # A link is made whole or not at all, and only one of two processes makes it.
        os.link(scratch, path)
    except FileExistsError:
        if not path.read_bytes().strip():
            scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
    kept = _kept(path)
    if kept is None:
        raise OSError(0, "it is empty")
    return kept
