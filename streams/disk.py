"""What it means that a file of the data directory could not be written.

Called where files are written at the start (`streams.embedded.data_dir`, the operators' token). A
full disk may clear up, so whoever starts tries again; a directory of somebody else's will not.
"""

import errno

from engine.errors import EngineError, Refused, Unavailable

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""The disk, this user's share of it, or what this process may write, is used up."""


def not_written(what: str, error: OSError, *, fix: str) -> EngineError:
    """The error to raise: Unavailable where space is missing, else Refused with this fix."""
    if error.errno in NO_SPACE:
        return Unavailable(f"{what} cannot be written: {error.strerror}; free some space")
    return Refused(f"{what} cannot be written: {error.strerror}; {fix}")
