"""The environment's settings: which variable is which key.

    AI_ASSISTANT_SERVER__BIND   server.bind: section and key of assistant.toml, joined by two
                                underscores; a third part is a key of a table, as in
                                AI_ASSISTANT_FLOW__CONFIG__SETTLE_S
    MODEL_PATH                  model.path
    MAX_TOKENS                  model.max_tokens
    AI_ASSISTANT_DATA           server.data_dir
    AI_ASSISTANT_CONFIG         the settings directory itself

An empty variable counts as not set: compose files and manifests pass such on. A name without two
underscores is none of ours: Kubernetes makes AI_ASSISTANT_SERVICE_HOST for a service of this name.
"""

from collections.abc import Mapping
from typing import NamedTuple

PREFIX = "AI_ASSISTANT_"
SHORT_NAMES = {
    "MODEL_PATH": "model.path",
    "MAX_TOKENS": "model.max_tokens",
    "AI_ASSISTANT_DATA": "server.data_dir",
}


class Variable(NamedTuple):
    """A variable that is set, and its text."""

    name: str
    text: str


def read(env: Mapping[str, str]) -> dict[str, list[Variable]]:
    """The variables by the key they set; more than one variable may name one key."""
    found: dict[str, list[Variable]] = {}
    for name, text in sorted(env.items()):
        key = SHORT_NAMES.get(name)
        if key is None and name.startswith(PREFIX) and "__" in name:
            key = name.removeprefix(PREFIX).lower().replace("__", ".")
        if key is not None and text:
            found.setdefault(key, []).append(Variable(name, text))
    return found


def name_of(key: str) -> str:
    """The variable that sets a key of assistant.toml."""
    return PREFIX + key.upper().replace(".", "__")
