"""Interactions: what an oscillator says, by the regime that it says it in.

Document 002 multiplies indicators by regimes ("RSI x regime, MACD x trend"). The regime is that of the 1h rung, its
context timeframe; oscillators are first centred on zero and scaled to -1 to 1, so that a product's sign means
something: overbought in a volatile market, and oversold in it, are then opposites. A few products ask instead whether
two rungs agree. To add one, add a line to the table.
"""

from __future__ import annotations

from quant_pipeline.features.kernels import FloatArray
from quant_pipeline.features.registry import DERIVED, Columns, features

SCALES = {"rsi": (50.0, 50.0), "stoch": (50.0, 50.0), "bb_position": (0.5, 0.5), "adx": (0.0, 100.0)}
"""Middle and half the range of the bounded features; all others are centred on zero already."""
REGIMES = {
    "vol_regime": "volatility_regime_1h",
    "trend_regime": "trend_regime_1h",
    "structure_regime": "structure_regime_1h",
    "composite_regime": "composite_regime_1h",
}
"""Document 002's short names."""
PAIRS = (
    ("rsi_1m", "vol_regime"),
    ("rsi_5m", "vol_regime"),
    ("rsi_15m", "vol_regime"),
    ("rsi_1h", "vol_regime"),
    ("rsi_1m", "trend_regime"),
    ("rsi_5m", "trend_regime"),
    ("rsi_15m", "trend_regime"),
    ("rsi_1h", "trend_regime"),
    ("macd_1m", "trend_regime"),
    ("macd_5m", "trend_regime"),
    ("macd_15m", "trend_regime"),
    ("macd_1h", "trend_regime"),
    ("macd_5m", "vol_regime"),
    ("macd_15m", "vol_regime"),
    ("macd_1h", "vol_regime"),
    ("stoch_5m", "structure_regime"),
    ("stoch_15m", "structure_regime"),
    ("stoch_1h", "structure_regime"),
    ("bb_position_5m", "structure_regime"),
    ("bb_position_15m", "structure_regime"),
    ("bb_position_1h", "structure_regime"),
    ("return_15m", "vol_regime"),
    ("return_1h", "vol_regime"),
    ("adx_15m", "trend_regime"),
    ("adx_1h", "trend_regime"),
    ("atr_1h", "trend_regime"),
    ("rsi_1h", "composite_regime"),
    ("macd_1h", "composite_regime"),
    ("rsi_15m", "rsi_1h"),
    ("macd_15m", "macd_1h"),
)
"""The feature `<left>_x_<right>` is the product of the two columns."""


def centred(columns: Columns, column: str) -> FloatArray:
    """(n,) the values of a feature column such as `rsi_1m`: bounded ones from -1 to 1, others as they are."""
    middle, half = SCALES.get(column.rpartition("_")[0], (0.0, 1.0))
    return (columns[column] - middle) / half


def _formula(column: str) -> str:
    middle, half = SCALES.get(column.rpartition("_")[0], (0.0, 1.0))
    shifted = f"({column} - {middle:g})" if middle else column
    return f"{shifted} / {half:g}" if half != 1.0 else shifted


def _register(left: str, right: str) -> None:
    inputs = (left, REGIMES.get(right, right))
    meaning = f"Product {' x '.join(_formula(column) for column in inputs)}; unknown where either is (document 002)"

    @features({f"{left}_x_{right}": meaning}, "interactions", inputs, 1, rungs=(DERIVED,))
    def product(columns: Columns) -> FloatArray:
        """(1, n) the product of the two centred columns."""
        return (centred(columns, inputs[0]) * centred(columns, inputs[1]))[None]


for _left, _right in PAIRS:
    _register(_left, _right)
