"""What a flow's machine shows by itself, beyond what its load check refuses.

Read by the tests of `DialogTests`, before any dialog is made. It derives from the table alone, runs
no step, and judges no dialog.
"""

from collections.abc import Sequence

from statemachines import arrivals
from statemachines.flow import Flow


def left_by_people_only(flow: Flow, *, rests: Sequence[str] = ()) -> list[str]:
    """The leaves that only a person's doing leads out of: no timer, no request's end or deadline.

    Who goes away leaves the dialog there for ever. The initial leaf is where a dialog rests;
    `rests`: states (leaves, or those around them) that are meant so, too.
    """
    found = arrivals.derive(type(flow), flow.table, initial=flow.initial, config=flow.config)
    meant = {flow.initial, *rests}
    return [
        leaf
        for leaf in flow.table.leaves
        if leaf in found.triggers
        and meant.isdisjoint(flow.table.paths[leaf])
        and not any(edge.seconds is not None and edge.dest != leaf for edge in found.out_of(leaf))
    ]
