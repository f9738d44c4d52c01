"""The flows that every law is tried on, each with the version that `Activate` switches to."""

from collections.abc import Callable, Sequence

from engine.effects import FallbackStrategy
from engine.flow import Flow
from statemachines.assistant import Assistant
from statemachines.assistant_config import AssistantConfig, SkillTrigger
from statemachines.leave_request import LeaveRequest
from tests.engine_laws.table_flow import TableFlow

Flows = Callable[[], Sequence[Flow]]

_SKILLS = (SkillTrigger(name="sum", trigger_words=("sum",)),)
_FALLBACKS = (FallbackStrategy(pattern="^ERROR", action="escalate_to_human"),)


def _assistants() -> dict[str, list[Flow]]:
    """Each busy policy, with and without what else can be switched on."""
    made: dict[str, list[Flow]] = {}
    for busy in ("queue", "merge", "interrupt", "steer"):
        plain = AssistantConfig(busy=busy)  # type: ignore[arg-type]
        rich = AssistantConfig(
            busy=busy,  # type: ignore[arg-type]
            greeting="hello",
            settle_s=2,
            skills=_SKILLS,
            recogniser=True,
            fallback_strategies=_FALLBACKS,
            on_failure="person",
        )
        made[f"assistant, {busy}"] = [Assistant(rich), Assistant(plain)]
        made[f"plain assistant, {busy}"] = [Assistant(plain)]
    return made


# A flow holds nothing of a session, so one instance serves all examples.
_FLOWS: dict[str, list[Flow]] = {
    "table": [TableFlow(), TableFlow(version=2)],
    "table with a way out": [TableFlow(way_out="works"), TableFlow(version=2, way_out="works")],
    "table with a broken way out": [TableFlow(way_out="broken")],
    **_assistants(),
    "leave request": [LeaveRequest()],
}
NAMES = tuple(_FLOWS)


def flows(name: str) -> Sequence[Flow]:
    """The flows of this name, the active one first."""
    return tuple(_FLOWS[name])
