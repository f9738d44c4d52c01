"""Records the histories that are not there yet: `python -m tests.histories.record`.

A flow of another version is recorded with a copy of its own in `tests.histories.flows`.
"""

from collections.abc import Sequence

import msgspec

from engine.effects import FallbackStrategy
from engine.flow import Flow
from tests.engine_laws.strategies import (
    DAY_MS,
    HOUR_MS,
    Activate,
    Again,
    Feedback,
    Late,
    Lost,
    Operator,
    Outcome,
    Play,
    Redrive,
    Say,
    Stimulus,
    Stop,
    Undelivered,
    Wait,
)
from tests.engine_laws.table_flow import TableFlow
from tests.histories.files import Header, names, write
from tests.histories.flows.assistant_1 import Assistant
from tests.histories.flows.assistant_config_1 import AssistantConfig, SkillTrigger
from tests.histories.flows.leave_request_1 import LeaveRequest

_BUSY = (
    *(Say("hello"), Wait(None), Say("wait, 先说这个"), Wait(None), Outcome(0), Wait(5_000)),
    *(Say("sum up what I said"), Wait(None), Say("and then?"), Say("and that?"), Outcome(0)),
    *(Wait(None), Say("one more"), Wait(None), Outcome(0), Wait(None), Outcome(0), Again(0)),
    *(Say("why?"), Wait(None), Outcome(0, "fail"), Say("stop that"), Wait(None), Stop(), Late(1)),
    *(Say("who?"), Wait(None), Wait(None), Wait(None), Feedback("up"), Wait(2 * HOUR_MS)),
    *(Say("now a person"), Wait(None), Outcome(0, "fallback"), Say("are you there?")),
    *(Operator("I am"), Say("good"), Operator(""), Say("人工"), Wait(HOUR_MS), Undelivered(0)),
)
_ODD = (
    *(Say("hi"), Wait(None, wakes=False), Say("steer"), Say("hi"), Wait(None), Outcome(0)),
    *(Say("hop"), Outcome(0, "twice"), Say("at once"), Say("refuse"), Say("plain"), Wait(None)),
    *(Outcome(0), Say("which"), Wait(None), Say("also"), Outcome(0), Outcome(0, "break")),
    *(Say("steer"), Wait(None), Say("more"), Stop(), Outcome(0), Say("steer"), Wait(None)),
    *(Activate(), Say("skill"), Wait(None), *(Say(f"n{i}") for i in range(9)), Outcome(0, "fail")),
    *(Say("loop"), Say("raise"), Say("grow"), Say("misplace"), Say("old", DAY_MS + 1), Redrive(0)),
    *(Lost("lost"), Redrive(0), Again(-1), Stop(0), Say("hi"), Wait(None), Stop(-1), Outcome(0)),
    *(Say("steer"), Wait(None), *(Say(f"t{i}") for i in range(21))),
    *(
        Wait(-5_000),
        Again(3),
        Late(0),
        Say("human"),
        Activate(),
        Operator("yes"),
        Wait(26 * HOUR_MS),
    ),
)
_FORM = (
    *(Say("I want leave"), Say("annual"), Say("whenever"), Say("2030-01-02"), Say("2029-12-31")),
    *(Say("2030-01-05"), Say("a wedding"), Say("maybe"), Say("no"), Say("sick"), Say("tomorrow")),
    *(Say("2030-01-02"), Say("ill"), Say("yes"), Say("leave"), Say("cancel"), Say("cancel")),
    *(Say("leave"), Wait(None), Say("leave"), Stop(), Again(2)),
)


def _assistant(busy: str) -> Flow:
    return Assistant(
        AssistantConfig(
            busy=busy,  # type: ignore[arg-type]
            greeting="Hello!",
            settle_s=2 if busy in ("merge", "steer") else 0,
            system_prompt="Be brief.",
            skills=(SkillTrigger(name="summary", trigger_words=("sum up", "总结")),),
            recogniser=busy == "interrupt",
            fallback_strategies=(FallbackStrategy(pattern="^ERROR", action="escalate_to_human"),),
            on_failure="person" if busy == "queue" else "apologise",
        )
    )


def main() -> None:
    """Record what is missing, and name it."""
    wanted: dict[str, tuple[Sequence[Flow], Sequence[Stimulus]]] = {
        f"assistant_1_{busy}": ([_assistant(busy)], _BUSY)
        for busy in ("queue", "merge", "interrupt", "steer")
    }
    wanted["leave_request_1"] = ([LeaveRequest()], _FORM)
    for way_out in ("none", "works", "broken"):
        flows = [TableFlow(version=version, way_out=way_out) for version in (1, 2)]
        wanted[f"table_{way_out}"] = (flows, _ODD)
    for name in wanted.keys() - set(names()):
        flows, stimuli = wanted[name]
        play = Play(flows).play(stimuli)
        config = msgspec.Raw(msgspec.json.encode(flows[0].config))
        header = Header(ref=play.flow_of[0].ref, config=config)
        write(name, header, play.events, [done.encoded_record for done in play.steps])
        print(f"recorded {name}: {len(play.events)} events")


if __name__ == "__main__":
    main()
