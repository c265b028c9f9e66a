"""Other markets beside our own: returns, correlation, beta, lead and lag, spread, and how fresh what we know of them is.

Each feature is made once for each correlated symbol (document 000, 1.7), on our primary bars, from the symbol's newest
bar known at each of them. Where there is none, `xknown` is 0, `xage` is its cap and the rest has no value. The rolling
ones are made of the bars of their window where both markets are known, at least half of them, so that a night or a
weekend without the other market costs only itself.
"""

from __future__ import annotations

import numpy as np

from quant_pipeline.features.kernels import LANES, FloatArray, blank, ratio
from quant_pipeline.features.registry import OTHERS, Columns, feature, features
from quant_pipeline.jit import compiled

HORIZONS = (1, 5, 20)
WINDOW = 50
SPREAD_WINDOW = 100
AGE_CAP = 4 * 1_440.0
"""Minutes: a long weekend, Friday's close to Tuesday's open, is the longest that an exchange is usually silent."""
NO_MOVE = 1e-28
"""Sum of squared deviations of log prices or returns below which they are rounding: such a series is flat."""
EXACT = 1e-9
"""Share of a spread's variance below which the line through both prices is exact, and its residual rounding."""


def _returns(close: FloatArray, bars: int = 1) -> FloatArray:
    """Log return over `bars` bars; NaN where either end is unknown."""
    level = np.log(close)
    out = np.full(level.size, np.nan)
    out[bars:] = level[bars:] - level[:-bars]
    return out


def _register_return(bars: int) -> None:
    meaning = f"Log return of the other market over {bars} of our primary bars."

    @features({f"xret_{bars}": meaning}, "cross_asset", ("other_close",), bars + 1, rungs=(OTHERS,))
    def log_return(columns: Columns) -> FloatArray:
        return _returns(columns["other_close"], bars)[None]


for _bars in HORIZONS:
    _register_return(_bars)


