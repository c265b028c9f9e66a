"""Rolling kernels of finite memory: the value at a bar is one fixed expression over its last `window` bars.

Running sums and recursive averages carry rounding, and the start of the array, through to the last bar. Here
every window is a tree of halves (a block of 2m bars is two blocks of m bars), so a value has the same bits
whether it is computed on five years, on the tail that an update reads, or on the window that live inference
reads. It costs O(log window) passes. Windows of equal values give exactly zero spread. Bars before the first
one do not exist: the earliest windows are shorter, and the callers say from which length on they are valid.
A NaN spoils only the windows that hold it.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from quant_pipeline.jit import compiled

FloatArray = npt.NDArray[np.float64]

FORGOTTEN = 1e-9
"""Share of an exponential average's weight that is old enough to be cut off."""
LANES = 256
"""Bars whose windows are worked on side by side: enough for vector instructions, few enough for the first-level cache."""


def memory(decay: float) -> int:
    """Bars after which an exponential average of `decay` per bar has forgotten all but 1e-9 of its weight.

    Example:
        >>> memory(13 / 14), memory(25 / 27)  # Wilder's smoothing over 14 bars, EMA over 26 bars
        (280, 270)
    """
    return math.ceil(math.log(FORGOTTEN) / math.log(decay))


@compiled
def decayed_sum(x: FloatArray, window: int, decay: float) -> FloatArray:
    """Sum over k < window of `decay**k * x[i - k]`; `decay=1.0` is the plain rolling sum."""
    total, spare = np.zeros(x.size), np.empty(x.size)
    block = x.copy()  # block[i]: the sum over the `size` newest bars at i
    size, factor = 1, decay
    covered, reach = 0, 1.0
    while True:
        if window & size:
            _add_older(total, block, covered, reach, spare)
            total, spare = spare, total
            covered += size
            reach *= factor
            if covered == window:
                return total
        _add_older(block, block, size, factor, spare)
        block, spare = spare, block
        size *= 2
        factor *= factor


@compiled
def _add_older(newer: FloatArray, older: FloatArray, bars: int, factor: float, out: FloatArray) -> None:
    """out[i] = newer[i] + factor * older[i - bars]; the slices let the compiler use vector instructions."""
    out[:bars] = newer[:bars]
    newer, out = newer[bars:], out[bars:]
    for i in range(newer.size):
        out[i] = newer[i] + factor * older[i]


@compiled
def decayed_mean(x: FloatArray, window: int, decay: float) -> FloatArray:
    """Exponentially weighted mean of the last `window` values, weights normalised to one in every window."""
    out = decayed_sum(x, window, decay)
    left = 1.0
    for i in range(min(window, x.size)):
        left *= decay
        out[i] *= (1.0 - decay) / (1.0 - left)
    for i in range(window, x.size):
        out[i] *= (1.0 - decay) / (1.0 - left)
    return out


@compiled
def rolling_mean(x: FloatArray, window: int) -> FloatArray:
    """Mean of the last `window` values."""
    out = decayed_sum(x, window, 1.0)
    for i in range(x.size):
        out[i] /= min(i + 1, window)
    return out


@compiled
def rolling_max(x: FloatArray, window: int) -> FloatArray:
    """Largest of the last `window` values; the smallest is `-rolling_max(-x, window)`."""
    best, spare = x.copy(), np.empty(x.size)
    size = 1
    while size < window:
        step = min(size, window - size)
        spare[:step] = best[:step]
        newer, larger = best[step:], spare[step:]
        for i in range(newer.size):
            larger[i] = max(best[i], newer[i])
        best, spare = spare, best
        size += step
    return best


@compiled
def rolling_spread(x: FloatArray, window: int) -> FloatArray:
    """Mean (row 0) and sum of squared deviations (row 1) of the last `window` values, (2, n).

    Halves are merged by the pairwise update of Chan, Golub & LeVeque (1983), so that nothing cancels and equal
    values give exactly zero.
    """
    total, spare, block = np.empty((2, x.size)), np.empty((2, x.size)), np.zeros((2, x.size))
    block[0] = x
    size, covered = 1, 0
    while True:
        if window & size:
            if covered == 0:
                total[:] = block
            else:
                _merge_older(total, block, covered, size, spare)
                total, spare = spare, total
            covered += size
            if covered == window:
                return total
        _merge_older(block, block, size, size, spare)
        block, spare = spare, block
        size *= 2


