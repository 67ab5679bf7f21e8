"""Charts as SVG: only attributes, no styles, so that the strictest policy lets them pass."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from markupsafe import Markup, escape

WIDTH, HEIGHT = 520, 170
_TOP, _BOTTOM, _LEFT = 22, 22, 4
_LABELS = 6
"""Days that are named below a chart, about."""

Number = Decimal | float | int


def meter(value: Number, most: Number, label: str) -> Markup:
    """Draw how much of something is used; full where there is none of it."""
    share = min(1.0, float(value) / float(most)) if most else float(bool(value))
    kind = "meter-full" if share >= 1 else "meter-part"
    return Markup(  # numbers of ours, and a label that is escaped
        '<svg class="meter" viewBox="0 0 100 8" preserveAspectRatio="none" role="img" '
        'aria-label="{label}"><rect class="meter-all" width="100" height="8" rx="4"/>'
        '<rect class="{kind}" width="{width:.1f}" height="8" rx="4"/></svg>'
    ).format(label=escape(label), kind=kind, width=100 * share)


def columns(
    days: Sequence[Mapping[str, Any]], parts: Mapping[str, str], *, title: str, unit: str
) -> Markup:
    """Draw a column for each day, of parts on top of each other.

    `days`: each with its `day` and a number by the name of each part; `parts`: the class of each.
    """
    most = max((float(sum(one[part] for part in parts)) for one in days), default=0.0)
    step = (WIDTH - 2 * _LEFT) / max(1, len(days))
    drawn = Markup().join(
        _column(one, parts, _LEFT + index * step, step, most, unit)
        for index, one in enumerate(days)
    )
    every = max(1, len(days) // _LABELS)
    named = Markup().join(
        Markup('<text class="axis" x="{x:.1f}" y="{y}">{day}</text>').format(
            x=_LEFT + index * step, y=HEIGHT - 6, day=str(one["day"])[5:]
        )
        for index, one in enumerate(days)
        if index % every == 0
    )
    return Markup(
        '<svg class="chart" viewBox="0 0 {w} {h}" role="img" aria-label="{title}">'
        '<line class="axis-line" x1="{left}" x2="{right}" y1="{base}" y2="{base}"/>{drawn}{named}'
        '<text class="axis" x="{left}" y="12">{most} {unit}</text></svg>'
    ).format(
        w=WIDTH,
        h=HEIGHT,
        left=_LEFT,
        right=WIDTH - _LEFT,
        base=HEIGHT - _BOTTOM,
        title=title,
        drawn=drawn,
        named=named,
        most=f"{most:,.6g}",
        unit=unit,
    )


def _column(
    one: Mapping[str, Any],
    parts: Mapping[str, str],
    x: float,
    step: float,
    most: float,
    unit: str,
) -> Markup:
    """Draw one day; what is under the pointer says its numbers."""
    base = float(HEIGHT - _BOTTOM)
    drawn = Markup()
    for part, kind in parts.items():
        height = float(one[part]) / most * (base - _TOP) if most else 0.0
        height = max(0.0, height)
        base -= height
        drawn += Markup(
            '<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}"/>'
        ).format(kind=kind, x=x + step * 0.1, y=base, w=step * 0.8, h=height)
    said = ", ".join(f"{one[part]:,} {part}" for part in parts if one[part])
    return Markup("<g><title>{day}: {said} {unit}</title>{drawn}</g>").format(
        day=one["day"], said=said or "0", unit=unit, drawn=drawn
    )
