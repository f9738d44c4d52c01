"""Reads and writes history files; builds the flow that a history was recorded with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from engine import codec
from engine.events import Event, FlowActivated, FlowRef
from engine.flow import Flow
from tests.engine_laws.table_flow import TableFlow
from tests.histories.flows.assistant_1 import Assistant
from tests.histories.flows.leave_request_1 import LeaveRequest

FOLDER = Path(__file__).parent
FLOWS = {("assistant", 1): Assistant, ("leave_request", 1): LeaveRequest}
"""What was recorded with, frozen in `tests.histories.flows`."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What the first event of a history met."""

    ref: FlowRef
    config: msgspec.Raw = msgspec.Raw(b"{}")


class History(NamedTuple):
    """A flow, the events, and the canonical bytes of the step record of each."""

    header: Header
    events: list[Event]
    records: list[bytes]


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.jsonl"))


def read(name: str) -> History:
    lines = (FOLDER / f"{name}.jsonl").read_bytes().splitlines()
    header = msgspec.json.decode(lines[0], type=Header)
    return History(header, [codec.decode_event(line) for line in lines[1::2]], lines[2::2])


def write(name: str, header: Header, events: Sequence[Event], records: Sequence[bytes]) -> None:
    """Raises FileExistsError: a history is never recorded over."""
    lines = [msgspec.json.encode(header)]
    for event, record in zip(events, records, strict=True):
        lines += [codec.encode(event), record]
    with (FOLDER / f"{name}.jsonl").open("xb") as file:
        file.write(b"\n".join(lines) + b"\n")


def build(ref: FlowRef, config: msgspec.Raw) -> Flow:
    """The flow of a ref, under that very ref.

    A ref's digest changes with the number of the engine's semantics and the name of a module, and
    histories are for ever: what they prove is that the same events still lead to the same steps.
    """
    if ref.name == "table":
        return TableFlow(version=ref.version, way_out=ref.digest[8:])
    kind = FLOWS[ref.name, ref.version]
    flow: Any = kind(msgspec.json.decode(config, type=kind.Config))
    object.__setattr__(flow, "ref", ref)
    return flow  # type: ignore[no-any-return]


def flows_of(history: History) -> list[Flow]:
    """The flow that each event of the history meets."""
    flow = build(history.header.ref, history.header.config)
    found = []
    for event in history.events:
        if isinstance(event.body, FlowActivated):
            flow = build(event.body.flow, event.body.config)
        found.append(flow)
    return found
