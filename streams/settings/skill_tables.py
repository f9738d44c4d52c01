"""Each skill's own settings, with its secrets looked up: what a skill's context holds.

The tables stay unread in `Settings`, so that nothing shows their secrets; this is called once,
where the skills' processes are started.
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from engine.errors import Refused
from streams.settings.schema import Settings
from streams.settings.secret import resolve


def skill_tables(settings: Settings, env: Mapping[str, str]) -> dict[str, dict[str, object]]:
    """The tables [skills.settings.NAME] by name; `${ENV_NAME}` and `file:/path` are looked up.

    Raises: Refused where a secret is not where its setting says.
    """
    base = settings.directory.absolute() if settings.directory else Path.cwd()
    tables: dict[str, dict[str, object]] = msgspec.json.decode(settings.skills.settings)
    return {
        name: {
            key: _looked_up(value, f"skills.settings.{name}.{key}", env, base=base)
            for key, value in table.items()
        }
        for name, table in tables.items()
    }


def _looked_up(value: object, key: str, env: Mapping[str, str], *, base: Path) -> object:
    if not isinstance(value, str):
        return value
    try:
        return resolve(value, env, base=base).reveal()
    except Refused as error:
        raise Refused(f"{key}: {error}") from None
