"""What the figures of swings share: lengths and times of legs, and telling a figure once though several zigzags show it."""

from __future__ import annotations

from quant_pipeline.features.kernels import FloatArray
from quant_pipeline.features.patterns.events import KNOWN, PATTERN, PIVOT, START, record
from quant_pipeline.features.patterns.zigzag import Pivots
from quant_pipeline.jit import compiled


@compiled
def leg(pivots: Pivots, end: int) -> float:
    """Length, in price units, of the leg that ends at the swing `end`."""
    return abs(float(pivots.price[end] - pivots.price[end - 1]))


@compiled
def bars_between(pivots: Pivots, first: int, last: int) -> int:
    """Bars from one swing to another."""
    return int(pivots.bar[last] - pivots.bar[first])


@compiled
def even(one: int, other: int) -> float:
    """1 where two durations are equal, towards 0 the more they differ."""
    return min(one, other) / max(one, other)


@compiled
def record_once(
    events: list[FloatArray], pattern: int, pivots: Pivots, points: int, last: int, direction: int, confidence: float
) -> None:
    """Record the figure of the `points` swings up to `last`, unless other swings told it before; none for confidence 0.

    Only what was known by then counts as told, so that later bars never take a detection back.
    """
    if confidence <= 0.0:
        return
    first = last - points + 1
    for event in events:
        same = event[PATTERN] == pattern and event[START] == pivots.bar[first] and event[PIVOT] == pivots.bar[last]
        if same and event[KNOWN] <= pivots.known[last]:
            return
    rows, prices = pivots.bar[first : last + 1], pivots.price[first : last + 1]
    record(events, pattern, pivots.bar[last], pivots.known[last], direction, confidence, rows, prices)
