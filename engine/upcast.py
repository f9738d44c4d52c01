"""Old schemas to the newest, one small pure function for each version that ever was.

`UPCASTERS[(record, n)]` turns the plain values of schema n into those of schema n + 1. A schema is
raised together with its upcaster and a recorded history that stays in the tests. A session holds
events (postponed ones) and a step record holds effects: where the inner form changes, both schemas
are raised, and the outer one's upcaster converts what is inside. There is no older schema yet:
every record is at schema 1.
"""

from collections.abc import Callable
from typing import Any

from engine.errors import InvalidRecord
from engine.events import EVENT_SCHEMA
from engine.session import SESSION_SCHEMA, STEP_SCHEMA

Plain = dict[str, Any]
NEWEST = {"event": EVENT_SCHEMA, "session": SESSION_SCHEMA, "step": STEP_SCHEMA}
UPCASTERS: dict[tuple[str, int], Callable[[Plain], Plain]] = {}


def to_newest(record: str, plain: Plain) -> Plain:
    """The same object where it is of the newest schema; else a new one. Raises InvalidRecord."""
    schema = plain.get("schema", 1)
    newest = NEWEST[record]
    if not isinstance(schema, int):
        raise InvalidRecord(f"{record}: its schema is a {type(schema).__name__}, no number")
    if schema < 1 or schema > newest:
        raise InvalidRecord(
            f"{record} of schema {schema}: this version reads 1 to {newest}; "
            "a newer version wrote it"
        )
    while schema < newest:
        try:
            plain = {**UPCASTERS[record, schema](plain), "schema": schema + 1}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            fault = type(error).__name__
            raise InvalidRecord(f"{record} of schema {schema} is not one: {fault}") from None
        schema += 1
    return plain
