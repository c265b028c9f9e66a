"""Candlestick patterns: 22 shapes of one to three bars, each known at the close of its last bar.

Definitions follow table 5.1 of the first source document; where it gives no number, TA-Lib's rule fills the gap. A bar
without range has no shape. The trend before a pattern is the slope of the 20-bar SMA at the bar before its first one. Large
and small are against the mean body of the 10 bars before the bar (TA-Lib's `BodyLong`, `BodyShort`). Bearish shapes are
the bullish ones upside down, so each is written once.

Candles read a fixed number of bars, so no anchor is needed and a value depends on exactly `CANDLE_LOOKBACK` of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from quant_pipeline.features.kernels import FloatArray
from quant_pipeline.features.patterns import candle_shapes as shapes
from quant_pipeline.features.patterns.candle_shapes import SHAPE_BARS, Candles, measured, turned
from quant_pipeline.features.patterns.events import (
    CONFIDENCE,
    DIRECTION,
    END,
    FIRST,
    FORGOTTEN_BARS,
    HALF_LIFE,
    HOLD,
    KNOWN,
    PATTERN,
    PIVOT,
    POINTS,
    START,
    WIDTH,
    Bars,
    Pattern,
    PatternFamily,
    feature_meanings,
)
from quant_pipeline.features.registry import PRIMARY, Columns, features
from quant_pipeline.jit import compiled

CANDLE_LOOKBACK = FORGOTTEN_BARS + SHAPE_BARS


class Candlestick(NamedTuple):
    """One pattern: a bearish one (`direction` -1) is its `shape` looked for upside down; 0 is either, or neither."""

    name: str
    direction: int
    bars: int
    shape: Callable[[Candles], FloatArray]
    definition: str


TABLE = (
    Candlestick("doji", 0, 1, shapes.doji, "body less than 10 % of the range"),
    Candlestick("long_legged_doji", 0, 1, shapes.long_legged_doji, "doji with both shadows longer than twice the body"),
    Candlestick("dragonfly_doji", +1, 1, shapes.dragonfly_doji, "doji with a lower shadow only"),
    Candlestick("gravestone_doji", -1, 1, shapes.dragonfly_doji, "doji with an upper shadow only"),
    Candlestick("hammer", +1, 1, shapes.hammer, "body in the top third of the range, in a downtrend"),
    Candlestick("inverted_hammer", +1, 1, shapes.inverted_hammer, "body in the bottom third of the range, in a downtrend"),
    Candlestick("hanging_man", -1, 1, shapes.inverted_hammer, "body in the top third of the range, in an uptrend"),
    Candlestick("shooting_star", -1, 1, shapes.hammer, "body in the bottom third of the range, in an uptrend"),
    Candlestick("bullish_engulfing", +1, 2, shapes.engulfing, "bullish body around the bearish one before"),
    Candlestick("bearish_engulfing", -1, 2, shapes.engulfing, "bearish body around the bullish one before"),
    Candlestick("bullish_harami", +1, 2, shapes.harami, "small bullish body inside the large bearish one before"),
    Candlestick("bearish_harami", -1, 2, shapes.harami, "small bearish body inside the large bullish one before"),
    Candlestick("morning_star", +1, 3, shapes.star, "large bearish, small, large bullish body that regains half of the first"),
    Candlestick("evening_star", -1, 3, shapes.star, "large bullish, small, large bearish body that takes back half of the first"),
    Candlestick("three_white_soldiers", +1, 3, shapes.soldiers, "three bullish bars, closes rising, small upper shadows"),
    Candlestick("three_black_crows", -1, 3, shapes.soldiers, "three bearish bars, closes falling, small lower shadows"),
    Candlestick("bullish_marubozu", +1, 1, shapes.marubozu, "bullish body of more than 95 % of the range"),
    Candlestick("bearish_marubozu", -1, 1, shapes.marubozu, "bearish body of more than 95 % of the range"),
    Candlestick("pin_bar", 0, 1, shapes.pin_bar, "one shadow of two thirds of the range, foretells the other way"),
    Candlestick("spinning_top", 0, 1, shapes.spinning_top, "body under a third of the range, both shadows longer than it"),
    Candlestick("tweezer_top", -1, 2, shapes.tweezer_bottom, "two equal highs above the five bars before, in an uptrend"),
    Candlestick("tweezer_bottom", +1, 2, shapes.tweezer_bottom, "two equal lows below the five bars before, in a downtrend"),
)
PATTERNS = tuple(Pattern(f"candle_{each.name}", each.direction, f"{each.definition} (Nison 1991)") for each in TABLE)
BARS_OF = np.array([each.bars for each in TABLE])
DIRECTIONS = np.array([each.direction for each in TABLE], np.float64)
PIN_BAR = next(place for place, each in enumerate(TABLE) if each.shape is shapes.pin_bar)
"""The one whose detections go either way; doji and spinning tops foretell none."""


def confidences(o: FloatArray, h: FloatArray, l: FloatArray, c: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Every pattern at every bar.

    Args:
        o: (n,) opens.
        h: (n,) highs.
        l: (n,) lows.
        c: (n,) closes.

    Returns:
        (22, n) confidence of each pattern of `TABLE` that ends at the bar, 0 where none does or fewer than `SHAPE_BARS` bars
        are there; and (n,) the direction of a pin bar.
    """
    upright = measured(o, h, l, c)
    upside_down = turned(upright)
    found = np.stack([each.shape(upside_down if each.direction < 0 else upright) for each in TABLE])
    found[:, : SHAPE_BARS - 1] = 0.0
    return found, np.where(upright.lower > upright.upper, 1.0, -1.0)


