"""How often each row was taken, as colour: red where never, else the bluer and wider the oftener;
grey where it cannot be.

Used by `statemachines.svg` where it is given counts; without them a picture has no heat. It knows
rows by their number only.
"""

from collections.abc import Iterable, Mapping

STYLE = """
.hot1 { stroke: #60a5fa; stroke-width: 1.6 } .hot2 { stroke: #2563eb; stroke-width: 2.2 }
.hot3 { stroke: #1e3a8a; stroke-width: 3 } .cold { stroke: #dc2626; stroke-width: 1.6 }
text.hot1, tspan.hot1 { fill: #2f7fdc; stroke: none } text.hot2, tspan.hot2 { fill: #2563eb; stroke: none }
text.hot3, tspan.hot3 { fill: #1e3a8a; stroke: none }
text.cold, tspan.cold { fill: #dc2626; stroke: none; font-weight: 700 }
.gone { stroke: #cbd5e1 } text.gone, tspan.gone { fill: #64748b; stroke: none }
@media (prefers-color-scheme: dark) {
  .hot1 { stroke: #3b82f6 } .hot2 { stroke: #60a5fa } .hot3 { stroke: #bfdbfe }
  text.hot1, tspan.hot1 { fill: #3b82f6 } text.hot2, tspan.hot2 { fill: #60a5fa }
  text.hot3, tspan.hot3 { fill: #bfdbfe } .cold { stroke: #f87171 }
  text.cold, tspan.cold { fill: #f87171 }
  .gone { stroke: #475569 } text.gone, tspan.gone { fill: #94a3b8 }
}
"""  # noqa: E501


class Heat:
    """The colours of a picture. `counts`: by row, none for those that cannot be taken; None leaves
    everything as it is."""

    def __init__(self, counts: Mapping[int, int] | None) -> None:
        self._counts = counts
        self._most = max((counts or {}).values(), default=0)

    @property
    def style(self) -> str:
        """What is added to the picture's style sheet."""
        return "" if self._counts is None else STYLE

    def of(self, rows: Iterable[int]) -> str:
        """The class of what stands for these rows together, with a space before it."""
        counts = [count for row in rows if (count := self._count(row)) is not None]
        if not counts:
            return "" if self._counts is None else " gone"
        count = sum(counts)
        if not count:
            return " cold"
        # By orders of magnitude: half of the most is as hot as the most.
        share = count.bit_length() / max(1, self._most.bit_length())
        return " hot3" if share > 0.85 else " hot2" if share > 0.5 else " hot1"

    def numbers(self, rows: Iterable[int]) -> str:
        """The rows' numbers, each in its colour, as the inside of a text."""
        if self._counts is None:
            return ", ".join(map(str, rows))
        return ", ".join(f'<tspan class="{self.of((row,)).strip()}">{row}</tspan>' for row in rows)

    def count(self, row: int) -> str:
        """What the legend says of a row."""
        if self._counts is None:
            return ""
        count = self._count(row)
        if count is None:
            return " — cannot be"
        return f" — {count} ×" if count else " — never"

    def _count(self, row: int) -> int | None:
        return None if self._counts is None else self._counts.get(row)
