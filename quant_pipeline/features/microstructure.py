"""Microstructure from 1-minute bars: spreads, price impact, order flow, toxicity and trade intensity.

None of these sees a quote or a trade: each is its authors' estimate from open, high, low, close and volume. Unless its
docstring says otherwise a feature covers the last 60 bars, the hour since the previous decision on the default primary
rung, and a bar's return is the simple one. Spreads and impacts are shares of the price, so all are free of scale
except Amihud's ratio, which is z-scored. A bar whose volume is null spoils the windows that hold it.
"""

from __future__ import annotations

import math

import numpy as np

from quant_pipeline.features.kernels import LANES, FloatArray, blank, change, decayed_sum, ratio, rolling_mean
from quant_pipeline.features.registry import Columns, feature
from quant_pipeline.jit import compiled

RUNGS = ("1m",)
WINDOW = 60
IMPACT_BARS = 5
"""Bars over which a trade's impact is measured: the five minutes of Goyenko, Holden & Trzcinka (2009)."""
INTENSITY_BARS = 5
VPIN_WINDOW, VPIN_BUCKETS = 240, 20
"""Four hours of bars, cut into buckets of equal volume: a bucket is on average 12 bars long."""


def _returns(close: FloatArray) -> FloatArray:
    """Simple returns, zero at the first bar; a quotient of prices, so that their unit cancels exactly."""
    out = np.zeros(close.size)
    out[1:] = close[1:] / close[:-1] - 1.0
    return out


def _midrange(columns: Columns) -> FloatArray:
    """Geometric middle of high and low: the stand-in for the quotes' midpoint, the mean of the two in logs."""
    return np.sqrt(columns["high"] * columns["low"])


def _root_of_gain(square: FloatArray) -> FloatArray:
    """Square root of estimates that are negative where noise outweighs the spread: those are zero."""
    return np.sqrt(np.maximum(square, 0.0))


@feature("micro_roll_spread", "microstructure", ("close",), WINDOW + 2, rungs=RUNGS)
def roll_spread(columns: Columns) -> FloatArray:
    """Roll's (1984) spread: 2 sqrt(-cov) of each return with the one before it, 0 where the covariance is positive.

    Source: "A simple implicit measure of the effective bid-ask spread in an efficient market", J. Finance 39.
    """
    now = _returns(columns["close"])
    before = np.roll(now, 1)  # its first value is not one; the blank covers every window that holds it
    covariance = rolling_mean(now * before, WINDOW) - rolling_mean(now, WINDOW) * rolling_mean(before, WINDOW)
    return blank(2.0 * _root_of_gain(-covariance), WINDOW + 1)


@feature("micro_corwin_schultz", "microstructure", ("high", "low", "close"), WINDOW + 1, rungs=RUNGS)
def corwin_schultz(columns: Columns) -> FloatArray:
    """Corwin & Schultz's (2012) spread: variance grows with time, the spread does not; from ranges of 1 and of 2 bars.

    beta is the sum of both bars' squared log ranges, gamma the squared log range of the two together,
    alpha = (sqrt(2 beta) - sqrt(beta)) / (3 - 2 sqrt 2) - sqrt(gamma / (3 - 2 sqrt 2)), and the spread of the pair
    2 (e**alpha - 1) / (1 + e**alpha), at least 0; the mean over 60 pairs. As in the paper, a bar that lies wholly
    above or below the close before it is first moved back to that close.
    Source: "A simple way to estimate bid-ask spreads from daily high and low prices", J. Finance 67.
    """
    high, low, close = columns["high"], columns["low"], columns["close"]
    out = np.zeros(close.size)
    gap = np.clip(close[:-1], low[1:], high[1:]) - close[:-1]
    top, bottom = high[1:] - gap, low[1:] - gap
    beta = np.log(high[:-1] / low[:-1]) ** 2 + np.log(top / bottom) ** 2
    gamma = np.log(np.maximum(high[:-1], top) / np.minimum(low[:-1], bottom)) ** 2
    share = 3.0 - 2.0 * math.sqrt(2.0)
    alpha = (math.sqrt(2.0) - 1.0) * np.sqrt(beta) / share - np.sqrt(gamma / share)
    out[1:] = 2.0 * np.tanh(np.maximum(alpha, 0.0) / 2.0)
    return blank(rolling_mean(out, WINDOW), WINDOW)


@feature("micro_abdi_ranaldo", "microstructure", ("high", "low", "close"), WINDOW + 1, rungs=RUNGS)
def abdi_ranaldo(columns: Columns) -> FloatArray:
    """Abdi & Ranaldo's (2017) spread: 2 sqrt of the mean (c - m)(c - m'), 0 where that is negative.

    c is the log close of a bar, m the middle of its log high and log low, m' that of the next bar, which must have
    closed: the newest pair ends at this bar.
    Source: "A simple estimation of bid-ask spreads from daily close, high, and low prices", Rev. Financial Studies 30.
    """
    close, middle = columns["close"], _midrange(columns)
    product = np.zeros(close.size)
    product[1:] = np.log(close[:-1] / middle[:-1]) * np.log(close[:-1] / middle[1:])
    return blank(2.0 * _root_of_gain(rolling_mean(product, WINDOW)), WINDOW)


