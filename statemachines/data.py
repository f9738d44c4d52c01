"""The two records that a flow declares: its data, and its configuration.

Both are frozen, and checked from their types when the flow is loaded: equal records must give equal
bytes in any process, so no set, no dict, no float and nothing mutable may be in them.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import inspect

from engine.errors import InvalidRecord, Refused

Seconds = Annotated[int, msgspec.Meta(ge=0)]
"""A duration in a configuration: whole seconds of log time."""


T = TypeVar("T", bound=msgspec.Struct)


class FlowData(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Base of a flow's own record of one dialog. Every field has a default: a new dialog."""


class FlowConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Base of a flow's configuration; a part of its flow ref, so never a secret.

    Every field has a default. What the engine itself says may be fields or properties: `apology`
    when a step failed, `queue_full` when a message is refused because too many wait.
    """

    @property
    def apology(self) -> str:
        return "Sorry, something went wrong. Please try again. 抱歉，出了点问题，请再试一次。"

    @property
    def queue_full(self) -> str:
        return "Too many messages are waiting, please wait. 排队的消息太多了，请稍候。"


def encode(record: msgspec.Struct) -> bytes:
    """Canonical bytes: fields in the order declared, all of them."""
    # Defaults are written, too: msgspec leaves them out by identity, not by equality.
    return msgspec.json.encode(record)


def carried_over(data: bytes, kind: type[T]) -> T:
    """What of another version's data still fits, field by field; defaults for the rest."""
    try:
        written = msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        raise InvalidRecord(f"data of another version: {error}") from None
    fitting: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        if isinstance(written, dict) and field.name in written:
            with suppress(msgspec.ValidationError):
                fitting[field.name] = msgspec.convert(written[field.name], field.type)
    return kind(**fitting)


def check_config(config: FlowConfig) -> bytes:
    """The configuration's canonical bytes. Raises Refused where a value has not its type."""
    written = encode(config)
    try:
        msgspec.json.decode(written, type=type(config))
    except msgspec.ValidationError as error:
        raise Refused(f"{type(config).__qualname__}: {error}") from None
    return written


_PLAIN = (
    inspect.StrType,
    inspect.IntType,
    inspect.BoolType,
    inspect.NoneType,
    inspect.BytesType,
    inspect.LiteralType,
    inspect.EnumType,
)


def unfit(kind: type[msgspec.Struct]) -> list[tuple[str, str]]:
    """The fields, and why, that may not be in a flow's data or configuration."""
    found: list[tuple[str, str]] = []
    for field in inspect.type_info(kind).fields:  # type: ignore[attr-defined]
        for reason in _reasons(field.type):
            found.append((field.name, reason))
        if field.required:
            found.append((field.name, "has no default"))
    return found


def _reasons(kind: inspect.Type) -> Iterator[str]:
    if isinstance(kind, inspect.Metadata):
        yield from _reasons(kind.type)
    elif isinstance(kind, inspect.UnionType):
        for part in kind.types:
            yield from _reasons(part)
    elif isinstance(kind, inspect.VarTupleType):
        yield from _reasons(kind.item_type)
    elif isinstance(kind, inspect.TupleType):
        for part in kind.item_types:
            yield from _reasons(part)
    elif isinstance(kind, inspect.StructType):
        if not kind.cls.__struct_config__.frozen:
            yield f"{kind.cls.__name__} is not frozen"
        for field in kind.fields:
            yield from _reasons(field.type)
    elif not isinstance(kind, _PLAIN):
        name = type(kind).__name__.removesuffix("Type").lower()
        yield f"is of a kind that has no canonical bytes or can be changed: {name}"
