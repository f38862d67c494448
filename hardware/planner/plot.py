"""Draws findings as SVG: the roofline with the measured points, and each step's time split into its parts. Pure.

No dependency and no script in the picture; text is text. Both axes of the roofline are logarithmic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

from hardware.planner.explain import Finding
from hardware.planner.rates import Device, Rates

WIDTH, ROOF_HEIGHT, BAR, LEFT, RIGHT = 960, 420, 22, 300, 30
_COLOURS = {
    "memory bandwidth": "#2f6fb3",
    "compute": "#c05621",
    "link latency": "#7b3fa0",
    "link bandwidth": "#b03a7a",
    "kernel launch": "#8a8a2b",
    "host": "#4a7c59",
    "KV capacity": "#555555",
}
_UNEXPLAINED = "#bbbbbb"


def draw(findings: Sequence[Finding], device: Device, rates: Rates, title: str) -> str:
    """One SVG document. Raises ValueError when there is nothing to draw."""
    if not findings:
        raise ValueError("there is nothing to draw")
    roof = _roofline(findings, device, rates)
    bars, height = _bars(findings, ROOF_HEIGHT + 40)
    total = ROOF_HEIGHT + 40 + height + 40
    legend = _legend(total - 24)
    return (
        "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{total}" '
                f'viewBox="0 0 {WIDTH} {total}" '
                'font-family="sans-serif" font-size="12">',
                f"<title>{escape(title)}</title>",
                f'<rect width="{WIDTH}" height="{total}" fill="white"/>',
                _text(LEFT, 20, title, size=15),
                *roof,
                *bars,
                *legend,
                "</svg>",
            ]
        )
        + "\n"
    )


def _roofline(findings: Sequence[Finding], device: Device, rates: Rates) -> list[str]:
    top, bottom, left, right = 40.0, ROOF_HEIGHT - 40.0, 80.0, WIDTH - RIGHT
    xs = [finding.intensity_flops_per_byte for finding in findings]
    ys = [finding.achieved_flops_per_second for finding in findings]
    roofs = [
        (
            "measured rates" if device.half_flops_per_second is None else "achieved",
            rates.memory_bytes_per_second,
            rates.flops_per_second,
            "4 3",
        )
    ]
    if device.memory_bytes_per_second is not None and device.half_flops_per_second is not None:
        roofs.append(("datasheet", device.memory_bytes_per_second, device.half_flops_per_second, ""))
    ridge = [flops / memory for _, memory, flops, _ in roofs]
    low_x, high_x = 10 ** math.floor(math.log10(min(xs + ridge))), 10 ** math.ceil(math.log10(max(xs + ridge) * 1.5))
    high_y = 10 ** math.ceil(math.log10(max(*ys, *(flops for _, _, flops, _ in roofs))))
    low_y = 10 ** math.floor(math.log10(min(ys)))

    def x(value: float) -> float:
        return left + (math.log10(value) - math.log10(low_x)) / math.log10(high_x / low_x) * (right - left)

    def y(value: float) -> float:
        return bottom - (math.log10(value) - math.log10(low_y)) / math.log10(high_y / low_y) * (bottom - top)

    found = []
    for power in range(round(math.log10(low_x)), round(math.log10(high_x)) + 1):
        found.append(_line(x(10.0**power), top, x(10.0**power), bottom, "#eeeeee"))
        found.append(_text(x(10.0**power) - 8, bottom + 16, f"{10.0**power:g}"))
    for power in range(round(math.log10(low_y)), round(math.log10(high_y)) + 1):
        found.append(_line(left, y(10.0**power), right, y(10.0**power), "#eeeeee"))
        found.append(_text(8, y(10.0**power) + 4, _flops(10.0**power)))
    found.append(_text(left, bottom + 32, "FLOP for each byte of memory traffic"))
    for name, memory, flops, dash in roofs:
        corner = min(max(flops / memory, low_x), high_x)
        start = max(low_x, low_y / memory)
        points = f"{x(start):.1f},{y(start * memory):.1f} {x(corner):.1f},{y(flops):.1f} {x(high_x):.1f},{y(flops):.1f}"
        found.append(f'<polyline points="{points}" fill="none" stroke="#333333" stroke-dasharray="{dash}"/>')
        found.append(_text(right - 190, y(flops) - 5, f"{name}: {_flops(flops)}"))
    for finding in findings:
        colour = _COLOURS[finding.limit]
        cx, cy = x(finding.intensity_flops_per_byte), y(finding.achieved_flops_per_second)
        title = f"<title>{escape(finding.sentence())}</title>"
        found.append(f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="4" fill="{colour}">{title}</circle>')
    return found


def _bars(findings: Sequence[Finding], top: float) -> tuple[list[str], int]:
    longest = max(max(finding.point.seconds, finding.timing.seconds) for finding in findings)
    found = [_text(LEFT, top, "time of a step, ms, by what it went to; the black line is what was measured")]
    for number, finding in enumerate(findings):
        line = top + 12 + number * BAR
        found.append(_text(8, line + 14, finding.point.name, size=9))
        at = float(LEFT)
        scale = (WIDTH - LEFT - RIGHT - 60) / longest
        pieces = [(limit, seconds, _COLOURS[limit]) for limit, seconds in finding.timing.by_limit().items()]
        if finding.unexplained_seconds > 0:
            pieces.append(("not explained", finding.unexplained_seconds, _UNEXPLAINED))  # type: ignore[arg-type]
        for name, seconds, colour in pieces:
            width = seconds * scale
            found.append(
                f'<rect x="{at:.1f}" y="{line:.1f}" width="{width:.1f}" height="{BAR - 6}" fill="{colour}">'
                f"<title>{escape(name)}: {seconds * 1e3:.3f} ms</title></rect>"
            )
            at += width
        measured = LEFT + finding.point.seconds * scale
        found.append(_line(measured, line - 2, measured, line + BAR - 4, "#000000"))
        found.append(_text(max(at, measured) + 6, line + 13, f"{finding.point.seconds * 1e3:.2f}"))
    return found, 12 + len(findings) * BAR


def _legend(top: float) -> list[str]:
    found, at = [], 8.0
    for name, colour in [*_COLOURS.items(), ("not explained", _UNEXPLAINED)]:
        found.append(f'<rect x="{at:.0f}" y="{top - 9:.0f}" width="10" height="10" fill="{colour}"/>')
        found.append(_text(at + 14, top, name, size=11))
        at += 26 + 6.5 * len(name)
    return found


def _flops(value: float) -> str:
    for limit, unit in ((1e15, "PFLOP/s"), (1e12, "TFLOP/s"), (1e9, "GFLOP/s"), (1e6, "MFLOP/s")):
        if value >= limit:
            return f"{value / limit:.4g} {unit}"
    return f"{value:.3g} FLOP/s"


def _text(x: float, y: float, text: str, *, size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'
