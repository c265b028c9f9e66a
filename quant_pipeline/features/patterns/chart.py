"""The 19 chart patterns as one family: their table, their detector, their features.

The definitions are in `chart_reversal`, `chart_boundary`, `chart_flags` and `chart_rounding`; the gap is here.
"""

from __future__ import annotations

import numpy as np

from quant_pipeline.features.kernels import FloatArray
from quant_pipeline.features.patterns import chart_boundary, chart_flags, chart_reversal, chart_rounding
from quant_pipeline.features.patterns.chart_boundary import find_boundaries
from quant_pipeline.features.patterns.chart_flags import find_flags
from quant_pipeline.features.patterns.chart_reversal import find_reversals
from quant_pipeline.features.patterns.chart_rounding import find_rounding
from quant_pipeline.features.patterns.events import (
    INPUTS,
    Bars,
    Pattern,
    PatternFamily,
    family_features,
    feature_meanings,
    no_events,
    record,
    stacked,
)
from quant_pipeline.features.patterns.geometry import FINE, SCALES, mirrored, mirrored_swings, swings
from quant_pipeline.features.patterns.zigzag import LOOKBACK
from quant_pipeline.features.registry import PRIMARY, Columns, features
from quant_pipeline.jit import compiled

GAP_PATTERN = Pattern(
    "chart_gap",
    0,
    "gap: a bar that opens and stays beyond the range of the bar before it by half a mean true range, known at its close; its "
    "direction is the gap's; confidence is its size in mean true ranges, at most 1 (Bulkowski)",
)
LEAST_GAP = 0.5
"""Mean true ranges: smaller ones are ticks missing between two bars. Markets that never close have almost none."""
PATTERNS = (
    *chart_reversal.PATTERNS,
    *chart_boundary.PATTERNS,
    *chart_flags.PATTERNS,
    *chart_rounding.PATTERNS,
    GAP_PATTERN,
)
BOUNDARIES = len(chart_reversal.PATTERNS)
FLAGS = BOUNDARIES + len(chart_boundary.PATTERNS)
ROUNDING = FLAGS + len(chart_flags.PATTERNS)
GAP = ROUNDING + len(chart_rounding.PATTERNS)


@compiled
def detect(bars: Bars) -> FloatArray:
    """Every chart pattern of a stretch of bars, (m, WIDTH) events."""
    events = no_events()
    flipped = mirrored(bars)
    for multiple in SCALES:
        pivots = swings(bars, multiple)
        find_boundaries(events, bars, pivots, BOUNDARIES)
        for sign, side, turns in ((1, bars, pivots), (-1, flipped, mirrored_swings(pivots))):
            find_reversals(events, side, turns, sign, 0)
            if multiple == FINE:
                find_rounding(events, side, turns, sign, ROUNDING)
    for sign, side in ((1, bars), (-1, flipped)):
        find_flags(events, side, sign, FLAGS)
        _find_gaps(events, side, sign)
    return stacked(events)


@compiled
def _find_gaps(events: list[FloatArray], bars: Bars, sign: int) -> None:
    """Record the gaps upwards; on mirrored bars (`sign` -1), downwards."""
    for row in range(1, bars.close.size):
        size = (bars.low[row] - bars.high[row - 1]) / max(bars.atr[row], 1e-300)
        if size >= LEAST_GAP:
            rows, prices = np.array([row - 1, row]), np.array([bars.high[row - 1], bars.low[row]])
            record(events, GAP, row, row, sign, size, rows, sign * prices)


FAMILY = PatternFamily("chart_patterns", PATTERNS, detect)


@features(feature_meanings(PATTERNS), FAMILY.name, INPUTS, LOOKBACK, rungs=(PRIMARY,))
def chart_patterns(columns: Columns) -> FloatArray:
    """Detection, decayed confidence and direction of the 19 chart patterns on the primary bars."""
    return family_features(columns, FAMILY)
