"""A flow as an SVG picture: a small layout of its own, for the few dozen states that a dialog has.

Top-level states stand in columns, in the order of the table; children stand below each other inside
their parent. An arrow bundles all rows between two states and bears their numbers; the rows
themselves are the legend below. Rows that stay, or begin a state again, stand in its box.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape

from engine.flow import Timeout
from statemachines.svg_heat import Heat
from statemachines.table import SAME, SEPARATOR, Row, Table

_CHAR = 7.3  # the width of a character at 13 px, a little more than most fonts need
_SMALL = 6.3  # … and at 11 px
_LINE = 17
_PAD = 16
_GAP = 46  # between states that stand below each other: an arrow's number fits in
_COLUMN_GAP = 130
_LANE = 26
_STYLE = """
svg { font-family: system-ui, "Noto Sans", "Noto Sans CJK SC", sans-serif; background: #fff }
.state { fill: #fff; stroke: #475569; stroke-width: 1.3 }
.box { fill: #f1f5f9; stroke: #94a3b8 }
.person { fill: #fef3c7; stroke: #b45309 }
.name { font-size: 13px; font-weight: 600; fill: #0f172a }
.note { font-size: 11px; fill: #64748b }
.title { font-size: 15px; font-weight: 600; fill: #0f172a }
.row { font-size: 12px; fill: #1e293b }
.dim { fill: #64748b }
.head { fill: #475569 }
.edge { fill: none; stroke: #475569; stroke-width: 1.3 }
.time { stroke: #b45309; stroke-dasharray: 5 3 }
.tag { fill: #fff; stroke: #cbd5e1 }
.number { font-size: 11px; fill: #0f172a; text-anchor: middle }
@media (prefers-color-scheme: dark) {
  svg { background: #0f172a } .state { fill: #1e293b; stroke: #94a3b8 }
  .box { fill: #172033; stroke: #475569 } .person { fill: #422006; stroke: #f59e0b }
  .name, .title, .number { fill: #f1f5f9 } .row { fill: #e2e8f0 } .note, .dim { fill: #94a3b8 }
  .edge { stroke: #cbd5e1 } .time { stroke: #f59e0b } .tag { fill: #0f172a; stroke: #475569 }
  .head { fill: #cbd5e1 }
}
"""


def duration(ms: int) -> str:
    """`45 s`, `30 min`, `2 h`: as a person says it."""
    seconds = ms // 1_000
    if seconds >= 3_600 and seconds % 3_600 == 0:
        return f"{seconds // 3_600} h"
    return f"{seconds // 60} min" if seconds >= 120 and seconds % 60 == 0 else f"{seconds} s"


def guards(row: Row) -> str:
    """The row's conditions as a person says them."""
    names = [*row.conditions, *(f"not {name}" for name in row.unless)]
    return " and ".join(names)


@dataclass(kw_only=True, eq=False)
class _Box:
    """A state's rectangle; `lines` stand in it below the name, each a text and the rows behind it.

    `place`: its order in the table.
    """

    name: str
    place: int
    column: int
    children: list["_Box"]
    lines: list[tuple[str, tuple[int, ...]]]
    x: float = 0
    y: float = 0
    width: float = 0
    height: float = 0

    @property
    def short(self) -> str:
        return self.name.rpartition(SEPARATOR)[2]


@dataclass(kw_only=True, eq=False)
class _Arrow:
    """All rows from one state to another, and the sides at which the arrow touches the two.

    `reach`: how far an arrow swings out that leads to a state above or below.
    """

    source: _Box
    dest: _Box
    rows: list[int]
    by_time: bool
    sides: tuple[str, str]
    reach: float = 0

    @property
    def swings(self) -> bool:
        return self.sides in (("left", "left"), ("right", "right"))

    @property
    def span(self) -> int:
        return abs(self.source.place - self.dest.place)


def draw(
    title: str,
    table: Table,
    *,
    initial: str,
    timeouts: Mapping[str, Timeout],
    counts: Mapping[int, int] | None = None,
) -> str:
    """The picture as a complete SVG document. `counts`: how often each row was taken, in colour."""
    heat = Heat(counts)
    boxes: dict[str, _Box] = {}
    tops = [
        _box(table, name, timeouts, boxes)
        for name, state in table.states.items()
        if state.parent is None
    ]
    arrows = list(_arrows(table, boxes, timeouts))
    room = _swing(arrows)
    lanes = sum(arrow.sides == ("top", "top") for arrow in arrows)
    for box in tops:
        _size(box, room)
    top = 60 + _LANE * lanes
    width, height = _arrange(tops, top)
    legend = [_legend(row, heat) for row in table.rows]
    longest = max((len(left) + len(right) for _, left, right in legend), default=0)
    width = max(width, 60 + longest * 6.6)
    total = height + 44 + _LINE * 1.25 * len(legend)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{total:.0f}" '
        f'viewBox="0 0 {width:.0f} {total:.0f}" role="img" aria-label="{escape(title)}">',
        f"<style>{_STYLE}{heat.style}</style>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="9" '
        'markerHeight="9" markerUnits="userSpaceOnUse" orient="auto">'
        '<path class="head" d="M0 0 8 4 0 8z"/></marker></defs>',
        f'<text class="title" x="24" y="32">{escape(title)}</text>',
        *(part for box in tops for part in _drawn(box, table, initial, heat=heat)),
        *_drawn_arrows(arrows, top, heat=heat),
        *_drawn_legend(legend, height + 30),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


# ---- layout -----------------------------------------------------------------------------------


def _box(table: Table, name: str, timeouts: Mapping[str, Timeout], boxes: dict[str, _Box]) -> _Box:
    place = len(boxes)
    top = table.paths[name][-1]
    columns = [state.name for state in table.states.values() if state.parent is None]
    lines: list[tuple[str, tuple[int, ...]]] = []
    if name in timeouts:
        lines.append((f"{duration(timeouts[name].after_ms)}: {timeouts[name].trigger}", ()))
    for mark, dest in (("stays", None), ("again", SAME)):
        rows = tuple(r.index for r in table.rows if name in r.sources and r.dest == dest)
        if rows:
            lines.append((f"{mark}: ", rows))
    box = _Box(name=name, place=place, column=columns.index(top), children=[], lines=lines)
    boxes[name] = box
    box.children = [_box(table, child, timeouts, boxes) for child in table.states[name].children]
    return box


def _size(box: _Box, room: float) -> None:
    """`room`: what children leave free on both sides, for arrows that swing out."""
    text = [len(box.short) * _CHAR + 14, *(_length(*line) * _SMALL for line in box.lines)]
    box.width = max(110.0, *text) + 2 * _PAD
    box.height = 30 + _LINE * len(box.lines)
    if not box.children:
        return
    for child in box.children:
        _size(child, room)
    widest = max(child.width for child in box.children)
    for child in box.children:
        child.width = widest
    box.width = max(box.width, widest + 2 * room)
    inner = sum(child.height for child in box.children) + _GAP * (len(box.children) - 1)
    box.height += inner + 2 * _PAD


def _length(text: str, rows: tuple[int, ...]) -> int:
    return len(text) + len(", ".join(map(str, rows)))


def _arrange(tops: list[_Box], top: float) -> tuple[float, float]:
    """Columns from left to right, each in the middle; the width and the bottom of all."""
    bottom = top + max(box.height for box in tops)
    x = 24.0
    for box in tops:
        _move(box, x, top + (bottom - top - box.height) / 2)
        x += box.width + _COLUMN_GAP
    return x - _COLUMN_GAP + 24, bottom


def _move(box: _Box, x: float, y: float) -> None:
    box.x, box.y = x, y
    inner = y + 30 + _LINE * len(box.lines) + _PAD / 2
    for child in box.children:
        _move(child, x + (box.width - child.width) / 2, inner)
        inner += child.height + _GAP


# ---- arrows -----------------------------------------------------------------------------------


def _arrows(
    table: Table, boxes: Mapping[str, _Box], timeouts: Mapping[str, Timeout]
) -> Iterator[_Arrow]:
    timers = {timeout.trigger for timeout in timeouts.values()}
    bundles: dict[tuple[str, str], list[Row]] = {}
    for row in table.rows:
        if row.dest is not None and row.dest != SAME:
            for source in row.sources:
                if source != row.dest or table.states[source].children:
                    bundles.setdefault((source, row.dest), []).append(row)
    for (source, dest), rows in bundles.items():
        yield _Arrow(
            source=boxes[source],
            dest=boxes[dest],
            rows=[row.index for row in rows],
            by_time=all(row.trigger in timers for row in rows),
            sides=_sides(table, boxes[source], boxes[dest]),
        )


def _sides(table: Table, source: _Box, dest: _Box) -> tuple[str, str]:
    distance = dest.column - source.column
    if abs(distance) > 1:
        return "top", "top"
    if distance:
        return ("right", "left") if distance > 0 else ("left", "right")
    if source.name in table.paths[dest.name]:
        return "inner", "left"
    if dest.name in table.paths[source.name]:
        return "right", "inner"
    side = "right" if dest.place > source.place else "left"
    return side, side


def _swing(arrows: list[_Arrow]) -> float:
    """Let longer arrows swing out further than those inside them; the room that they need."""
    furthest = 0.0
    for side in ("left", "right"):
        outwards = sorted(
            (arrow for arrow in arrows if arrow.sides == (side, side)), key=lambda a: a.span
        )
        for rank, arrow in enumerate(outwards):
            arrow.reach = 34 + 22 * rank
            furthest = max(furthest, arrow.reach)
    return max(60.0, furthest * 0.75 + 36)


def _ports(arrows: list[_Arrow]) -> dict[tuple[_Arrow, int], tuple[float, float]]:
    """Where each arrow's two ends touch their boxes: spread over the side, crossing little."""
    at_side: dict[tuple[_Box, str], list[tuple[_Arrow, int]]] = {}
    for arrow in arrows:
        for end, (box, side) in enumerate(
            zip((arrow.source, arrow.dest), arrow.sides, strict=True)
        ):
            at_side.setdefault((box, side), []).append((arrow, end))
    found = {}
    for (box, side), ends in at_side.items():
        ends.sort(key=lambda item: _order(*item))
        for place, item in enumerate(ends):
            part = (place + 1) / (len(ends) + 1)
            if side == "top":
                found[item] = (box.x + box.width * part, box.y)
            else:
                x = box.x if side == "left" else box.x + box.width
                found[item] = (x, box.y + (box.height - 12) * part + 6)
    return found


def _order(arrow: _Arrow, end: int) -> tuple[int, float]:
    """From top to bottom: what swings up, near before far; across; down, far before near."""
    other = arrow.source if end else arrow.dest
    own = arrow.dest if end else arrow.source
    if not arrow.swings:
        return 1, other.y + other.height / 2
    return (0, arrow.reach) if other.place < own.place else (2, -arrow.reach)


def _drawn_arrows(arrows: list[_Arrow], top: float, *, heat: Heat) -> Iterator[str]:
    lane = 0
    ports = _ports(arrows)
    for arrow in arrows:
        start, end = ports[arrow, 0], ports[arrow, 1]
        if arrow.sides[0] == "inner":  # from the parent's border straight to its child
            start = (arrow.source.x, end[1])
        if arrow.sides[1] == "inner":
            end = (arrow.dest.x + arrow.dest.width, start[1])
        if arrow.sides[0] == "top":
            lane += 1
            path, middle = _above(start, end, top - _LANE * lane)
        else:
            path, middle = _curve(start, end, arrow)
        time = " time" if arrow.by_time else ""
        warmth = heat.of(arrow.rows)
        yield f'<path class="edge{time}{warmth}" d="{path}" marker-end="url(#head)"/>'
        yield from _tag(middle, arrow.rows, heat=heat)


def _above(
    start: tuple[float, float], end: tuple[float, float], y: float
) -> tuple[str, tuple[float, float]]:
    """A lane above the columns between."""
    way = 12 if end[0] > start[0] else -12
    path = (
        f"M{start[0]:.0f} {start[1]:.0f}V{y + 12:.0f}"
        f"Q{start[0]:.0f} {y:.0f} {start[0] + way:.0f} {y:.0f}H{end[0] - way:.0f}"
        f"Q{end[0]:.0f} {y:.0f} {end[0]:.0f} {y + 12:.0f}V{end[1] - 1:.0f}"
    )
    return path, ((start[0] + end[0]) / 2, y)


def _curve(
    start: tuple[float, float], end: tuple[float, float], arrow: _Arrow
) -> tuple[str, tuple[float, float]]:
    """A cubic curve that leaves and meets its boxes at right angles, and its middle."""
    reach = arrow.reach if arrow.swings else max(30.0, abs(end[0] - start[0]) * 0.45)
    one = start[0] + (-reach if arrow.sides[0] == "left" else reach)
    two = end[0] + (reach if arrow.sides[1] == "right" else -reach)
    path = (
        f"M{start[0]:.0f} {start[1]:.0f}C{one:.0f} {start[1]:.0f} "
        f"{two:.0f} {end[1]:.0f} {end[0]:.0f} {end[1]:.0f}"
    )
    middle_x = (start[0] + 3 * one + 3 * two + end[0]) / 8
    return path, (middle_x, (start[1] + end[1]) / 2)


# ---- drawing ----------------------------------------------------------------------------------


def _drawn(box: _Box, table: Table, initial: str, *, heat: Heat) -> Iterator[str]:
    state = table.states[box.name]
    kind = " person" if state.hands_over else (" box" if box.children else "")
    parent = table.states[state.parent] if state.parent else None
    first = box.name == (parent.initial if parent else table.paths[initial][-1])
    yield (
        f'<rect class="state{kind}" x="{box.x:.0f}" y="{box.y:.0f}" width="{box.width:.0f}" '
        f'height="{box.height:.0f}" rx="9"/>'
    )
    left = box.x + _PAD
    if first:
        yield f'<circle cx="{left + 3:.0f}" cy="{box.y + 16:.0f}" r="4" class="number"/>'
        left += 14
    yield f'<text class="name" x="{left:.0f}" y="{box.y + 20:.0f}">{escape(box.short)}</text>'
    for place, (line, rows) in enumerate(box.lines):
        y = box.y + 20 + _LINE * (place + 1)
        shown = escape(line) + heat.numbers(rows)
        yield f'<text class="note" x="{box.x + _PAD:.0f}" y="{y:.0f}">{shown}</text>'
    for child in box.children:
        yield from _drawn(child, table, initial, heat=heat)


def _tag(middle: tuple[float, float], rows: list[int], *, heat: Heat) -> Iterator[str]:
    width = max(20.0, _length("", tuple(rows)) * 6.2 + 10)
    x, y = middle
    yield (
        f'<rect class="tag" x="{x - width / 2:.0f}" y="{y - 8:.0f}" width="{width:.0f}" '
        'height="16" rx="8"/>'
    )
    yield f'<text class="number" x="{x:.0f}" y="{y + 4:.0f}">{heat.numbers(rows)}</text>'


def _legend(row: Row, heat: Heat) -> tuple[str, str, str]:
    """The class of the row's line in the legend, what it does, and when."""
    does = f" · {', '.join(row.callbacks)}" if row.callbacks else ""
    condition = guards(row)
    dest = {None: "stays", SAME: "again"}.get(row.dest, f"→ {row.dest}")
    left = f"{row.index}  {row.trigger}: {', '.join(row.sources)} {dest}{heat.count(row.index)}"
    return heat.of((row.index,)), left, f"{f' if {condition}' if condition else ''}{does}"


def _drawn_legend(legend: list[tuple[str, str, str]], top: float) -> Iterator[str]:
    for place, (warmth, left, right) in enumerate(legend):
        y = top + _LINE * 1.25 * place
        yield (
            f'<text class="row{warmth}" x="24" y="{y:.0f}">{escape(left)}'
            f'<tspan class="dim">{escape(right)}</tspan></text>'
        )
