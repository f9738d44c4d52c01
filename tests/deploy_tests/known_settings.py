"""Which variables the assistant understands: a misspelt one would be ignored, or refused at start.

Asked of the settings themselves, so that compose file and manifests follow every change of them.
"""

import typing
from collections.abc import Iterable

from streams.settings import environment
from streams.settings.load import _AssistantFile

PYTHONS = frozenset({"HOME", "LANG", "PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"})


def unknown(names: Iterable[str]) -> list[str]:
    """Those of these variables that nobody reads."""
    sections = typing.get_type_hints(_AssistantFile)
    keys = {
        f"{section}.{field}"
        for section, kind in sections.items()
        for field in kind.__struct_fields__
    }
    found = []
    for name in names:
        if name in PYTHONS or name == "AI_ASSISTANT_CONFIG":
            continue
        read = list(environment.read({name: "x"}))
        if not read or read[0] not in keys:
            found.append(name)
    return found
