"""Smart-money concepts of document 001: order blocks, fair value gaps, liquidity, breaks of structure.

The document sees a fair value gap one bar, an order block one bar and a swing 20 bars before it can be known, and
breaks a running maximum instead of a swing. Here each counts from the bar that makes it known. Distances are in ATRs
(mean true range of 14 bars) from the close, and `FAR` where there is nothing near.
"""

from __future__ import annotations

import numpy as np

from quant_pipeline.features.kernels import FloatArray, rolling_mean, true_range
from quant_pipeline.features.registry import PRIMARY, Columns, features
from quant_pipeline.features.smart_money_kernels import (
    gaps,
    levels,
    open_zones,
    order_blocks,
    structure_breaks,
    swing_levels,
)

ATR_BARS = 14
AGE = 200
"""Bars after which a zone, a swing or a break is forgotten: more than a week of hours."""
DISPLACEMENT_ATR = 0.5
"""ATRs that a close must leave behind to make an order block; about as frequent on every rung, unlike a fixed share."""
DISPLACEMENT_SHARE = 0.02
"""The document's threshold: 2 % of the price."""
LIQUIDITY_BARS = 20
"""The document's window of swings, on each side."""
STRUCTURE_BARS = 5
"""Window of the swings whose break is a break of structure: the legs that a holding time of hours can meet."""
ORDER_BLOCK_MEMORY = AGE + ATR_BARS
"""The oldest block's ATR, the first range of which has a close before it."""
LIQUIDITY_MEMORY = AGE + 2 * LIQUIDITY_BARS
STRUCTURE_MEMORY = 2 * AGE + 2 * STRUCTURE_BARS - 1
"""A break at most `AGE` bars old, of a swing at most `AGE` bars older, of a window on each side."""

CANDLES = ("open", "high", "low", "close")
RANGE = ("high", "low", "close")


def _atr(columns: Columns) -> FloatArray:
    return rolling_mean(true_range(columns["high"], columns["low"], columns["close"]), ATR_BARS)


def _blank(rows: FloatArray, memory: int) -> FloatArray:
    rows[:, : memory - 1] = np.nan
    return rows


def _order_blocks(columns: Columns, displacement: FloatArray, scale: FloatArray) -> FloatArray:
    o, h, l, c = (columns[name] for name in CANDLES)
    return open_zones(order_blocks(o, h, l, c, displacement), h, l, c, scale, AGE)


@features(
    {
        "smc_num_bullish_ob": "bullish order blocks of the last 200 bars that no later low has touched",
        "smc_num_bearish_ob": "bearish order blocks of the last 200 bars that no later high has touched",
        "smc_nearest_ob_distance": "ATRs from the close to the nearest of both, 0 to 10; 10 where there is none",
    },
    "smart_money",
    CANDLES,
    ORDER_BLOCK_MEMORY,
    rungs=(PRIMARY,),
)
def order_block_zones(columns: Columns) -> FloatArray:
    """Order blocks (document 001) with a displacement of half an ATR in place of 2 %.

    Bullish: a falling candle, then a close more than that above its high; zone = its low to its open. Bearish: a rising
    candle, then a close as far below its low; zone = its open to its high (the document's, close to high, is no mirror).
    """
    atr = _atr(columns)
    return _blank(_order_blocks(columns, DISPLACEMENT_ATR * atr, atr), ORDER_BLOCK_MEMORY)


@features(
    {
        "smc_fixed_num_bullish_ob": "bullish order blocks as above, with the document's displacement of 2 % of the price",
        "smc_fixed_num_bearish_ob": "bearish order blocks as above, with the document's displacement of 2 % of the price",
    },
    "smart_money",
    CANDLES,
    AGE + 1,
    rungs=(PRIMARY,),
)
def fixed_order_block_zones(columns: Columns) -> FloatArray:
    """Order blocks (document 001): a close 2 % above the high of a falling candle, or below the low of a rising one."""
    previous = {name: np.concatenate((columns[name][:1], columns[name][:-1])) for name in CANDLES}
    falling = previous["close"] < previous["open"]
    share = DISPLACEMENT_SHARE * np.where(falling, previous["high"], previous["low"])
    return _blank(_order_blocks(columns, share, columns["close"])[:2], AGE + 1)


@features(
    {
        "smc_num_bullish_fvg": "bullish fair value gaps of the last 200 bars that no later low has touched",
        "smc_num_bearish_fvg": "bearish fair value gaps of the last 200 bars that no later high has touched",
        "smc_nearest_fvg_distance": "ATRs from the close to the nearest of both, 0 to 10; 10 where there is none",
    },
    "smart_money",
    RANGE,
    AGE + 2,
    rungs=(PRIMARY,),
)
def fair_value_gaps(columns: Columns) -> FloatArray:
    """Fair value gaps (document 001): low of bar t above high of bar t-2, or high of bar t below low of bar t-2."""
    h, l, c = (columns[name] for name in RANGE)
    return _blank(open_zones(gaps(h, l), h, l, c, _atr(columns), AGE), AGE + 2)


@features(
    {
        "smc_liquidity_high_distance": "ATRs from the close up to the nearest swing high not yet touched again; 10 if none",
        "smc_liquidity_low_distance": "ATRs from the close down to the nearest swing low not yet touched again; 10 if none",
    },
    "smart_money",
    RANGE,
    LIQUIDITY_MEMORY,
    rungs=(PRIMARY,),
)
def liquidity(columns: Columns) -> FloatArray:
    """Resting liquidity (document 001): extremes of 20 bars on each side, known 20 bars later, kept for 200 bars."""
    h, l, c = (columns[name] for name in RANGE)
    atr = _atr(columns)
    highs = levels(swing_levels(h, LIQUIDITY_BARS, LIQUIDITY_BARS), -1)
    lows = levels(-swing_levels(-l, LIQUIDITY_BARS, LIQUIDITY_BARS), 1)
    rows = np.stack([open_zones(swings, h, l, c, atr, AGE)[2] for swings in (highs, lows)])
    return _blank(rows, LIQUIDITY_MEMORY)


@features(
    {
        "smc_bos_bullish": "1 at a first close above the last confirmed swing high, not against the previous break; else 0",
        "smc_bos_bearish": "1 at a first close below the last confirmed swing low, not against the previous break; else 0",
        "smc_choch_bullish": "1 at a first close above the last confirmed swing high, when the previous break was down; else 0",
        "smc_choch_bearish": "1 at a first close below the last confirmed swing low, when the previous break was up; else 0",
    },
    "smart_money",
    RANGE,
    STRUCTURE_MEMORY,
    rungs=(PRIMARY,),
)
def structure(columns: Columns) -> FloatArray:
    """Break of structure and change of character (document 001), of swings of 5 bars on each side, known 5 bars later."""
    h, l, c = (columns[name] for name in RANGE)
    return _blank(structure_breaks(h, l, c, STRUCTURE_BARS, STRUCTURE_BARS, AGE), STRUCTURE_MEMORY)