@feature("micro_amihud", "microstructure", ("close", "volume"), WINDOW + 1, rungs=RUNGS, zscore=True, needs_volume=True)
def amihud(columns: Columns) -> FloatArray:
    """Amihud's (2002) illiquidity: mean of |return| / (close x volume) over the bars that traded, 0 if none did; z-score.

    Source: "Illiquidity and stock returns: cross-section and time-series effects", J. Financial Markets 5.
    """
    close, volume = columns["close"], columns["volume"]
    per_money = ratio(np.abs(_returns(close)), close * volume, 0.0)
    traded = decayed_sum(np.sign(volume), WINDOW, 1.0)
    return blank(ratio(decayed_sum(per_money, WINDOW, 1.0), traded, 0.0), WINDOW)


@feature("micro_kyle_lambda", "microstructure", ("close", "volume"), WINDOW + 1, rungs=RUNGS, needs_volume=True)
def kyle_lambda(columns: Columns) -> FloatArray:
    """Kyle's (1985) lambda: slope of returns on signed volume x mean volume, the return that one usual bar of buying makes.

    The sign of a bar's volume is that of its change of close (tick rule; Lopez de Prado 2018, ch. 19.4.1). The line goes
    through the origin: no flow, no move. 0 where there was no signed volume.
    Source: "Continuous auctions and insider trading", Econometrica 53.
    """
    returns, volume = _returns(columns["close"]), columns["volume"]
    flow = np.sign(returns) * volume
    slope = ratio(decayed_sum(returns * flow, WINDOW, 1.0), decayed_sum(flow * flow, WINDOW, 1.0), 0.0)
    return blank(slope * rolling_mean(volume, WINDOW), WINDOW)


@feature("micro_tick_direction", "microstructure", ("close",), WINDOW + 1, rungs=RUNGS)
def tick_direction(columns: Columns) -> FloatArray:
    """Mean tick test: share of bars that closed higher less share that closed lower, -1 to 1; unchanged closes count as 0.

    Source: Lee & Ready (1991), "Inferring trade direction from intraday data", J. Finance 46; a bar stands for a trade.
    """
    return blank(rolling_mean(np.sign(change(columns["close"])), WINDOW), WINDOW)


def _bulk_share(close: FloatArray) -> FloatArray:
    """Bought less sold share of each bar's volume by bulk volume classification: 2 Phi(return / sigma) - 1.

    Sigma is the root mean square of the last 60 returns: at one minute their mean is nothing beside it, and a
    steady climb counts as buying. 0 where nothing moved.
    """
    returns = _returns(close)
    return _error_function(ratio(returns, np.sqrt(2.0 * rolling_mean(returns * returns, WINDOW)), 0.0))


@compiled
def _error_function(x: FloatArray) -> FloatArray:
    out = np.empty(x.size)
    for i in range(x.size):
        out[i] = math.erf(x[i])
    return out


@feature("micro_flow_imbalance", "microstructure", ("close", "volume"), 2 * WINDOW, rungs=RUNGS, needs_volume=True)
def flow_imbalance(columns: Columns) -> FloatArray:
    """Order-flow imbalance by bulk volume classification: sum of V (2 Phi(return / sigma) - 1) / sum of V, -1 to 1.

    0 where nothing was traded.
    Source: Easley, Lopez de Prado & O'Hara (2012), "Flow toxicity and liquidity in a high-frequency world", RFS 25.
    """
    net = decayed_sum(_bulk_share(columns["close"]) * columns["volume"], WINDOW, 1.0)
    return blank(ratio(net, decayed_sum(columns["volume"], WINDOW, 1.0), 0.0), 2 * WINDOW - 1)


@compiled
def bucket_imbalance(share: FloatArray, volume: FloatArray, bars: int, buckets: int) -> FloatArray:
    """Mean |bought less sold| share of buckets of equal volume, filled from the newest of `bars` bars backwards.

    Args:
        share: (n,) bought less sold share of each bar's volume, -1 to 1.
        volume: (n,) volume of each bar; NaN spoils its windows.
        bars: length of the window.
        buckets: number of buckets that share its volume; a bar is split, evenly, among those that it reaches into.

    Returns:
        (n,) values from 0 to 1, 0 for a window without volume, NaN until it is full.
    """
    out = np.full(volume.size, np.nan)
    total = decayed_sum(volume, bars, 1.0)
    for first in range(bars - 1, volume.size, LANES):
        size = total[first : first + LANES] / buckets
        per_volume = np.zeros(size.size)
        for i in range(size.size):
            if size[i] != 0.0:
                per_volume[i] = 1.0 / size[i]
        filled, gap, gaps = np.zeros(size.size), np.zeros(size.size), np.zeros(size.size)
        for bar in range(first, first - bars, -1):
            _pour(share[bar:], volume[bar:], size, per_volume, filled, gap, gaps)
        for i in range(size.size):
            out[first + i] = (gaps[i] + abs(gap[i])) * per_volume[i] / buckets
    return out


