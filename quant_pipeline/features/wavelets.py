"""Wavelets: what the discrete wavelet transform of the last 64 primary closes says of the newest one.

The transform of a whole series looks ahead, so each bar has its own: three levels of Daubechies 4 and of Haar over
the window that ends there, mirrored at both ends (PyWavelets' `symmetric` mode), as the multiresolution analysis of
Mallat (1989). The coefficients and the reconstruction of the newest bar are fixed linear forms of the window, the
energies their squares: they are derived once and applied everywhere. Closes are logarithms less their mean over the
window, so no price level is left; a window that stood still has no details, and all its energy in the approximation.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from quant_pipeline.features.kernels import FloatArray, ratio
from quant_pipeline.features.registry import PRIMARY, Columns, features
from quant_pipeline.features.statistics import NO_SHAPE
from quant_pipeline.jit import compiled

WAVELETS = ("db4", "haar")
WINDOW = 64
"""The shortest power of two that Daubechies 4, eight taps long, can be applied to three times."""
LEVELS = 3
BLOCK = 2**LEVELS
"""Bars that the approximation cannot tell apart."""
MODE = "symmetric"
LANES = 128
"""Windows worked on side by side: 64 of them by 128 bars fit the second-level cache."""

MEANINGS = {
    "approx": "Trend: approximation of level 3 at the newest bar, log price from the mean of 64 bars",
    "d1": "Detail of 2 to 4 bars at the newest bar, log price",
    "d2": "Detail of 4 to 8 bars at the newest bar, log price",
    "d3": "Detail of 8 to 16 bars at the newest bar, log price",
    "energy_a3": "Share of the approximation in the squared coefficients of 64 bars; 1 where the price stood still",
    "energy_d1": "Share of the details of 2 to 4 bars in the squared coefficients of 64 bars",
    "energy_d2": "Share of the details of 4 to 8 bars in the squared coefficients of 64 bars",
    "energy_d3": "Share of the details of 8 to 16 bars in the squared coefficients of 64 bars",
    "trend_strength": "Rise r of the approximation over 8 bars against the details' deviation s: r / (|r| + s), -1 to 1",
    "entropy": "Wavelet entropy (Rosso et al. 2001) of the four energy shares over its maximum: 0 one scale, 1 all alike",
}
LINEAR = 5
"""Forms whose value is kept: approx, d1, d2, d3 and the rise of the approximation; squares of the others are summed."""


class Forms(NamedTuple):
    """A wavelet as linear forms of a window.

    Attributes:
        weights: (m, 64), newest bar last: first the `LINEAR` ones, then every coefficient of the transform.
        support: (m, 2) first column that is not zero, and the one after the last.
        row: (m,) where its value, or its square, is added: 0 to 4 as in `LINEAR`, then a3, d1, d2, d3.
    """

    weights: FloatArray
    support: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]


@lru_cache(maxsize=len(WAVELETS))
def forms(wavelet: str) -> Forms:
    """The forms of `wavelet`, from the transforms of the 64 unit vectors."""
    import pywt

    bands = pywt.wavedec(np.eye(WINDOW), wavelet, mode=MODE, level=LEVELS, axis=0)  # a3, d3, d2, d1: (coefficients, 64)
    order = (0, *range(LEVELS, 0, -1))  # a3, d1, d2, d3
    parts = [
        pywt.waverec([band if i == kept else np.zeros_like(band) for i, band in enumerate(bands)], wavelet, mode=MODE, axis=0)
        for kept in order
    ]
    newest = [part[-1] for part in parts]
    rise = parts[0][-1] - parts[0][-1 - BLOCK]
    weights = np.vstack([*newest, rise, *(bands[i] for i in order)])
    sizes = [len(bands[i]) for i in order]
    row = np.r_[np.arange(LINEAR), np.repeat(LINEAR + np.arange(len(order)), sizes)]
    used = weights != 0.0
    support = np.stack([used.argmax(axis=1), WINDOW - used[:, ::-1].argmax(axis=1)], axis=1)
    return Forms(weights, support, row)


@compiled
def _apply(
    x: FloatArray, weights: FloatArray, support: npt.NDArray[np.int64], row: npt.NDArray[np.int64], linear: int, out: FloatArray
) -> None:
    """Add each form of the window that ends at each bar, or its square, to the form's row of `out`."""
    window = weights.shape[1]
    for first in range(window - 1, x.size, LANES):
        lanes = min(LANES, x.size - first)
        past = _centred(x, first, lanes, window)
        for form in range(weights.shape[0]):
            value = np.zeros(lanes)
            for k in range(support[form, 0], support[form, 1]):
                weight, bar = weights[form, k], past[k]
                for i in range(lanes):
                    value[i] += weight * bar[i]
            target = out[row[form], first : first + lanes]
            for i in range(lanes):
                target[i] += value[i] if form < linear else value[i] * value[i]


@compiled
def _centred(x: FloatArray, first: int, lanes: int, window: int) -> FloatArray:
    """(window, lanes): the windows that end at the bars from `first` on, each less its mean; equal values give zeros."""
    past, mean = np.empty((window, lanes)), np.zeros(lanes)
    for k in range(window):
        for i in range(lanes):
            past[k, i] = x[first - window + 1 + k + i] - x[first + i]
            mean[i] += past[k, i] / window
    for k in range(window):
        for i in range(lanes):
            past[k, i] -= mean[i]
    return past


def decompose(close: FloatArray, wavelet: str) -> FloatArray:
    """The outputs of `MEANINGS` for every bar.

    Args:
        close: (n,) positive prices, oldest first.
        wavelet: any discrete wavelet of PyWavelets with at most eight taps.

    Returns:
        (10, n) in the order of `MEANINGS`; NaN before bar 64. Each column is decided by the 64 bars that end there.
    """
    made = forms(wavelet)
    values = np.zeros((LINEAR + LEVELS + 1, close.size))
    _apply(np.log(close), *made, LINEAR, values)
    energies = values[LINEAR:]
    total = energies[0] + energies[1] + energies[2] + energies[3]
    still = total <= NO_SHAPE
    values[:, still] = 0.0
    shares = energies / np.where(still, 1.0, total)
    shares[0, still] = 1.0
    strength = _strength(values[LINEAR - 1], energies[1] + energies[2] + energies[3])
    out = np.vstack([values[: LINEAR - 1], shares, strength, _entropy(shares)])
    out[:, : WINDOW - 1] = np.nan
    return out


def _strength(rise: FloatArray, details: FloatArray) -> FloatArray:
    return ratio(rise, np.abs(rise) + np.sqrt(details / WINDOW), 0.0)


def _entropy(shares: FloatArray) -> FloatArray:
    terms = shares * np.log(np.where(shares > 0.0, shares, 1.0))
    entropy: FloatArray = -(terms[0] + terms[1] + terms[2] + terms[3]) / np.log(len(shares))
    return entropy


def _register(wavelet: str) -> None:
    meanings = {f"wavelet_{wavelet}_{name}": f"{meaning} ({wavelet})" for name, meaning in MEANINGS.items()}

    @features(meanings, "wavelets", ("close",), WINDOW, rungs=(PRIMARY,))
    def transform(columns: Columns) -> FloatArray:
        """The wavelet's outputs for every bar."""
        return decompose(columns["close"], wavelet)


for _wavelet in WAVELETS:
    _register(_wavelet)
