"""Market regimes: a Gaussian hidden Markov model of the primary bars, fitted on training bars, read by its forward filter.

hmmlearn fits it (Baum-Welch). Its `predict_proba` is the smoothed posterior, which sees the whole series, so it answers no
question here: the filter below reads bars up to its own row only, and `RESTART` of them, from the stationary distribution
on, so that a value has the same bits on five years and on the window that live inference reads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_pipeline.bars.moments import microseconds, require_columns, to_microseconds
from quant_pipeline.errors import BundleError, DamagedError, DataError, ModelError
from quant_pipeline.features.kernels import FloatArray, change, rolling_spread
from quant_pipeline.files import read_json, write_json
from quant_pipeline.jit import compiled

OBSERVATIONS = ("scaled_return", "log_volatility")
VOLATILITY = OBSERVATIONS.index("log_volatility")
"""The observation that orders the states."""
SHORT, LONG = 20, 100
"""Bars of the volatility that is observed, and of the one that a return is measured by."""
STILL = 1e-8
"""Volatility per bar below which a market stands still: a hundredth of the finest tick share."""
WILD = 8.0
"""Standard deviations at which a return is cut: a Gaussian would spend a whole state on a larger one."""
RESTART = 200
"""Bars of the filter: a regime that lasts 20 bars on average is forgotten to (1 - 1/20)**200 = 4e-5."""
LOOKBACK = RESTART + LONG + 1
"""Bars, the newest included, that decide one row."""
RESTARTS = 4
"""Starting points of the fit, of which the most likely is kept: Baum-Welch only climbs the hill that it starts on."""
ITERATIONS = 60
LEAST_BARS = 20
"""Training bars for each state: with three, about the fewest rows that any model of a fold accepts."""
MOST_BARS = 20_000
"""Newest training bars that are read: two years of hours place three states as well as ten years do, in a fifth of the time."""
LEAST_SHARE = 1e-6
"""Least probability of any transition, so that the filter can leave a state which it never left in training."""
LEAST_VARIANCE = 1e-3
"""Of observations scaled to one: hmmlearn's own floor, without which a still market makes a state of no width."""
FILE = "regimes.json"
ARRAYS = ("centre", "spread", "means", "variances", "transitions", "stationary")


