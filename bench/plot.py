"""A line chart as SVG, with both axes logarithmic: nothing is needed to draw it, and text stays text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Iterable, List, Sequence, Tuple
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 420, 300
LEFT, RIGHT, TOP, BOTTOM = 58, 16, 34, 44

COLOURS = ("#c0392b", "#1f77b4", "#2ca02c", "#9467bd", "#7f7f7f")
"""Told apart also by who sees few colours: the marks differ as well."""

MARKS = ("circle", "square", "triangle")


@dataclass(frozen=True)
class Line:
    label: str
    points: Tuple[Tuple[float, float], ...]


@dataclass(frozen=True)
class Chart:
    title: str
    x_label: str
    y_label: str
    lines: Tuple[Line, ...]


class _Axis:
    """From values to pixels."""

    def __init__(self, values: Iterable[float], start: float, end: float) -> None:
        positive = [value for value in values if value > 0] or [1.0]
        self.low, self.high = min(positive), max(positive)
        if self.low == self.high:
            self.low, self.high = self.low / 2, self.high * 2
        self._start, self._end = start, end

    def place(self, value: float) -> float:
        part = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        return self._start + part * (self._end - self._start)

    def ticks(self) -> List[float]:
        """1, 2 and 5 times powers of ten within the range."""
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        found = [factor * 10.0**power for power in range(first, last + 1) for factor in (1, 2, 5)]
        return [value for value in found if self.low * 0.999 <= value <= self.high * 1.001]


def drawn(charts: Sequence[Chart]) -> str:
    """The charts side by side, as one SVG document."""
    width = WIDTH * len(charts)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{HEIGHT}" '
        f'viewBox="0 0 {width} {HEIGHT}" font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{HEIGHT}" fill="white"/>',
    ]
    for number, chart in enumerate(charts):
        parts += [f'<g transform="translate({number * WIDTH} 0)">', *_chart(chart), "</g>"]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _chart(chart: Chart) -> List[str]:
    points = [point for line in chart.lines for point in line.points]
    x = _Axis((point[0] for point in points), LEFT, WIDTH - RIGHT)
    y = _Axis((point[1] for point in points), HEIGHT - BOTTOM, TOP)
    parts = [_text(WIDTH / 2, 16, chart.title, "middle", weight="bold")]
    for value in x.ticks():
        place = x.place(value)
        parts.append(_rule(place, TOP, place, HEIGHT - BOTTOM))
        parts.append(_text(place, HEIGHT - BOTTOM + 14, f"{value:,g}", "middle"))
    for value in y.ticks():
        place = y.place(value)
        parts.append(_rule(LEFT, place, WIDTH - RIGHT, place))
        parts.append(_text(LEFT - 5, place + 4, f"{value:,g}", "end"))
    parts.append(_text(WIDTH / 2, HEIGHT - 8, chart.x_label, "middle"))
    turned = f"translate(12 {HEIGHT / 2:.0f}) rotate(-90)"
    parts.append(f'<text transform="{turned}" text-anchor="middle">{escape(chart.y_label)}</text>')
    for number, line in enumerate(chart.lines):
        parts += _line(line, number, x, y)
    return parts


def _line(line: Line, number: int, x: _Axis, y: _Axis) -> List[str]:
    colour = COLOURS[number % len(COLOURS)]
    places = [(x.place(point[0]), y.place(point[1])) for point in line.points]
    path = " ".join(f"{left:.1f},{top:.1f}" for left, top in places)
    parts = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>']
    parts += [_mark(number, left, top, colour) for left, top in places]
    top = TOP + 12 + 14 * number
    parts.append(_mark(number, LEFT + 10, top - 4, colour))
    parts.append(_text(LEFT + 18, top, line.label, "start"))
    return parts


def _mark(number: int, left: float, top: float, colour: str) -> str:
    kind = MARKS[number % len(MARKS)]
    if kind == "circle":
        return f'<circle cx="{left:.1f}" cy="{top:.1f}" r="3.5" fill="{colour}"/>'
    if kind == "square":
        return f'<rect x="{left - 3.5:.1f}" y="{top - 3.5:.1f}" width="7" height="7" fill="{colour}"/>'
    corners = f"{left:.1f},{top - 4:.1f} {left - 4:.1f},{top + 3.5:.1f} {left + 4:.1f},{top + 3.5:.1f}"
    return f'<polygon points="{corners}" fill="{colour}"/>'


def _rule(left: float, top: float, right: float, bottom: float) -> str:
    return f'<path d="M{left:.1f} {top:.1f}L{right:.1f} {bottom:.1f}" stroke="#ddd"/>'


def _text(left: float, top: float, text: str, anchor: str, weight: str = "normal") -> str:
    return (
        f'<text x="{left:.1f}" y="{top:.1f}" text-anchor="{anchor}" font-weight="{weight}">{escape(text)}</text>'
    )
