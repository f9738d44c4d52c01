"""The explicit table of flows, and how a recorded flow ref is built again.

A name leads to a class here or to an installed plugin's; nothing is found by scanning. What it
never does: keep an instance for anybody. A host builds one and holds it.
"""

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points

import msgspec

from engine.errors import Refused
from engine.events import FlowRef
from statemachines.assistant import Assistant
from statemachines.flow import Flow
from statemachines.leave_request import LeaveRequest

FLOWS: tuple[type[Flow], ...] = (Assistant, LeaveRequest)
PLUGINS = "ai_assistant.flows"
"""The entry-point group of installed plugins: each entry is a `Flow` class."""


def known() -> Mapping[tuple[str, int], type[Flow]]:
    """All flows by name and version, a plugin's too.

    Raises: Refused where two have the same, or a plugin cannot be imported.
    """
    found: dict[tuple[str, int], type[Flow]] = {}
    plugins = (_loaded(entry) for entry in entry_points(group=PLUGINS))
    for flow in (*FLOWS, *plugins):
        if not (isinstance(flow, type) and issubclass(flow, Flow)):
            raise Refused(f"{flow!r} is in {PLUGINS} but is no Flow class: correct the plugin")
        key = (flow.name, flow.version)
        if key in found:
            first = found[key].__module__
            raise Refused(
                f"flow {flow.name}@{flow.version} is in {first} and in {flow.__module__}: "
                "remove one, or give it another version"
            )
        found[key] = flow
    return found


def _loaded(entry: EntryPoint) -> object:
    package = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "without a name"
    try:
        return entry.load()
    except (Exception, SystemExit) as error:  # whatever a plugin's module does when it is imported
        raise Refused(
            f"the flow plugin {entry.name} = {entry.value} of package {package} cannot be "
            f"imported: it raised {type(error).__name__}. Correct or uninstall that package; "
            f'`python -c "import {entry.module}"` shows where it fails'
        ) from error


def find(name: str) -> type[Flow]:
    """A flow class by `name` (its newest version) or `name@version`. Raises Refused."""
    wanted, _, version = name.partition("@")
    flows = known()
    versions = sorted(number for known_name, number in flows if known_name == wanted)
    if not versions:
        names = ", ".join(sorted({known_name for known_name, _ in flows}))
        raise Refused(f"there is no flow {wanted!r}; there are: {names}")
    if version and (not version.isdecimal() or int(version) not in versions):
        there = ", ".join(map(str, versions))
        raise Refused(f"there is no version {version!r} of flow {wanted!r}; there are: {there}")
    return flows[wanted, int(version) if version else versions[-1]]


def build(ref: FlowRef | str, config: bytes = b"{}") -> Flow:
    """The flow with this configuration (JSON). Raises Refused, FlowError among it.

    Where a ref is given, its digest must come out: else code or configuration have changed.
    """
    name = f"{ref.name}@{ref.version}" if isinstance(ref, FlowRef) else ref
    kind = find(name)
    try:
        configuration = msgspec.json.decode(config, type=kind.Config)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(f"configuration of flow {name}: {error}") from None
    flow = kind(configuration)
    if isinstance(ref, FlowRef) and flow.ref != ref:
        raise Refused(
            f"flow {ref} is not here: the code here makes {flow.ref} of that configuration; "
            "run the release that recorded it"
        )
    return flow