def detect(bars: Bars) -> FloatArray:
    """(m, WIDTH) events in the order of their bars, one point at the close of each bar of the pattern."""
    found, pin = confidences(bars.open, bars.high, bars.low, bars.close)
    at, pattern = np.nonzero(found.T)
    events = np.full((at.size, WIDTH), np.nan)
    events[:, PATTERN], events[:, START] = pattern, at - BARS_OF[pattern] + 1
    events[:, PIVOT], events[:, KNOWN], events[:, FIRST], events[:, END] = at, at, at, bars.close.size
    events[:, DIRECTION] = np.where(pattern == PIN_BAR, pin[at], DIRECTIONS[pattern])
    events[:, CONFIDENCE] = found[pattern, at]
    for k in range(int(BARS_OF.max())):
        row = at - BARS_OF[pattern] + 1 + k
        there = row <= at
        events[there, POINTS + 2 * k] = row[there]
        events[there, POINTS + 2 * k + 1] = bars.close[row[there]]
    return events


FAMILY = PatternFamily("candlestick_patterns", PATTERNS, detect)


@compiled
def aged(found: FloatArray, signed: FloatArray) -> FloatArray:
    """What `pattern_features` makes of events, without making them: candles are found at every third bar.

    Args:
        found: (k, n) confidences, 0 for none.
        signed: (n,) direction times confidence of the one pattern that has a direction to tell, at `PIN_BAR`.

    Returns:
        (2 k + 1, n): detected and decayed confidence of each pattern, and after those of `PIN_BAR` its signed confidence.
    """
    count, n = found.shape
    out = np.empty((2 * count + 1, n))
    decay = np.append(0.5 ** (np.arange(FORGOTTEN_BARS + 1) / HALF_LIFE), 0.0)
    for p in range(count):
        row = 2 * p + (p > PIN_BAR)
        age, newest = FORGOTTEN_BARS + 1, 0
        for i in range(n):
            age = 0 if found[p, i] > 0.0 else min(age + 1, FORGOTTEN_BARS + 1)
            newest = i if age == 0 else newest
            out[row, i] = 1.0 if age <= HOLD else 0.0
            out[row + 1, i] = found[p, newest] * decay[age]
            if p == PIN_BAR:
                out[row + 2, i] = signed[newest] * decay[age]
    return out


_MEANINGS = feature_meanings(PATTERNS)
_NEUTRAL = {f"{pattern.name}_direction" for pattern in PATTERNS} - {f"{PATTERNS[PIN_BAR].name}_direction"}


@features(
    {name: meaning for name, meaning in _MEANINGS.items() if name not in _NEUTRAL},
    "candlestick_patterns",
    ("open", "high", "low", "close"),
    CANDLE_LOOKBACK,
    rungs=(PRIMARY,),
)
def candlesticks(columns: Columns) -> FloatArray:
    """Detected, confidence and, for the pin bar, direction of the 22 candlestick patterns."""
    found, pin = confidences(columns["open"], columns["high"], columns["low"], columns["close"])
    values = aged(found, found[PIN_BAR] * pin)
    values[:, : CANDLE_LOOKBACK - 1] = np.nan
    return values
