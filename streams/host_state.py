"""What a host tells about itself and its sessions, to people: records, the same on every host.

Made by hosts, shown by the console. It never holds more of a conversation than an operator needs.
"""

import msgspec

from engine.events import Count, Ms
from engine.personal import Personal


class HandedOver(msgspec.Struct, frozen=True, kw_only=True):
    """A session that a person has taken over, or is to take over, as operators see it.

    `waiting`: messages nobody has answered yet. `since_ms`: when it was handed over.
    """

    session_id: str
    channel: str
    account: str
    state: str
    since_ms: Ms
    last_ms: Ms
    last_text: Personal
    waiting: Count


class HostState(msgspec.Struct, frozen=True, kw_only=True):
    """How the host is, in numbers: for the command line and for probes.

    `reason`: why it is not ready; empty where it is. `lag`: events taken and not yet durable.
    """

    ready: bool
    reason: str
    version: str
    flow: str
    started_ms: int
    sessions: int
    events: int
    lag: int
    undelivered: int
    dead_letters: int
