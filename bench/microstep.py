"""What one microstep costs: `python -m bench.microstep [--json]`.

Measured are a flow's `move` (the machine's choice, the move and its record) beside the bare nested
machine of `transitions` doing the same, and whole steps through `engine.step`.
"""

import argparse
import json
import time
from collections.abc import Callable
from types import SimpleNamespace

from transitions.extensions.nesting import HierarchicalMachine, NestedState

from statemachines import totality
from statemachines.flow import Flow


class _Separated(NestedState):
    separator = "."


class _Bare(HierarchicalMachine):
    state_cls = _Separated


class _Small(Flow):
    """A nested state tree of the usual depth, with one condition and one callback."""

    name, version, initial = "small", 1, "new"
    states = ["new", dict(name="bot", initial="rest", children=["rest", "busy"]), "person"]
    transitions = [
        dict(trigger="go", source="bot.rest", dest="bot.busy", before="note"),
        dict(trigger="back", source="bot.busy", dest="bot.rest", before="note"),
        dict(trigger="stay", source="bot.rest", dest=None, before="note"),
        dict(trigger="choose", source="bot.rest", dest="person", conditions="never"),
        dict(trigger="choose", source="bot.rest", dest="bot.busy", before="note"),
    ]

    def note(self, turn: object) -> None: ...

    def never(self, turn: object) -> bool:
        return False


def best_us(work: Callable[[], object], *, calls: int = 2_000, rounds: int = 7) -> float:
    """Microseconds of one call, the best of several rounds: noise only ever adds."""
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(calls):
            work()
        found.append((time.perf_counter() - start) / calls * 1e6)
    return min(found)


def bare() -> dict[str, float]:
    """The library alone, the model registered as its manual says."""
    model = SimpleNamespace(note=lambda turn: None, never=lambda turn: False)
    machine = _Bare(
        model=model,
        states=[dict(s) if isinstance(s, dict) else s for s in _Small.states],
        transitions=[dict(row) for row in _Small.transitions],
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
    """The same rows through a flow, with what was left, entered and considered recorded."""
    flow = _Small()
    rest = SimpleNamespace(state="bot.rest", sealed=False)
    busy = SimpleNamespace(state="bot.busy", sealed=False)

    def external() -> None:
        flow.move(rest, "go")  # type: ignore[arg-type]
        flow.move(busy, "back")  # type: ignore[arg-type]

    return {
        "external_us": best_us(external) / 2,
        "internal_us": best_us(lambda: flow.move(rest, "stay")),  # type: ignore[arg-type]
        "second_row_us": best_us(lambda: flow.move(rest, "choose")),  # type: ignore[arg-type]
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    measured = {name: round(us, 1) for name, us in (bare() | ours()).items()}
    if parser.parse_args().json:
        print(json.dumps(measured))
        return
    for name, us in measured.items():
        print(f"{name:20} {us:8.1f}")


if __name__ == "__main__":
    main()