@compiled
def _pour(
    share: FloatArray,
    volume: FloatArray,
    size: FloatArray,
    per_volume: FloatArray,
    filled: FloatArray,
    gap: FloatArray,
    gaps: FloatArray,
) -> None:
    """Pour one bar into the open bucket of every window, in place; without branches, for vector instructions.

    `filled` and `gap` are the volume and the imbalance of the open bucket, `gaps` the sizes of the full ones' imbalances.
    """
    for i in range(size.size):
        held = filled[i] + volume[i]
        full = np.floor(held * per_volume[i])
        rest = held - full * size[i]
        ended = abs(gap[i] + share[i] * (size[i] - filled[i])) + (full - 1.0) * size[i] * abs(share[i])
        gaps[i] += ended if full > 0.0 else 0.0
        gap[i] = share[i] * rest if full > 0.0 else gap[i] + share[i] * volume[i]
        filled[i] = rest


@feature("micro_vpin", "microstructure", ("close", "volume"), VPIN_WINDOW + WINDOW, rungs=RUNGS, needs_volume=True)
def vpin(columns: Columns) -> FloatArray:
    """Probability of informed trading in volume time, VPIN: mean |bought less sold| share of 20 buckets of equal volume, 0 to 1.

    The authors' buckets have a fixed size and reach back as far as it takes. Here memory is finite: the volume of the
    last 240 bars is dealt into 20 buckets from the newest bar backwards, and a bar is split where a bucket ends. 0 where
    nothing was traded.
    Source: Easley, Lopez de Prado & O'Hara (2012), "Flow toxicity and liquidity in a high-frequency world", RFS 25.
    """
    values = bucket_imbalance(_bulk_share(columns["close"]), columns["volume"], VPIN_WINDOW, VPIN_BUCKETS)
    return blank(values, VPIN_WINDOW + WINDOW - 1)


@feature("micro_trade_intensity", "microstructure", ("volume",), WINDOW, rungs=RUNGS, needs_volume=True)
def trade_intensity(columns: Columns) -> FloatArray:
    """Speed of the volume clock: volume per bar of the last 5 bars over that of the last 60, 0 to 12; 1 is usual or no trade.

    Source: Easley, Lopez de Prado & O'Hara (2012), "The volume clock: insights into the high-frequency paradigm", JPM 39.
    """
    volume = columns["volume"]
    return blank(ratio(rolling_mean(volume, INTENSITY_BARS), rolling_mean(volume, WINDOW), 1.0), WINDOW - 1)


@feature("micro_effective_spread", "microstructure", ("high", "low", "close"), WINDOW, rungs=RUNGS)
def effective_spread(columns: Columns) -> FloatArray:
    """Effective spread: mean of 2 |log close - log middle|; the middle of the bar's range stands for the quotes' midpoint.

    Source: Goyenko, Holden & Trzcinka (2009), "Do liquidity measures measure liquidity?", J. Financial Economics 92.
    """
    return blank(rolling_mean(2.0 * np.abs(np.log(columns["close"] / _midrange(columns))), WINDOW), WINDOW - 1)


@feature("micro_price_impact", "microstructure", ("high", "low", "close"), WINDOW + IMPACT_BARS + 1, rungs=RUNGS)
def price_impact(columns: Columns) -> FloatArray:
    """Price impact: mean of 2 D (log m' - log m), D the tick sign of a bar, m its middle, m' the middle 5 bars later.

    Positive where moves last, negative where they bounce. The newest bar that counts is the one 5 bars ago, whose
    impact is known now.
    Source: Goyenko, Holden & Trzcinka (2009), "Do liquidity measures measure liquidity?", J. Financial Economics 92.
    """
    middle, sign = _midrange(columns), np.sign(change(columns["close"]))
    impact = np.zeros(middle.size)
    impact[IMPACT_BARS:] = 2.0 * sign[:-IMPACT_BARS] * np.log(middle[IMPACT_BARS:] / middle[:-IMPACT_BARS])
    return blank(rolling_mean(impact, WINDOW), WINDOW + IMPACT_BARS)


@feature("micro_close_location", "microstructure", ("high", "low", "close"), WINDOW, rungs=RUNGS)
def close_location(columns: Columns) -> FloatArray:
    """Mean close location value: (2 close - high - low) / (high - low), -1 at the low to 1 at the high, 0 without range.

    Source: Chaikin's accumulation/distribution multiplier (Achelis 2000, "Technical analysis from A to Z").
    """
    high, low, close = columns["high"], columns["low"], columns["close"]
    return blank(rolling_mean(ratio((close - low) - (high - close), high - low, 0.0), WINDOW), WINDOW - 1)
