"""Pictures of a word's size, as SVG paths: light enough for a page with hundreds of them."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from quant_pipeline.features.kernels import FloatArray

HEIGHT = 34
BINS = 24
TAIL = 0.005
"""Share at either end that the outermost bars of a histogram take in."""


def histogram(first: FloatArray, second: FloatArray, width: int = 120) -> str:
    """Filled bars of `first` and a line over those of `second`, (n,) and (m,) finite values on one scale.

    Heights are square roots of shares, so that rare values can be seen. Empty text where `first` has no value.
    """
    if not first.size:
        return ""
    low, high = np.quantile(first, [TAIL, 1 - TAIL])
    if second.size:
        low, high = min(low, np.quantile(second, TAIL)), max(high, np.quantile(second, 1 - TAIL))
    heights = [_heights(values, low, high) for values in (first, second) if values.size]
    tallest = max(float(each.max()) for each in heights)
    steps = [_steps(each / tallest, width) for each in heights]
    line = f'<path class="new" d="{steps[1]}"/>' if len(steps) > 1 else ""
    return _svg(f'<path class="bars" d="{steps[0]}V{HEIGHT}H0Z"/>{line}', width, "distribution")


def course(values: FloatArray, width: int = 190, points: int = 95) -> str:
    """The course of (n,) values, NaN where there is none: between the least and the largest of each stretch, gaps left open."""
    known = values[~np.isnan(values)]
    if not known.size:
        return ""
    low, span = known.min(), np.ptp(known)
    y = np.round(HEIGHT - 2 - (HEIGHT - 4) * ((values - low) / span if span > 0 else np.where(np.isnan(values), np.nan, 0.5)), 1)
    edges = np.unique(np.linspace(0, values.size, points + 1).astype(int))
    out, pen = [], "M"
    for start, end in pairwise(edges):
        here = y[start:end][~np.isnan(y[start:end])]
        x = f"{(start + end - 1) / 2 / max(values.size - 1, 1) * width:.1f}"
        if not here.size:
            pen = "M"
            continue
        first, last = (here.min(), here.max()) if here[0] <= here[-1] else (here.max(), here.min())
        out.append(f"{pen}{x} {first:g}" + (f"L{x} {last:g}" if first != last else ""))
        pen = "L"
    return _svg(f'<path class="line" d="{"".join(out)}"/>', width, "recent course")


def _heights(values: FloatArray, low: float, high: float) -> FloatArray:
    if high <= low:
        counts = np.zeros(BINS)
        counts[BINS // 2] = values.size
    else:
        place = np.clip((values - low) / (high - low) * BINS, 0, BINS - 1).astype(int)
        counts = np.bincount(place, minlength=BINS).astype(float)
    roots: FloatArray = np.sqrt(counts / values.size)
    return roots


def _steps(heights: FloatArray, width: int) -> str:
    tops = HEIGHT - (HEIGHT - 2) * heights
    return f"M0 {HEIGHT}" + "".join(f"V{top:.1f}H{(k + 1) * width / BINS:g}" for k, top in enumerate(tops))


def _svg(inside: str, width: int, label: str) -> str:
    return f'<svg role="img" aria-label="{label}" viewBox="0 0 {width} {HEIGHT}" width="{width}" height="{HEIGHT}">{inside}</svg>'
