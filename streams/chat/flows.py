"""The flow that the top of a `.chat` file names, with its configuration.

Beside `pure` and the worlds of others: they all need it. It keeps no flow.
"""

import importlib
from pathlib import Path
from traceback import extract_tb

import msgspec

from engine.errors import Refused
from statemachines import registry
from statemachines.flow import Flow, FlowError
from streams.chat.lines import Head, Setting
from streams.settings.table import allowed, hint, shown


class WrongSetting(Refused):
    """A field of the configuration that the flow does not know, or a value that it does not take.

    `field`: its name.
    """

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field}: {why}")
        self.field = field


def build(head: Head) -> Flow:
    """`flow: NAME` from the registry, or `flow: module:Class`.

    Raises Refused, WrongSetting and FlowError among it.
    """
    module, _, name = head.flow.partition(":")
    kind = _imported(module, name) if name else registry.find(head.flow)
    for setting in head.config:
        _check(setting, kind)
    fields = (f"{msgspec.json.encode(one.name).decode()}:{one.value}" for one in head.config)
    config = f"{{{','.join(fields)}}}".encode()
    try:
        configured = msgspec.json.decode(config, type=kind.Config)
    except msgspec.DecodeError as error:
        raise Refused(f"configuration of flow {head.flow}: {error}") from None
    try:
        return kind(configured)
    except FlowError:
        raise
    except Exception as error:  # its own `build`: it may raise anything
        raise Refused(f"flow {head.flow} does not load: {told_of(error)}") from None


def _check(setting: Setting, kind: type[Flow]) -> None:
    types = {field.name: field.type for field in msgspec.structs.fields(kind.Config)}
    if setting.name not in types:
        names = ", ".join(types) or "none"
        why = f"flow {kind.name} has no such setting; allowed: {names}"
        raise WrongSetting(setting.name, why + hint(setting.name, list(types)))
    value = msgspec.json.decode(setting.value)
    try:
        msgspec.convert(value, types[setting.name])
    except msgspec.ValidationError:
        why = f"found {shown(value)}; allowed: {allowed(types[setting.name])}"
        raise WrongSetting(setting.name, why) from None


def _imported(module: str, name: str) -> type[Flow]:
    try:
        found = getattr(importlib.import_module(module), name)
    except FlowError:
        raise
    except Exception as error:  # somebody's own module: it may raise anything
        why = f"{type(error).__name__}: {error}"
        raise Refused(f"flow: {module}:{name} cannot be imported: {why}") from None
    if not (isinstance(found, type) and issubclass(found, Flow)):
        raise Refused(f"flow: {module}:{name} is no Flow class")
    return found


def told_of(error: Exception) -> str:
    """An error of somebody's own code in one line, with the place in it where it was raised."""
    frames = extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"


def name_of(flow: object) -> str:
    """What to write behind `flow:`, so that `build` finds its class again."""
    kind = type(flow)
    for known in registry.FLOWS:
        if known is kind:
            return known.name
    return f"{kind.__module__}:{kind.__qualname__}"


__all__ = ["FlowError", "WrongSetting", "build", "name_of", "told_of"]
