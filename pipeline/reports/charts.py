"""Small SVG charts that take their colours from the page's CSS, so that they suit light, dark and paper.

Classes that the page's style names: axis, grid, label, rule, s0, s1, … (series).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

WIDTH, HEIGHT = 560, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 14, 44
_TICKS = 5


@dataclass(frozen=True)
class Axis:
    """One axis: where values lie in [0, 1], and its ticks."""

    low: float
    high: float
    log: bool = False

    def __call__(self, value: float) -> float:
        if self.log:
            value, low, high = math.log10(max(value, self.low)), math.log10(self.low), math.log10(self.high)
        else:
            low, high = self.low, self.high
        return (value - low) / (high - low) if high > low else 0.5

    def ticks(self) -> list[float]:
        """Round values within the axis, lowest first."""
        if self.log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            step = max(1, math.ceil((last - first + 1) / (_TICKS + 2)))
            return [10.0**power for power in range(first, last + 1, step)]
        rough = (self.high - self.low) / _TICKS
        if rough <= 0:
            return [self.low]
        scale = 10 ** math.floor(math.log10(rough))
        step = scale * next(factor for factor in (1, 2, 5, 10) if factor * scale >= rough - 1e-12)
        first = math.ceil(self.low / step - 1e-9)
        return [step * number for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


def lines(
    series: Mapping[str, Sequence[tuple[float, float]]],
    x_label: str,
    y_label: str,
    *,
    log: bool = False,
    rule: tuple[str, float] | None = None,
) -> Markup:
    """Return curves, with a legend if there are several.

    Args:
        series: points (x, y) of each curve; `log` makes both axes logarithmic and leaves out points at or below 0.
        rule: a horizontal line, with its name.
    """
    kept = {
        name: [(x, y) for x, y in points if math.isfinite(y) and (not log or (x > 0 and y > 0))]
        for name, points in series.items()
    }
    every = [point for points in kept.values() for point in points]
    if not every:
        return Markup('<p class="none">nothing to draw yet</p>')
    heights = [y for _, y in every] + ([rule[1]] if rule and (rule[1] > 0 or not log) else [])
    x_axis = Axis(min(x for x, _ in every), max(x for x, _ in every), log)
    low, high = min(heights), max(heights)
    if not log:
        low = min(0.0, low)
        high += 0.05 * (high - low)
    y_axis = Axis(low, high, log)
    parts = frame(x_axis, y_axis, x_label, y_label)
    for number, (name, points) in enumerate(kept.items()):
        path = " ".join(f"{x_at(x_axis(x)):.1f},{y_at(y_axis(y)):.1f}" for x, y in points)
        parts.append(f'<polyline class="line s{number}" points="{path}"><title>{escape(name)}</title></polyline>')
    if rule and (rule[1] > 0 or not log):
        top = y_at(y_axis(rule[1]))
        parts.append(f'<line class="rule" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{top:.1f}" y2="{top:.1f}"/>')
        parts.append(
            f'<text class="label" x="{WIDTH - _RIGHT - 4}" y="{top - 5:.1f}" text-anchor="end">{escape(rule[0])}</text>'
        )
    return svg(parts, f"{y_label} over {x_label}") + (_legend(list(kept)) if len(kept) > 1 else Markup())


def columns(values: Sequence[tuple[str, float]], x_label: str, y_label: str) -> Markup:
    """Return one column for each (label, value), in the order given; labels are thinned where they would overlap."""
    if not any(value for _, value in values):
        return Markup('<p class="none">nothing to draw yet</p>')
    y_axis = Axis(0, max(value for _, value in values) * 1.05)
    parts = frame(None, y_axis, x_label, y_label)
    width = (WIDTH - _LEFT - _RIGHT) / len(values)
    longest = max(len(label) for label, _ in values)
    every = max(1, math.ceil((longest * 6.5 + 8) / width))
    for number, (label, value) in enumerate(values):
        left, top = _LEFT + number * width, y_at(y_axis(value))
        parts.append(
            f'<rect class="s0" x="{left + width * 0.08:.1f}" y="{top:.1f}" width="{width * 0.84:.1f}" '
            f'height="{max(0.0, HEIGHT - _BOTTOM - top):.1f}"><title>{escape(label)}: {value:,.0f}</title></rect>'
        )
        if number % every == 0:
            parts.append(
                f'<text class="label" x="{left + width / 2:.1f}" y="{HEIGHT - _BOTTOM + 15}" '
                f'text-anchor="middle">{escape(label)}</text>'
            )
    return svg(parts, f"{y_label} by {x_label}")


def short_number(value: float) -> str:
    """Return a number as an axis shows it: 20k, 1.5M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def x_at(share: float) -> float:
    """Return where a share of an axis lies across."""
    return _LEFT + share * (WIDTH - _LEFT - _RIGHT)


def y_at(share: float) -> float:
    """Return where a share of an axis lies down."""
    return HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)


def frame(x_axis: Axis | None, y_axis: Axis, x_label: str, y_label: str) -> list[str]:
    """Return the axes, their ticks and names."""
    right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
    parts = []
    for tick in y_axis.ticks():
        offset = y_at(y_axis(tick))
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{offset:.1f}" y2="{offset:.1f}"/>')
        parts.append(
            f'<text class="label" x="{_LEFT - 7}" y="{offset + 4:.1f}" text-anchor="end">'
            f"{escape(short_number(tick))}</text>"
        )
    for tick in x_axis.ticks() if x_axis else ():
        offset = x_at(x_axis(tick)) if x_axis else 0.0
        parts.append(f'<line class="axis" x1="{offset:.1f}" x2="{offset:.1f}" y1="{bottom}" y2="{bottom + 4}"/>')
        parts.append(
            f'<text class="label" x="{offset:.1f}" y="{bottom + 15}" text-anchor="middle">'
            f"{escape(short_number(tick))}</text>"
        )
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    middle = (_LEFT + right) / 2
    parts.append(f'<text class="label" x="{middle:.0f}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x_label)}</text>')
    up = (_TOP + bottom) / 2
    parts.append(
        f'<text class="label" transform="translate(14 {up:.0f}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_label)}</text>"
    )
    return parts


def svg(parts: Sequence[str], title: str) -> Markup:
    """Return a chart of parts whose texts are escaped."""
    body = "".join(parts)
    return Markup(  # noqa: S704 - every text in it is escaped above
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{body}</svg>'
    )


def _legend(names: Sequence[str]) -> Markup:
    items = "".join(f'<span><i class="s{number}"></i>{escape(name)}</span>' for number, name in enumerate(names))
    return Markup(f'<p class="legend">{items}</p>')  # noqa: S704 - the names are escaped
