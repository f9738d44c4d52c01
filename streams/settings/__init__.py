"""What a person may set: two files and the environment, read once at start into frozen records.

Place in the data path: before it. `load` is called at the edge (console); everything behind it gets
the `Settings` record, or only the section that it needs.

    <directory>/im_adapter.json    the IM channels and the fallback strategies
    <directory>/assistant.toml     server, engine, flow, model, web chat, skills, operators, Kafka

The directory is `--config`, else AI_ASSISTANT_CONFIG, else ./config, else /etc/ai-config. Without
directory or files every value has its default. The environment wins over the files.

What it never does: guess. A key that is unknown or wrong refuses the start, and all that is wrong
is told at once. And it never shows a secret.
"""

from streams.settings.flow_table import check_flow_table
from streams.settings.installed import flow_problems
from streams.settings.load import load
from streams.settings.schema import (
    Account,
    Engine,
    FlowSettings,
    ImChannel,
    Kafka,
    Model,
    Operators,
    Origin,
    RateLimit,
    Server,
    Settings,
    Skills,
    WebChat,
    is_loopback,
)
from streams.settings.secret import Secret
from streams.settings.show import Row, rows
from streams.settings.skill_tables import skill_tables
from streams.settings.table import joined
from streams.settings.token import operator_token
from streams.settings.wrong import WrongSettings

__all__ = [
    "Account",
    "Engine",
    "FlowSettings",
    "ImChannel",
    "Kafka",
    "Model",
    "Operators",
    "Origin",
    "RateLimit",
    "Row",
    "Secret",
    "Server",
    "Settings",
    "Skills",
    "WebChat",
    "WrongSettings",
    "check_flow_table",
    "flow_problems",
    "is_loopback",
    "joined",
    "load",
    "operator_token",
    "rows",
    "skill_tables",
]
