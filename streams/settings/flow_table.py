"""The table [flow.config], judged by the type that the flow declares for it.

`load` leaves that table unread, since only the flow knows its keys; this is called where the flow
is built, with the same words for what is wrong as everywhere in the settings. What it never does:
change a value.
"""

import msgspec

from streams.settings import files
from streams.settings.schema import Settings
from streams.settings.table import Reading, joined
from streams.settings.wrong import WrongSettings

KEY = "flow.config"


def check_flow_table(settings: Settings, kind: type[msgspec.Struct]) -> None:
    """Check [flow.config] as a record of this type.

    Raises: WrongSettings with a line for each thing that is wrong: file or variable, key, what was
    found, what is allowed.
    """
    try:
        msgspec.json.decode(settings.flow.config, type=kind)
    except msgspec.ValidationError as error:
        reading = Reading(
            settings.directory / files.ASSISTANT if settings.directory else None, env={}
        )
        reading.origins += settings.origins  # so that a problem names the place of its value
        reading.section(kind, msgspec.json.decode(settings.flow.config), key=KEY)
        raise WrongSettings(joined(reading.problems) or f"{KEY}: {error}") from None