@compiled
def _merge_older(newer: FloatArray, older: FloatArray, bars: int, older_bars: int, out: FloatArray) -> None:
    """Join each window of `newer`, `bars` long, with the one of `older` that ends just before it."""
    out[:, :bars] = newer[:, :bars]
    full = min(bars + older_bars - 1, out.shape[1])  # before it, the first bar cuts the older window short
    for i in range(bars, full):
        share = (i - bars + 1.0) / (i + 1.0)
        gap = older[0, i - bars] - newer[0, i]
        out[0, i] = newer[0, i] + gap * share
        out[1, i] = newer[1, i] + older[1, i - bars] + gap * gap * (share * bars)
    share = older_bars / (bars + older_bars)
    mean, square, older_mean, older_square = newer[0, full:], newer[1, full:], older[0, full - bars :], older[1, full - bars :]
    out_mean, out_square = out[0, full:], out[1, full:]
    for i in range(mean.size):
        gap = older_mean[i] - mean[i]
        out_mean[i] = mean[i] + gap * share
        out_square[i] = square[i] + older_square[i] + gap * gap * (share * bars)


@compiled
def rolling_shape(x: FloatArray, window: int, flat: float) -> FloatArray:
    """Third (row 0) and fourth (row 1) standardised central moment of the last `window` values, (2, n).

    NaN until the window is full, and where its sum of squared deviations is at most `flat`: such a window has no shape.
    """
    out = np.full((2, x.size), np.nan)
    for first in range(window - 1, x.size, LANES):
        now = x[first : first + LANES]
        mean = np.zeros(now.size)
        for k in range(window):
            past = x[first - k : first - k + LANES]
            for i in range(now.size):
                mean[i] += past[i] - now[i]  # differences to one member: equal values cancel exactly
        moments = np.zeros((3, now.size))
        second, third, fourth = moments[0], moments[1], moments[2]
        for k in range(window):
            past = x[first - k : first - k + LANES]
            for i in range(now.size):
                gap = past[i] - now[i] - mean[i] / window
                second[i] += gap * gap
                third[i] += gap * gap * gap
                fourth[i] += gap * gap * gap * gap
        for i in range(now.size):
            if second[i] > flat:
                variance = second[i] / window
                out[0, first + i] = third[i] / window / (variance * math.sqrt(variance))
                out[1, first + i] = fourth[i] / window / (variance * variance)
    return out


@compiled
def true_range(high: FloatArray, low: FloatArray, close: FloatArray) -> FloatArray:
    """Wilder's true range; the first bar has no previous close and counts high less low."""
    out = high - low
    for i in range(1, out.size):
        out[i] = max(high[i], close[i - 1]) - min(low[i], close[i - 1])
    return out


@compiled
def directional_movement(high: FloatArray, low: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Wilder's +DM and -DM: the larger of the two extensions of the previous bar's range, the other zero."""
    n = high.size
    plus, minus = np.zeros(n), np.zeros(n)
    for i in range(1, n):
        up, down = high[i] - high[i - 1], low[i - 1] - low[i]
        if up > down and up > 0.0:
            plus[i] = up
        elif down > up and down > 0.0:
            minus[i] = down
    return plus, minus


@compiled
def session_average(price: FloatArray, weight: FloatArray, session: FloatArray) -> FloatArray:
    """Mean of `price` weighted by `weight` since `session` last changed; the price itself while all weights are zero."""
    n = price.size
    out = np.empty(n)
    first, weights, products = 0.0, 0.0, 0.0
    for i in range(n):
        if i == 0 or session[i] != session[i - 1]:
            first, weights, products = price[i], 0.0, 0.0
        weights += weight[i]
        products += weight[i] * (price[i] - first)  # differences: a flat session gives its price exactly
        out[i] = price[i] if weights == 0.0 else first + products / weights
    return out


def change(x: FloatArray) -> FloatArray:
    """`x[i] - x[i - 1]`, and zero at the first bar."""
    return np.diff(x, prepend=x[:1])


def blank(values: FloatArray, bars: int) -> FloatArray:
    """`values` with the first `bars` of them set to NaN, in place."""
    values[:bars] = np.nan
    return values


def ratio(part: FloatArray, whole: FloatArray, otherwise: float) -> FloatArray:
    """`part / whole`, and `otherwise` where `whole` is zero."""
    nothing = whole == 0.0
    return np.where(nothing, otherwise, part / np.where(nothing, 1.0, whole))
