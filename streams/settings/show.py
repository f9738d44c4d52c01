"""The settings as rows that a person may see: secrets masked, each value with its origin.

Read by `ai-assistant config show`. What it never does: reveal a secret.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from streams.settings.schema import Settings
from streams.settings.secret import MASK, Secret

_SECRET_NAME = re.compile(r"(?i)(secret|password|passwd|token|api_?key|credential)s?$")
SECTIONS = ("server", "engine", "flow", "model", "webchat", "skills", "operators", "kafka")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One setting. `value` is JSON that a person reads; a secret's is masked."""

    key: str
    value: object
    origin: str


def rows(settings: Settings, *, flow: Mapping[str, object] | None = None) -> list[Row]:
    """Every setting in the order of the files, with its value and origin.

    `flow`: the whole table [flow.config] with its defaults, where the flow has been asked for them.
    """
    origins = {origin.key: origin.source for origin in settings.origins}
    shown: list[Row] = []

    def add(key: str, value: object) -> None:
        if isinstance(value, msgspec.Struct):
            for field in msgspec.structs.fields(value):
                add(f"{key}.{field.name}", getattr(value, field.name))
        elif isinstance(value, msgspec.Raw):
            add_free(key, json.loads(bytes(value)))
        else:
            shown.append(Row(key=key, value=_plain(value), origin=_origin(key, value, origins)))

    def add_free(key: str, value: object) -> None:
        if isinstance(value, Mapping):
            for name, part in value.items():
                add_free(f"{key}.{name}", part)
        else:
            # What a skill keeps there is its own affair: what sounds like a secret is masked.
            add(key, Secret(str(value)) if _SECRET_NAME.search(key) else value)

    for section in SECTIONS:
        if section == "flow" and flow is not None:
            add("flow.name", settings.flow.name)
            add_free("flow.config", flow)
        else:
            add(section, getattr(settings, section))
    for account in settings.accounts:
        add(f"channels.{account.name}", account.channel)
    for n, strategy in enumerate(settings.fallbacks):
        add(f"fallback_strategies[{n}]", strategy)
    return shown


def _plain(value: object) -> object:
    if isinstance(value, Secret):
        return MASK
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _origin(key: str, value: object, origins: dict[str, str]) -> str:
    origin = origins.get(key, "default")
    # `${NAME}` and `file:/path` lead to a secret without telling it; a literal one is only masked.
    if isinstance(value, Secret) and value.source != "set":
        return f"{origin}, from {value.source}"
    return origin
