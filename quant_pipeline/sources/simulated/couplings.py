"""The planted signal: a small linear system whose strength is solved from the skill that it shall allow.

In units of a symbol's slow volatility, the return y of minute t is

    y[t] = bars * x[t-1] + news * n[t-1] + macro * m[t-1] + shock[t]
    x[t] = bars_memory * x[t-1] + y[t]          exponentially weighted past returns: anyone can compute it from bars
    n[t] = news_memory * n[t-1] + tone[t]       headlines published in minute t
    m[t] = macro_memory * m[t-1] + surprise[t]  macro releases of minute t

Shock, tone and surprise have mean zero given the past, so the expectation of every later y is linear in (x, n, m).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from quant_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from quant_pipeline.sources.simulated.noise import Floats
    from quant_pipeline.sources.simulated.world import World

HORIZON = 300  # trading minutes (five hours) at which an effect is stated
# half-lives in trading minutes: the memory of a 14-period Wilder average on 15-minute bars is 140
BARS_HALF_LIFE, NEWS_HALF_LIFE, MACRO_HALF_LIFE = 120.0, 180.0, 400.0
JUMPS_PER_MINUTE, JUMP_SIZE = 0.0012, 6.0  # jumps have a standard deviation of six usual minutes
JUMP_VARIANCE = JUMPS_PER_MINUTE * JUMP_SIZE**2
# a strength past this leaves the state close to a random walk: longer memory than a year can show
_STRONGEST = 0.9


class Couplings(NamedTuple):
    """Coefficients of the linear system above, per trading minute."""

    bars_memory: float
    bars: float
    news_memory: float
    news: float
    macro_memory: float
    macro: float


class Ahead(NamedTuple):
    """How much of each state the return of the k-th minute ahead is expected to hold; each (horizon,), k = 1 first."""

    bars: Floats
    news: Floats
    macro: Floats


def decay(half_life: float) -> float:
    """The factor per minute that halves a state in `half_life` minutes."""
    return float(0.5 ** (1 / half_life))


def ahead(rules: Couplings, horizon: int) -> Ahead:
    """Expected return of minutes 1 to `horizon`, per unit of each state now (slow-volatility units)."""
    growth = rules.bars_memory + rules.bars
    return Ahead(
        bars=rules.bars * _powers(growth, horizon),
        news=rules.news * _driven(rules.news_memory, rules.bars, growth, horizon),
        macro=rules.macro * _driven(rules.macro_memory, rules.bars, growth, horizon),
    )


def _driven(memory: float, bars: float, growth: float, horizon: int) -> Floats:
    """What one unit of an input brings: a push that fades, and again through the past returns that it made."""
    push, echo = _powers(memory, horizon), np.zeros(horizon)
    for k in range(1, horizon):
        echo[k] = growth * echo[k - 1] + push[k - 1]
    return push + bars * echo


def _powers(base: float, count: int) -> Floats:
    return np.power(base, np.arange(count, dtype=np.float64))


def closed_form_ic(rules: Couplings, horizon: int) -> float:
    """Correlation of the forecast from `x` alone with the return of `horizon` minutes, in the plain linear model.

    Plain: constant volatility, no gaps, no news, no macro. Source: an AR(1) state, summed.
    """
    predictable, total = _variances(rules.bars_memory, rules.bars, horizon)
    return float(np.sqrt(predictable / total))


def _variances(memory: float, bars: float, horizon: int) -> tuple[float, float]:
    growth = memory + bars
    lasting = bars * (1 - growth ** np.arange(horizon + 1)) / (1 - growth)  # summed effect of one unit of x
    shock = 1 + JUMP_VARIANCE
    predictable = lasting[-1] ** 2 * shock / (1 - growth**2)
    return predictable, predictable + shock * float(np.sum((1 + lasting[:-1]) ** 2))


@lru_cache(maxsize=64)
def solve(world: World, tone_variance: float, surprise_variance: float) -> Couplings:
    """Couplings that give the world's effects, from the variance per trading minute of tones and of surprises.

    Raises:
        ConfigError: `bars_effect` is negative or more than this system can carry.
    """
    memory = decay(BARS_HALF_LIFE)
    bars = _bars_strength(memory, world.bars_effect)
    total = _variances(memory, bars, HORIZON)[1]

    def strength(effect: float, fading: float, variance: float) -> float:
        if effect == 0 or variance == 0:
            return 0.0
        per_unit = float(np.sum(_driven(fading, bars, memory + bars, HORIZON)))
        return effect * float(np.sqrt(total * (1 - fading**2) / variance)) / per_unit

    news, macro = decay(NEWS_HALF_LIFE), decay(MACRO_HALF_LIFE)
    return Couplings(
        bars_memory=memory,
        bars=bars,
        news_memory=news,
        news=strength(world.news_effect, news, tone_variance),
        macro_memory=macro,
        macro=strength(world.macro_effect, macro, surprise_variance),
    )


def _bars_strength(memory: float, effect: float) -> float:
    def reached(share: float) -> float:
        predictable, total = _variances(memory, share * (1 - memory), HORIZON)
        return float(np.sqrt(predictable / total))

    strongest = reached(_STRONGEST)
    if not 0 <= effect <= strongest:
        raise ConfigError(
            "signal of the simulated market", found=effect,
            wanted=f"an information coefficient from 0 to {strongest:.2f}", mend="choose a smaller strength; 0 plants nothing",
        )  # fmt: skip
    low, high = 0.0, _STRONGEST
    for _ in range(60 if effect else 0):
        middle = (low + high) / 2
        low, high = (middle, high) if reached(middle) < effect else (low, middle)
    return low * (1 - memory)


def long_run_gain(rules: Couplings) -> float:
    """How far a shock has carried the price when its momentum is spent; 1 in a null market."""
    return 1 / (1 - rules.bars / (1 - rules.bars_memory))
