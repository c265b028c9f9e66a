"""The recursions of the simulated market, minute by minute, and of its expectation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from quant_pipeline.jit import compiled

if TYPE_CHECKING:
    from quant_pipeline.bars.moments import Int64s
    from quant_pipeline.sources.simulated.couplings import Couplings
    from quant_pipeline.sources.simulated.noise import Floats

# places in the carried state, which is all that one month hands to the next
PRICE, BARS, NEWS, MACRO, VOLATILITY, REGIME, VOLUME = range(7)
STATES = 7


@compiled
def walk(
    state: Floats,
    rules: Couplings,
    scale: float,
    calm: Floats,
    regimes: Floats,
    multiplier: Floats,
    deviation: Floats,
    gap: Floats,
    shock: Floats,
    extra: Floats,
    draws: Floats,
) -> tuple[Floats, Floats]:
    """Carry the market through n trading minutes; `state` (STATES,) is updated in place.

    Args:
        state: Log price, x, n, m, log-volatility deviation, regime (a whole number), log-volume deviation.
        rules: Coefficients of the planted signal.
        scale: Slow volatility of a usual minute (log return).
        calm: Memory and step of the log-volatility, then of the log-volume (4,).
        regimes: Cumulative transition probabilities by minute (R, R).
        multiplier: Volatility multiplier of each regime (R,).
        deviation: Usual size of each minute's shock (n,).
        gap: Price gap before each minute in slow-volatility units, 0 for none (n,).
        shock: Standard normal shocks: price, log-volatility, log-volume (3, n).
        extra: Jump in slow-volatility units, tone and surprise of each minute (3, n).
        draws: Uniform draws: regime, high, low (3, n).

    Returns:
        Log open, high, low, close (4, n), and x, n, m, log-volatility, regime, log-volume after each minute (6, n).
    """
    n = deviation.shape[0]
    prices, states = np.empty((4, n)), np.empty((6, n))
    price, x, news, macro, vol, regime, volume = state
    for i in range(n):
        vol = calm[0] * vol + calm[1] * shock[1, i]
        row = regimes[int(regime)]
        regime = 0.0
        while draws[0, i] > row[int(regime)] and regime < row.shape[0] - 1:
            regime += 1.0
        sigma = scale * multiplier[int(regime)] * np.exp(vol)
        x += gap[i]
        price += sigma * gap[i]
        y = rules.bars * x + rules.news * news + rules.macro * macro + deviation[i] * shock[0, i] + extra[0, i]
        move = sigma * y
        # extremes of a Brownian bridge from open to close (inverse of their distribution)
        spread = -2.0 * (sigma * deviation[i]) ** 2
        prices[0, i] = price
        prices[1, i] = price + 0.5 * (move + np.sqrt(move * move + spread * np.log(draws[1, i])))
        prices[2, i] = price + 0.5 * (move - np.sqrt(move * move + spread * np.log(draws[2, i])))
        price += move
        prices[3, i] = price
        x = rules.bars_memory * x + y
        news = rules.news_memory * news + extra[1, i]
        macro = rules.macro_memory * macro + extra[2, i]
        volume = calm[2] * volume + calm[3] * shock[2, i]
        states[0, i], states[1, i], states[2, i] = x, news, macro
        states[3, i], states[4, i], states[5, i] = vol, regime, volume
    state[:] = (price, x, news, macro, vol, regime, volume)
    return prices, states


@compiled
def expectation(
    states: Floats,
    regime: Int64s,
    start: Int64s,
    drift: Floats,
    level: Floats,
    spread: Floats,
    memory: float,
    noise: Floats,
    gap: Floats,
    growth: float,
    bars: float,
) -> tuple[Floats, Floats]:
    """Mean and standard deviation of the log return over the next H minutes, given the state.

    Args:
        states: x, n, m and log-volatility deviation when the decision falls (4, rows).
        regime: Regime then (rows,).
        start: Row of the minute grid at whose open the trade is filled (rows,); `start + H` must lie inside it.
        drift: Expected return of minutes 1 to H per unit of x, n and m, slow-volatility units (3, H).
        level: Expected slow volatility by minutes ahead and regime, at a deviation of 0 (H, R).
        spread: The same for its square (H, R).
        memory: Memory of the log-volatility deviation per minute.
        noise: Variance of a shock in each minute of the grid, slow-volatility units.
        gap: Variance of the gap before each minute of the grid, 0 for none.
        growth: Memory of x including the momentum that it feeds.
        bars: Coupling of x.
    """
    rows, horizon = start.shape[0], drift.shape[1]
    mean, deviation = np.zeros(rows), np.zeros(rows)
    expected = np.empty(horizon)
    for row in range(rows):
        fading = states[3, row]
        for k in range(horizon):
            fading *= memory
            expected[k] = level[k, regime[row]] * np.exp(fading)
            pull = drift[0, k] * states[0, row] + drift[1, k] * states[1, row] + drift[2, k] * states[2, row]
            mean[row] += expected[k] * pull
        variance, echo = 0.0, 0.0
        for k in range(horizon - 1, -1, -1):
            at = start[row] + k
            lost = max(spread[k, regime[row]] / level[k, regime[row]] ** 2 - 1.0, 0.0) * expected[k] ** 2
            variance += ((expected[k] + echo) ** 2 + lost) * noise[at]
            # echo: what one more unit of x before minute k is still to bring
            echo = bars * expected[k] + growth * echo
            # a gap at the fill itself comes before the open that is paid: only its momentum counts
            own = expected[k] if k > 0 else 0.0
            variance += (own + echo) ** 2 * gap[at]
        deviation[row] = np.sqrt(variance)
    return mean, deviation
