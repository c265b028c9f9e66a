"""Planted leaks in series: expressions of the close, whole-series transforms, smoothed regimes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from quant_pipeline.features.wavelets import decompose
from quant_pipeline.validation.leaks.bench import Planted, Values, bars, under_prefix_audit

if TYPE_CHECKING:
    from hmmlearn.hmm import GaussianHMM

CLOSE, FOUR_HOURS = pl.col("close"), pl.col("timestamp").dt.truncate("4h")
SMOOTH = CLOSE.forward_fill().ewm_mean(alpha=0.2)
SCORE = (CLOSE - CLOSE.rolling_mean(50, min_samples=10)) / CLOSE.rolling_std(50, min_samples=10)
SPREAD = CLOSE.rolling_max(50, min_samples=1) - CLOSE.rolling_min(50, min_samples=1)
SWING = CLOSE.forward_fill() == CLOSE.forward_fill().rolling_max(5, center=True)
WAVELET = "db4"
DEVIATIONS = np.array([0.5, 1.5])
"""Of a move in a calm and in a wild hour; the walk's own is 1."""
FIRST, NEXT = np.array([0.5, 0.5]), np.array([[0.9, 0.1], [0.1, 0.9]])
"""Chances of the two regimes in the first hour, and from one hour (row) to the next."""


def feature(wrong: pl.Expr, right: pl.Expr) -> Planted:
    """A feature of `close`, made the wrong or the right way, under the prefix audit."""

    def find(*, leak: bool) -> pl.DataFrame:
        made = (wrong if leak else right).alias("feature")
        return under_prefix_audit(lambda cut: bars().filter(pl.col("decision_at") <= cut).with_columns(made))

    return find


def whole_wavelet(known: pl.DataFrame) -> Values:
    """The approximation of one transform of the whole series, as a denoised price."""
    import pywt

    approximation, *details = pywt.wavedec(np.log(known["close"].to_numpy()), WAVELET, mode="symmetric")
    back = pywt.waverec([approximation, *(np.zeros_like(detail) for detail in details)], WAVELET, mode="symmetric")
    return np.asarray(back[: known.height])


def trailing_wavelet(known: pl.DataFrame) -> Values:
    """The approximation of the transform of the window that ends at each bar."""
    return np.asarray(decompose(known["close"].to_numpy(), WAVELET)[0])


def regime_model() -> GaussianHMM:
    """Two regimes of hourly moves, given and not fitted."""
    from hmmlearn.hmm import GaussianHMM

    model = GaussianHMM(len(FIRST), "diag")
    model.startprob_, model.transmat_ = FIRST, NEXT
    model.means_, model.covars_ = np.zeros((len(FIRST), 1)), DEVIATIONS[:, None] ** 2
    return model


def moves(known: pl.DataFrame) -> Values:
    """Change of the close from bar to bar, (n,), 0 at the first."""
    close = known["close"].to_numpy()
    return np.diff(close, prepend=close[:1])


def smoothed_regime(known: pl.DataFrame) -> Values:
    """Chance of the wild regime given the whole series: hmmlearn's `predict_proba`."""
    return np.asarray(regime_model().predict_proba(moves(known)[:, None])[:, 1])


def decoded_regime(known: pl.DataFrame) -> Values:
    """The regime on the likeliest path through the whole series: hmmlearn's `predict`."""
    return np.asarray(regime_model().predict(moves(known)[:, None]), np.float64)


def filtered_regime(known: pl.DataFrame) -> Values:
    """Chance of the wild regime given the bars so far: the forward filter."""
    density = np.exp(-0.5 * (moves(known)[:, None] / DEVIATIONS) ** 2) / DEVIATIONS
    out, ahead = np.empty(known.height), FIRST
    for row, seen in enumerate(density):
        belief = ahead * seen / (ahead @ seen)
        out[row], ahead = belief[1], belief @ NEXT
    return out


def filtered_state(known: pl.DataFrame) -> Values:
    """The likelier regime by the forward filter."""
    return np.asarray(filtered_regime(known) > FIRST[1], np.float64)
