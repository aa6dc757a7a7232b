"""What a job found: a row for each side, the figures that are wanted, and how busy the load was."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final, TypeAlias

# Above this share of its core, the load client may be what limited a figure.
BUSY_LIMIT: Final = 0.9


@dataclass(frozen=True, slots=True)
class Figure:
    """One number that the product promises."""

    what: str
    value: float
    target: float
    at_least: bool = False
    """Whether `target` is the least it should be, not the most."""

    @property
    def is_reached(self) -> bool:
        return self.value >= self.target if self.at_least else self.value <= self.target

    def __str__(self) -> str:
        bound = "at least" if self.at_least else "at most"
        verdict = "reached" if self.is_reached else "MISSED"
        return f"  {self.what}: {_text(self.value)}  (wanted: {bound} {self.target:g}; {verdict})"


Row: TypeAlias = dict[str, float]
"""Named numbers, in the order of their columns."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one job found. Times are in ms where a name does not say otherwise."""

    title: str
    rows: dict[str, Row]
    """By side."""
    figures: list[Figure]
    busy: float
    """The share of its core that the load client used at the busiest side, 0 to 1."""
    remarks: list[str] = field(default_factory=list)

    @property
    def is_limited(self) -> bool:
        """Whether the load client may have been the limit."""
        return self.busy > BUSY_LIMIT

    def as_json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "rows": self.rows,
            "figures": [
                {
                    "what": figure.what,
                    "value": figure.value,
                    "target": figure.target,
                    "at_least": figure.at_least,
                    "reached": figure.is_reached,
                }
                for figure in self.figures
            ],
            "load_busy": self.busy,
            "limited_by_load": self.is_limited,
            "remarks": self.remarks,
        }

    def as_text(self) -> str:
        # Sides that do not tell a number leave its place empty.
        columns = list(dict.fromkeys(name for row in self.rows.values() for name in row))
        widths = [max(len(name), 9) + 2 for name in columns]
        lines = [self.title, "  " + " " * 40 + _line(columns, widths)]
        for side, row in self.rows.items():
            cells = [_text(row[name]) if name in row else "" for name in columns]
            lines.append(f"  {side:40}" + _line(cells, widths))
        lines += [str(figure) for figure in self.figures]
        lines += [f"  {remark}" for remark in self.remarks]
        limit = ": LIMITED BY THE LOAD CLIENT" if self.is_limited else ""
        lines.append(f"  load client: {self.busy:.0%} of its core at most{limit}")
        return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def _text(value: float) -> str:
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2f}"


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of `values` lie.

    Raises:
        ValueError: there are none.
    """
    if not values:
        raise ValueError("nothing was measured")
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


class Latencies:
    """Seconds, in blocks; told in ms as the median of the blocks' quantiles."""

    def __init__(self) -> None:
        self._blocks: list[list[float]] = []

    def begin_block(self) -> list[float]:
        """A new, empty block, to be filled by the caller."""
        self._blocks.append([])
        return self._blocks[-1]

    def __len__(self) -> int:
        return sum(map(len, self._blocks))

    def quantile_ms(self, share: float) -> float:
        return median(quantile(block, share) for block in self._blocks if block) * 1e3

    @property
    def max_ms(self) -> float:
        return max(max(block) for block in self._blocks if block) * 1e3
