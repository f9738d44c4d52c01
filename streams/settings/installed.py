"""What is wrong with the settings that only the installed flows and skills can judge.

Asked where the settings are wrong anyway, so that a person reads everything at once; where nothing
else is wrong, building the flow says the same. It imports the flow: a good start does that once,
later. What it never does: run a skill.
"""

from collections.abc import Iterable
from pathlib import Path

from engine.errors import Refused
from streams.settings.flow_table import table_problems
from streams.settings.schema import FlowSettings, Origin, Skills


def flow_problems(flow: FlowSettings, *, file: Path | None, origins: Iterable[Origin]) -> list[str]:
    """What is wrong with [flow]: its name, or its table as that flow declares it."""
    from statemachines import registry

    try:
        kind = registry.find(flow.name).Config
    except Refused as error:
        return [str(error)]
    return table_problems(flow, kind, file=file, origins=origins)


def skill_problems(skills: Skills) -> list[str]:
    """The enabled skills that are not installed."""
    from adapters.skills.registry import listed

    installed = [source.entry for source in listed()]
    return [
        f"skills.enabled: found {name!r}, which is not installed; allowed: {', '.join(installed)}"
        for name in skills.enabled
        if name not in installed
    ]
