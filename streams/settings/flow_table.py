"""The table [flow.config], judged by the type that the flow declares for it.

`load` leaves that table unread, since only the flow knows its keys; this is called where the flow
is built, with the same words for what is wrong as everywhere in the settings. What it never does:
change a value.
"""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from streams.settings import files
from streams.settings.schema import FlowSettings, Origin, Settings
from streams.settings.table import Reading, joined
from streams.settings.wrong import WrongSettings

KEY = "flow.config"


def check_flow_table(settings: Settings, kind: type[msgspec.Struct]) -> None:
    """Check [flow.config] as a record of this type.

    Raises: WrongSettings with a line for each thing that is wrong: file or variable, key, what was
    found, what is allowed.
    """
    file = settings.directory / files.ASSISTANT if settings.directory else None
    problems = table_problems(settings.flow, kind, file=file, origins=settings.origins)
    if problems:
        raise WrongSettings(joined(problems))


def table_problems(
    flow: FlowSettings, kind: type[msgspec.Struct], *, file: Path | None, origins: Iterable[Origin]
) -> list[str]:
    """A line for each thing that is wrong with the table; `origins` say where its values stand."""
    try:
        msgspec.json.decode(flow.config, type=kind)
    except msgspec.ValidationError as error:
        reading = Reading(file, env={})
        reading.origins += origins
        reading.section(kind, msgspec.json.decode(flow.config), key=KEY)
        return reading.problems or [f"{KEY}: {error}"]
    return []
