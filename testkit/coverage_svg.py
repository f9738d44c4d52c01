"""Coverage as a picture: the machine with its rows coloured by how often they were taken.

`Sketch` is what has to be known of a flow to draw it; it travels as JSON, so that a test process
without the flow draws what its workers measured. The drawing itself is `statemachines.svg`.
"""

import msgspec

from engine.flow import Timeout
from statemachines import svg
from statemachines.flow import Flow
from statemachines.table import Table
from testkit.coverage import Coverage, rounded


class Sketch(msgspec.Struct, frozen=True, kw_only=True):
    """A flow as far as a picture shows it."""

    table: Table
    initial: str
    timeouts: dict[str, Timeout]


def sketch(flow: Flow) -> Sketch:
    """What is drawn of a flow."""
    return Sketch(table=flow.table, initial=flow.initial, timeouts=dict(flow.timeouts))


def picture(sketch: Sketch, coverage: Coverage) -> str:
    """A complete SVG document; rows that can be taken and never were are red."""
    counts = {int(key[0]): count for key, count in coverage.counts("row").items()}
    title = f"{coverage.flow} · {rounded(coverage.percent())} % seen"
    return svg.draw(
        title,
        sketch.table,
        initial=sketch.initial,
        timeouts=sketch.timeouts,
        counts=counts,
    )