@features(
    {
        f"xcorr_{WINDOW}": "Correlation of our log returns with the other market's over 50 bars; 0 where either is flat.",
        f"xbeta_{WINDOW}": "Slope of our log returns on the other market's over 50 bars; 0 where the other is flat.",
    },
    "cross_asset",
    ("close", "other_close"),
    WINDOW + 1,
    rungs=(OTHERS,),
)
def together(columns: Columns) -> FloatArray:
    """Pearson correlation, and the slope cov / var(other), of simultaneous log returns over 50 bars."""
    moments = comoments(_returns(columns["other_close"]), _returns(columns["close"]), WINDOW, WINDOW // 2)
    out = np.stack([_correlation(moments), _slope(moments)])
    out[:, :WINDOW] = np.nan
    return out


@feature("xlead_1", "cross_asset", ("close", "other_close"), WINDOW + 2, rungs=(OTHERS,))
def lead(columns: Columns) -> FloatArray:
    """Correlation of our log return with the other market's one bar before, over 50 bars; 0 where either is flat.

    Above zero, the other market leads: what it did in a bar, ours did in the next (Lo & MacKinlay 1990).
    """
    before = np.concatenate((np.full(1, np.nan), _returns(columns["other_close"])[:-1]))
    values = _correlation(comoments(before, _returns(columns["close"]), WINDOW, WINDOW // 2))
    values[np.isnan(columns["other_close"])] = np.nan  # what we know of it is too old, though the bar before was not
    return blank(values, WINDOW + 1)


@feature("xspread_z", "cross_asset", ("close", "other_close"), SPREAD_WINDOW, rungs=(OTHERS,))
def spread(columns: Columns) -> FloatArray:
    """Residual of log(close) on a line in log(other) through 100 bars, in standard deviations of that residual.

    The line is the least squares one of those bars (Engle & Granger 1987): the residual is
    log(close) - beta * log(other) less its mean, at most sqrt(99) deviations. 0 where nothing moved or the fit is exact.
    """
    moments = comoments(np.log(columns["other_close"]), np.log(columns["close"]), SPREAD_WINDOW, SPREAD_WINDOW // 2)
    count, mean_x, mean_y, _, square_y, product = moments
    slope = _slope(moments)
    squares = square_y - slope * product
    squares = np.where((squares <= EXACT * square_y) | (squares <= NO_MOVE), 0.0, squares)
    return ratio(slope * mean_x - mean_y, np.sqrt(squares / count), 0.0)


@feature("xage", "cross_asset", ("other_age", "other_close"), 1, rungs=(OTHERS,))
def age(columns: Columns) -> FloatArray:
    """Minutes since the other market's newest bar was known, at most 5,760 (four days), which is also what none gets."""
    known = np.isfinite(columns["other_close"]) & np.isfinite(columns["other_age"])
    return np.where(known, np.minimum(columns["other_age"], AGE_CAP), AGE_CAP)


@feature("xknown", "cross_asset", ("other_close",), 1, rungs=(OTHERS,))
def known(columns: Columns) -> FloatArray:
    """1 where a bar of the other market is known that is not too old, else 0."""
    return np.isfinite(columns["other_close"]).astype(np.float64)


def _slope(moments: FloatArray) -> FloatArray:
    """Least squares slope of y on x."""
    _, _, _, square_x, _, product = moments
    return np.where(square_x <= NO_MOVE, 0.0, ratio(product, square_x, 0.0))


def _correlation(moments: FloatArray) -> FloatArray:
    _, _, _, square_x, square_y, product = moments
    flat = (square_x <= NO_MOVE) | (square_y <= NO_MOVE)
    return np.clip(np.where(flat, 0.0, ratio(product, np.sqrt(square_x) * np.sqrt(square_y), 0.0)), -1.0, 1.0)


def comoments(x: FloatArray, y: FloatArray, window: int, least: int) -> FloatArray:
    """How two series moved together over the last `window` bars, counting the bars where both are known.

    Args:
        x: (n,) values, NaN where unknown.
        y: (n,) values, NaN where unknown.
        window: bars, the newest included. Always all of them: bars before the first one leave no value.
        least: bars of them where both must be known.

    Returns:
        (6, n): count, mean of x and of y less their newest values, sums of squared deviations of x and of y, and of their
        products; NaN where the newest pair is unknown or fewer than `least` pairs are. Differences to the newest pair
        keep equal values at exactly zero, and one order of additions the same bits from every window.
    """
    pair = np.isfinite(x) & np.isfinite(y)
    moments = _comoments(np.where(pair, x, 0.0), np.where(pair, y, 0.0), pair.astype(np.float64), window)
    moments[:, ~pair | (moments[0] < least)] = np.nan
    return moments


@compiled
def _comoments(x: FloatArray, y: FloatArray, there: FloatArray, window: int) -> FloatArray:
    """`comoments` of series without NaN; `there` is 0 where the pair does not count."""
    out = np.zeros((6, x.size))
    for first in range(window - 1, x.size, LANES):
        size = min(LANES, x.size - first)
        total, x_now, y_now = np.zeros((6, size)), x[first : first + size].copy(), y[first : first + size].copy()
        for k in range(window):
            low = first - k
            _add_pair(x[low : low + size], y[low : low + size], there[low : low + size], x_now, y_now, total)
        for i in range(size):
            for side in (1, 2):
                total[side, i] /= max(total[0, i], 1.0)
            x_now[i] += total[1, i]
            y_now[i] += total[2, i]
        for k in range(window):
            low = first - k
            _add_square(x[low : low + size], y[low : low + size], there[low : low + size], x_now, y_now, total)
        out[:, first : first + size] = total
    return out


@compiled
def _add_pair(x: FloatArray, y: FloatArray, there: FloatArray, x_now: FloatArray, y_now: FloatArray, total: FloatArray) -> None:
    """Add one past pair of each lane to its count and its sums; `there` is 0 where the pair is unknown."""
    count, sum_x, sum_y = total[0], total[1], total[2]
    for i in range(x.size):
        count[i] += there[i]
        sum_x[i] += there[i] * (x[i] - x_now[i])
        sum_y[i] += there[i] * (y[i] - y_now[i])


@compiled
def _add_square(
    x: FloatArray, y: FloatArray, there: FloatArray, x_mean: FloatArray, y_mean: FloatArray, total: FloatArray
) -> None:
    square_x, square_y, product = total[3], total[4], total[5]
    for i in range(x.size):
        gap_x, gap_y = there[i] * (x[i] - x_mean[i]), there[i] * (y[i] - y_mean[i])
        square_x[i] += gap_x * gap_x
        square_y[i] += gap_y * gap_y
        product[i] += gap_x * gap_y
