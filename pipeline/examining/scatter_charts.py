"""Charts of points: one number against another, and features in a plane."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from markupsafe import Markup

from dataset.display import clean
from pipeline.reports.charts import Axis, frame, svg, x_at, y_at

_LABEL_WIDTH, _LABEL_HEIGHT = 6.6, 15  # of a letter, and of a line, in the chart's pixels
COLOURS = 10
"""Classes that a page's style tells apart: p0 to p9."""


def scatter_chart(
    points: Sequence[tuple[str, float, float]],
    x_label: str,
    y_label: str,
    *,
    line: Sequence[tuple[float, float]] = (),
    y_most: float | None = None,
    marked: frozenset[str] = frozenset(),
) -> Markup:
    """Return named points (name, x, y); a name is written where there is room for it, and always shown when pointed at.

    Args:
        line: a curve, as points.
        y_most: the end of the upright axis, which then begins at 0; else it spans the points.
        marked: names of points in another colour.
    """
    kept = [(clean(name), x, y) for name, x, y in points if math.isfinite(x) and math.isfinite(y)]
    if not kept:
        return Markup('<p class="none">nothing to draw</p>')
    every = [(x, y) for _, x, y in kept] + list(line)
    x_axis = _widen_axis(min(x for x, _ in every), max(x for x, _ in every))
    lows = [0.0] if y_most is not None else []
    y_axis = _widen_axis(min([*lows, *(y for _, y in every)]), max(y for _, y in every) if y_most is None else y_most)
    parts = frame(x_axis, y_axis, x_label, y_label)
    if line:
        path = " ".join(f"{x_at(x_axis(x)):.1f},{y_at(y_axis(y)):.1f}" for x, y in line)
        parts.append(f'<polyline class="line s1" points="{path}"/>')
    taken: list[tuple[float, float, float]] = []
    for name, x, y in kept:
        across, down = x_at(x_axis(x)), y_at(y_axis(y))
        style = "p1" if name in marked else "p0"
        parts.append(
            f'<circle class="{style}" cx="{across:.1f}" cy="{down:.1f}" r="4"><title>{escape(name)}</title></circle>'
        )
        width = _LABEL_WIDTH * len(name)
        label_x = across + 7 if across + 7 + width < x_at(1.0) else across - 7 - width
        if len(name) <= 24 and all(
            abs(down - other) > _LABEL_HEIGHT or label_x > end or label_x + width < start for other, start, end in taken
        ):
            taken.append((down, label_x, label_x + width))
            parts.append(f'<text class="point" x="{label_x:.1f}" y="{down + 4:.1f}">{escape(name)}</text>')
    return svg(parts, f"{y_label} against {x_label}")


def plane_chart(
    points: Sequence[tuple[float, float, int]],
    background: Sequence[Sequence[float]],
    names: Mapping[int, tuple[str, Sequence[float]]],
) -> Markup:
    """Return features in a plane.

    Args:
        points: (x, y, class).
        background: (x, y) of others; what lies beyond the points is left out.
        names: of classes, and where they are written.
    """
    if not points:
        return Markup('<p class="none">nothing to draw</p>')
    xs, ys = [x for x, _, _ in points], [y for _, y, _ in points]
    x_axis, y_axis = _widen_axis(min(xs), max(xs)), _widen_axis(min(ys), max(ys))

    def place(x: float, y: float) -> tuple[float, float]:
        return x_at(x_axis(x)), y_at(y_axis(y))

    parts = []
    for x, y, *_ in background:
        if not (0 <= x_axis(x) <= 1 and 0 <= y_axis(y) <= 1):
            continue
        across, down = place(x, y)
        parts.append(f'<circle class="back" cx="{across:.1f}" cy="{down:.1f}" r="2"/>')
    for x, y, number in points:
        across, down = place(x, y)
        parts.append(f'<circle class="p{number % COLOURS}" cx="{across:.1f}" cy="{down:.1f}" r="2.4" opacity=".6"/>')
    taken: list[tuple[float, float, float]] = []
    for name, (x, y) in names.values():
        across, down = place(x, y)
        short = clean(name)[:24]
        half = _LABEL_WIDTH * len(short) / 2
        if all(
            abs(down - other) > _LABEL_HEIGHT or across - half > end or across + half < start
            for other, start, end in taken
        ):
            taken.append((down, across - half, across + half))
            parts.append(
                f'<text class="point" x="{across:.1f}" y="{down + 4:.1f}" text-anchor="middle">{escape(short)}</text>'
            )
    return svg(parts, "features in a plane")


def _widen_axis(low: float, high: float) -> Axis:
    """An axis with a little room at its upper end, and at its lower one if that is not 0."""
    room = 0.04 * (high - low) or 0.5
    return Axis(low - (room if low else 0.0), high + room)
