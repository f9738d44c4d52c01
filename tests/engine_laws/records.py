"""One of each record there is, made from the types, with a given text in what is marked personal.

Made from the types, so that a new record or field is tried without anybody thinking of it.
"""

from collections.abc import Iterator
from typing import Any, get_args

import msgspec
from msgspec import inspect

from engine.codec import RECORDS
from engine.effects import Effect, EffectBody
from engine.events import Body, Event
from engine.ports import Frame, Incoming, Line

_MORE = (Incoming, Line, Frame)


def records(personal: str) -> list[msgspec.Struct]:
    """One of each: every kind of event and effect, and all else that is written somewhere."""
    kinds = {part for kind in (*RECORDS, *_MORE) for part in (get_args(kind) or (kind,))}
    plain = [made(kind, personal) for kind in sorted(kinds, key=lambda kind: str(kind.__name__))]
    bodies = [
        msgspec.structs.replace(made(envelope, personal), body=made(body, personal))
        for envelope, union in ((Event, Body), (Effect, EffectBody))
        for body in get_args(union)
    ]
    return [*plain, *bodies]


def made(kind: Any, personal: str) -> Any:
    """A value of this type, with every field filled."""
    return _value(inspect.type_info(kind), personal, marked=False)


def fields_of(kind: Any) -> Iterator[tuple[str, bool]]:
    """The name of each text field, however deep, and whether it is marked personal."""
    yield from _texts(inspect.type_info(kind), "", marked=False)


def _value(info: inspect.Type, personal: str, *, marked: bool) -> Any:
    match info:
        case inspect.Metadata():
            return _value(info.type, personal, marked=_marks(info))
        case inspect.StructType():
            return info.cls(**{f.name: _value(f.type, personal, marked=False) for f in info.fields})
        case inspect.UnionType():
            return _value(info.types[0], personal, marked=marked)
        case inspect.VarTupleType():
            return (_value(info.item_type, personal, marked=marked),)
        case inspect.StrType():
            return personal if marked else "x"
        case inspect.RawType():
            return msgspec.Raw(msgspec.json.encode({"said": personal if marked else "x"}))
        case inspect.IntType():
            return 1
        case inspect.BoolType():
            return True
        case inspect.BytesType():
            return personal.encode() if marked else b""
        case inspect.LiteralType():
            return info.values[0]
        case _:
            raise TypeError(f"no value for {info}: teach this file the type")


def _texts(info: inspect.Type, name: str, *, marked: bool) -> Iterator[tuple[str, bool]]:
    match info:
        case inspect.Metadata():
            yield from _texts(info.type, name, marked=_marks(info))
        case inspect.StructType():
            for field in info.fields:
                yield from _texts(field.type, field.name, marked=False)
        case inspect.UnionType():
            for part in info.types:
                yield from _texts(part, name, marked=marked)
        case inspect.VarTupleType():
            yield from _texts(info.item_type, name, marked=marked)
        case inspect.StrType():
            yield name, marked


def _marks(info: inspect.Metadata) -> bool:
    return bool((info.extra or {}).get("personal"))
