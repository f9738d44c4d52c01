"""What one microstep costs: `python -m bench.microstep [--json]`.

Measured in one run: the bare nested machine of `transitions`; the same rows through
`statemachines.machine`, which also records what was left, entered and considered; and whole steps
of the assistant through `engine.step`, encoding included.
"""

import argparse
import json
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from transitions.extensions.nesting import HierarchicalMachine, NestedState

from engine.events import Address, Event, MessageReceived, ModelReplied
from engine.session import Session
from engine.step import new_session, step
from statemachines.assistant import Assistant
from statemachines.machine import Machine
from statemachines.table import Definition, parse

STATES: list[Any] = [
    "new",
    dict(name="bot", initial="rest", children=["rest", "busy"]),
    "person",
]
ROWS = [
    dict(trigger="go", source="bot.rest", dest="bot.busy", before="note"),
    dict(trigger="back", source="bot.busy", dest="bot.rest", before="note"),
    dict(trigger="stay", source="bot.rest", dest=None, before="note"),
    dict(trigger="choose", source="bot.rest", dest="person", conditions="never"),
    dict(trigger="choose", source="bot.rest", dest="bot.busy", before="note"),
]


class _Separated(NestedState):
    separator = "."


class _Bare(HierarchicalMachine):
    state_cls = _Separated


def note(turn: Any) -> None: ...


def never(turn: Any) -> bool:
    return False


def best_us(work: Callable[[], object], *, calls: int = 2_000, rounds: int = 9) -> float:
    """CPU microseconds of one call, the best of several rounds: noise only ever adds."""
    found = []
    for _ in range(rounds):
        start = time.process_time()
        for _ in range(calls):
            work()
        found.append((time.process_time() - start) / calls * 1e6)
    return min(found)


def bare() -> dict[str, float]:
    """The library alone, used as its manual says."""
    model = SimpleNamespace(note=note, never=never)
    machine = _Bare(
        model=model,
        states=[dict(s) if isinstance(s, dict) else s for s in STATES],
        transitions=[dict(row) for row in ROWS],
        initial="bot.rest",
        auto_transitions=False,
    )

    def external() -> None:
        machine.trigger_event(model, "go", None)
        machine.trigger_event(model, "back", None)

    return {
        "bare_external_us": best_us(external) / 2,
        "bare_internal_us": best_us(lambda: machine.trigger_event(model, "stay", None)),
    }


def ours() -> dict[str, float]:
    """The same through our machine, recording included."""
    definition = Definition(states=STATES, transitions=ROWS, ignore={}, postpone={}, commands={})
    machine = Machine(parse(definition)[0], {"note": note, "never": never})
    rest: Any = SimpleNamespace(state="bot.rest", sealed=False)
    busy: Any = SimpleNamespace(state="bot.busy", sealed=False)

    def external() -> None:
        machine.move(rest, "go")
        machine.move(busy, "back")

    return {
        "external_us": best_us(external) / 2,
        "internal_us": best_us(lambda: machine.move(rest, "stay")),
        "second_row_us": best_us(lambda: machine.move(rest, "choose")),
    }


def steps() -> dict[str, float]:
    """A whole turn of the assistant: two steps of one microstep each."""
    flow = Assistant()
    fresh = new_session(flow, "s")
    address = Address(channel="bench", account="a", conversation="c", sender="p")

    def event(name: str, body: Any, *, effect: str | None = None) -> Event:
        return Event(
            id=f"s/{name}", session_id="s", at_ms=1, source="bench", body=body, effect=effect
        )

    first = event("1", MessageReceived(message_id="1", text="hi", address=address))
    asked = step(flow, fresh, first)
    reply = event("2", ModelReplied(text="hello"), effect=asked.record.effects[0].id)
    thinking: Session = asked.session
    return {
        "message_step_us": best_us(lambda: step(flow, fresh, first), calls=500),
        "reply_step_us": best_us(lambda: step(flow, thinking, reply), calls=500),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    measured = {name: round(us, 1) for name, us in (bare() | ours() | steps()).items()}
    if arguments.json:
        print(json.dumps(measured))
        return
    for name, us in measured.items():
        print(f"{name:20} {us:8.1f}")


if __name__ == "__main__":
    main()