@dataclass(frozen=True, eq=False)
class RegimeModel:
    """K regimes, the calmest first; every array is of the scaled observations.

    Attributes:
        centre: (2,) mean of the training observations, what is subtracted first.
        spread: (2,) their standard deviation, what is divided by next.
        means: (K, 2) of each state.
        variances: (K, 2) of each state, independent of each other.
        transitions: (K, K), from the row's state to the column's, rows summing to 1.
        stationary: (K,) distribution that `transitions` leaves as it is.
        log_likelihood: of the training bars, per bar, in nats.
    """

    centre: FloatArray
    spread: FloatArray
    means: FloatArray
    variances: FloatArray
    transitions: FloatArray
    stationary: FloatArray
    log_likelihood: float

    @property
    def states(self) -> int:
        """K."""
        return len(self.stationary)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of what `probabilities` tells of a row."""
        return (*(f"regime_p{state}" for state in range(self.states)), "regime_state", "regime_entropy")

    @classmethod
    def fit(cls, bars: pl.DataFrame, decisions: pl.Series, *, states: int = 3, seed: int = 0) -> Self:
        """Learn `states` regimes from the bars whose `known_at` is one of `decisions`, and from no other row.

        Each run of neighbouring training bars is a sequence of its own: no transition is learned across what is left out.
        An observation reads `LONG` bars back, as every feature of a training row does.

        Args:
            bars: RUNG BARS of the primary rung.
            decisions: (n,) `decision_at` of the fold's training rows, in any order; the newest `MOST_BARS` are read.
            states: number of regimes.
            seed: of the starting points.

        Raises:
            ModelError: fewer than `LEAST_BARS` training bars for each state.
        """
        observed = observations(bars)
        rows = np.flatnonzero(np.isin(microseconds(bars["known_at"]), microseconds(decisions)) & ~np.isnan(observed).any(axis=1))
        if rows.size < LEAST_BARS * states:
            raise ModelError("regimes: training bars", found=rows.size, wanted=f"at least {LEAST_BARS * states}",
                             mend="use a longer history, fewer folds or fewer states")  # fmt: skip
        rows = rows[-MOST_BARS:]
        centre, spread = observed[rows].mean(axis=0), np.maximum(observed[rows].std(axis=0), STILL)
        lengths = np.diff(np.flatnonzero(np.diff(rows, prepend=-2, append=rows[-1] + 2) > 1))
        return cls._ordered(_best_fit((observed[rows] - centre) / spread, lengths, states, seed), centre, spread, rows.size)

    @classmethod
    def _ordered(cls, fitted: _Fit, centre: FloatArray, spread: FloatArray, bars: int) -> Self:
        order = np.argsort(fitted.means[:, VOLATILITY], kind="stable")
        transitions: FloatArray = np.maximum(np.nan_to_num(fitted.transitions)[np.ix_(order, order)], LEAST_SHARE)
        transitions /= transitions.sum(axis=1, keepdims=True)
        variances = np.maximum(fitted.variances[order], LEAST_VARIANCE)
        return cls(centre, spread, fitted.means[order], variances, transitions, _stationary(transitions), fitted.score / bars)

    def probabilities(self, bars: pl.DataFrame, since: datetime | None = None) -> pl.DataFrame:
        """Filtered regimes of primary bars: what each row tells is known at its `decision_at`.

        Args:
            bars: RUNG BARS of the primary rung, at least `LOOKBACK` of them before the first row that is wanted.
            since: only rows known later than this; they equal those of a call without it, bit for bit.

        Returns:
            timestamp, decision_at, `regime_p0` … (calmest first, summing to 1), `regime_state` (Int8, the likeliest),
            `regime_entropy` (0 certain to 1 clueless); null in a row that has fewer than `LOOKBACK` bars.

        Raises:
            DataError: missing columns.
        """
        wanted = self._first_wanted(bars, since)
        start = max(0, wanted - LOOKBACK + 1)
        window = bars.slice(start)
        scores = log_densities((observations(window) - self.centre) / self.spread, self.means, self.variances)
        filtered = forward(scores, self.transitions, self.stationary, RESTART)
        filtered[: LOOKBACK - 1 if start == 0 else wanted - start] = np.nan
        keys = window.select("timestamp", pl.col("known_at").alias("decision_at"))
        return keys.hstack(self._told(filtered)).slice(wanted - start)

    def _first_wanted(self, bars: pl.DataFrame, since: datetime | None) -> int:
        require_columns(bars, ("timestamp", "known_at", "close"), "bars of the regimes")
        if since is None:
            return 0
        return int(np.searchsorted(microseconds(bars["known_at"]), to_microseconds(since, "since"), side="right"))

    def _told(self, filtered: FloatArray) -> list[pl.Series]:
        known = np.isfinite(filtered[:, 0])  # a row is known in all states or in none
        state = np.where(known, np.where(known[:, None], filtered, 0.0).argmax(axis=1), -1).astype(np.int8)
        bits = -np.where(filtered > 0.0, filtered * np.log(np.where(filtered > 0.0, filtered, 1.0)), 0.0).sum(axis=1)
        entropy = np.where(known, np.clip(bits / math.log(max(self.states, 2)), 0.0, 1.0), np.nan)
        chances = [pl.Series(name, filtered[:, k], nan_to_null=True) for k, name in enumerate(self.columns[: self.states])]
        likeliest = pl.Series("regime_state", state).set(pl.Series(~known), None)
        return [*chances, likeliest, pl.Series("regime_entropy", entropy, nan_to_null=True)]

    def save(self, folder: Path) -> None:
        """Write it as one JSON file."""
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / FILE, self.to_dict())

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote; raises `BundleError` naming a file that is absent or damaged."""
        path = folder / FILE
        try:
            return cls.from_dict(read_json(path, "fit the regimes again"))
        except (DamagedError, ValueError, TypeError, KeyError) as error:
            raise BundleError(str(path), found=getattr(error, "found", error), wanted="regimes that this package saved",
                              mend="fit the regimes again") from error  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers for JSON; `from_dict` gives the same bits back."""
        return {
            "observations": list(OBSERVATIONS),
            **{name: getattr(self, name).tolist() for name in ARRAYS},
            "log_likelihood": self.log_likelihood,
        }

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> Self:
        """The model that `to_dict` wrote; raises `DataError` for one of other observations."""
        if facts.get("observations") != list(OBSERVATIONS):
            raise DataError("regimes", found=f"observations {facts.get('observations')}", wanted=f"{list(OBSERVATIONS)}",
                            mend="fit the regimes again")  # fmt: skip
        arrays: dict[str, Any] = {name: np.asarray(facts[name], dtype=np.float64) for name in ARRAYS}
        return cls(**arrays, log_likelihood=facts["log_likelihood"])


def observations(bars: pl.DataFrame) -> FloatArray:
    """What the regimes emit, (n, 2): log return in standard deviations of the 100 before it, log standard deviation of 20.

    NaN in the first `LONG` + 1 rows. A still market gives a return of 0 and a volatility of `STILL`.
    """
    close = bars["close"].to_numpy()
    if close.size <= LONG:
        return np.full((close.size, len(OBSERVATIONS)), np.nan)
    returns = change(np.log(close))
    short, before = _deviation(returns, SHORT), np.concatenate(([STILL], _deviation(returns, LONG)[:-1]))
    out = np.column_stack([np.clip(returns / before, -WILD, WILD), np.log(short)])
    out[: LONG + 1] = np.nan
    return out


def _deviation(returns: FloatArray, window: int) -> FloatArray:
    deviation: FloatArray = np.maximum(np.sqrt(rolling_spread(returns, window)[1] / window), STILL)
    return deviation


@dataclass(frozen=True, eq=False)
class _Fit:
    """What hmmlearn found, states in no order; `score` is the log-likelihood of all bars."""

    means: FloatArray
    variances: FloatArray
    transitions: FloatArray
    score: float


def _best_fit(scaled: FloatArray, lengths: NDArray[np.int64], states: int, seed: int) -> _Fit:
    """The likeliest of `RESTARTS` fits of GaussianHMM, (n, 2) rows in sequences of `lengths`."""
    from hmmlearn.hmm import GaussianHMM
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    best = None
    for attempt in range(RESTARTS):
        model = GaussianHMM(states, "diag", min_covar=LEAST_VARIANCE, n_iter=ITERATIONS, tol=1e-2, random_state=seed + attempt)
        with threadpool_limits(limits=1):  # two threads on busy cores wait for each other far longer than they work
            model.fit(scaled, lengths)
        variances = np.diagonal(model.covars_, axis1=1, axis2=2).copy()
        found = _Fit(model.means_, variances, model.transmat_, float(model.score(scaled, lengths)))
        if best is None or found.score > best.score:
            best = found
    if best is None or not math.isfinite(best.score):
        raise ModelError("regimes", found="no fit with a finite likelihood", wanted="one", mend="use fewer states")
    return best


def _stationary(transitions: FloatArray) -> FloatArray:
    """(K,) the distribution that the transitions leave as it is: least squares of pi (A - I) = 0 and sum pi = 1."""
    states = len(transitions)
    system = np.vstack([transitions.T - np.eye(states), np.ones(states)])
    solved = np.linalg.lstsq(system, np.concatenate([np.zeros(states), [1.0]]), rcond=None)[0]
    shares: FloatArray = np.maximum(solved, LEAST_SHARE)
    shares /= shares.sum()
    return shares


@compiled
def log_densities(scaled: FloatArray, means: FloatArray, variances: FloatArray) -> FloatArray:
    """Log density of each row in each state, (n, K): independent Gaussians. Row by row, so that no batch changes a bit."""
    out = np.empty((scaled.shape[0], means.shape[0]))
    for t in range(scaled.shape[0]):
        for k in range(means.shape[0]):
            total = 0.0
            for j in range(means.shape[1]):
                gap = scaled[t, j] - means[k, j]
                total -= 0.5 * (gap * gap / variances[k, j] + math.log(2.0 * math.pi * variances[k, j]))
            out[t, k] = total
    return out


@compiled
def forward(scores: FloatArray, transitions: FloatArray, stationary: FloatArray, restart: int) -> FloatArray:
    """P(state at t | the rows t - restart + 1 … t), (n, K), from `stationary` at the oldest of them; a NaN row spoils its own.

    Args:
        scores: (n, K) log densities.
        transitions: (K, K) rows summing to 1.
        stationary: (K,) distribution before the oldest row is seen.
        restart: rows read for each answer; fewer at the start.
    """
    n, states = scores.shape
    out, ahead = np.empty((n, states)), np.empty(states)
    weights = np.empty((n, states))
    for t in range(n):
        top = scores[t].max()
        for k in range(states):
            weights[t, k] = math.exp(scores[t, k] - top)
    for t in range(n):
        first = max(0, t - restart + 1)
        belief = out[t]
        for s in range(first, t + 1):
            total = 0.0
            for k in range(states):
                chance = stationary[k]
                if s > first:
                    chance = 0.0
                    for j in range(states):
                        chance += belief[j] * transitions[j, k]
                ahead[k] = chance * weights[s, k]
                total += ahead[k]
            for k in range(states):
                belief[k] = ahead[k] / total
    return out
