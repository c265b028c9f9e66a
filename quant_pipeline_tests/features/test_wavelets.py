"""Wavelet features against PyWavelets, window by window, and on series whose scales are known."""

from __future__ import annotations

import numpy as np
import pytest
import pywt

from quant_pipeline.features import wavelets
from quant_pipeline.features.registry import specs

NAMES = list(wavelets.MEANINGS)

both = pytest.mark.parametrize("wavelet", wavelets.WAVELETS)


def _named(close, wavelet):
    return dict(zip(NAMES, wavelets.decompose(close, wavelet), strict=True))


def _by_pywavelets(window, wavelet):
    """The outputs for the newest bar of a window of closes."""
    x = np.log(window) - np.log(window).mean()
    bands = pywt.wavedec(x, wavelet, mode="symmetric", level=3)  # a3, d3, d2, d1

    def part(kept):
        only = [band if i == kept else np.zeros_like(band) for i, band in enumerate(bands)]
        return pywt.waverec(only, wavelet, mode="symmetric")

    trend = part(0)
    energy = np.array([np.sum(bands[i] ** 2) for i in (0, 3, 2, 1)])
    share, rise = energy / energy.sum(), trend[-1] - trend[-9]
    deviation = np.sqrt(energy[1:].sum() / 64)
    return [
        trend[-1], part(3)[-1], part(2)[-1], part(1)[-1], *share,
        rise / (abs(rise) + deviation), -np.sum(share * np.log(share)) / np.log(4),
    ]  # fmt: skip


@both
def test_each_bar_is_the_newest_of_its_own_transform(walk, wavelet):
    values = wavelets.decompose(walk["close"], wavelet)
    for bar in [63, 64, 65, 190, 191, 192, 700, 1_399]:
        expected = _by_pywavelets(walk["close"][bar - 63 : bar + 1], wavelet)
        np.testing.assert_allclose(values[:, bar], expected, rtol=1e-9, atol=1e-14)


@both
def test_the_parts_add_up_to_the_close(walk, wavelet):
    of = _named(walk["close"], wavelet)
    windows = np.lib.stride_tricks.sliding_window_view(np.log(walk["close"]), 64)
    total = of["approx"] + of["d1"] + of["d2"] + of["d3"]
    np.testing.assert_allclose(total[63:], windows[:, -1] - windows.mean(axis=1), atol=1e-13)


def test_haar_is_made_of_means_of_blocks(walk):
    level, of = np.log(walk["close"]), _named(walk["close"], "haar")
    mean = {bars: np.convolve(level, np.full(bars, 1 / bars), "valid")[64 - bars :] for bars in (1, 2, 4, 8, 64)}
    for name, fine, coarse in (("d1", 1, 2), ("d2", 2, 4), ("d3", 4, 8), ("approx", 8, 64)):
        np.testing.assert_allclose(of[name][63:], mean[fine] - mean[coarse], atol=1e-13)


@both
def test_energy_lies_at_the_scale_of_the_wave(wavelet):
    bars = np.arange(300)
    for period, name in ((2, "energy_d1"), (6, "energy_d2"), (12, "energy_d3"), (60, "energy_a3")):
        of = _named(100 * np.exp(0.01 * np.cos(2 * np.pi * bars / period)), wavelet)
        shares = {key: values[100:].mean() for key, values in of.items() if key.startswith("energy")}
        assert max(shares, key=shares.get) == name
        assert sum(shares.values()) == pytest.approx(1.0)


@both
def test_a_mirrored_market_mirrors_the_signed_outputs_only(walk, wavelet):
    up, down = _named(walk["close"], wavelet), _named(1 / walk["close"], wavelet)
    for name in NAMES:
        sign = -1 if name in {"approx", "d1", "d2", "d3", "trend_strength"} else 1
        np.testing.assert_allclose(down[name], sign * up[name], rtol=1e-9, atol=1e-13)


@both
def test_trend_strength_tells_a_trend_from_noise(wavelet):
    noise = 1e-3 * np.random.default_rng(4).normal(size=500)
    strength = [_named(100 * np.exp(drift * np.arange(500) + noise), wavelet)["trend_strength"][63:] for drift in (0, 2e-3)]
    assert abs(strength[0].mean()) < 0.15
    assert strength[1].mean() > 0.7


@both
def test_a_still_window_is_all_approximation(wavelet):
    close = np.r_[100 + np.random.default_rng(5).normal(size=100), np.full(70, 123.456)]
    values = wavelets.decompose(close, wavelet)
    assert values[5, 162] > 0  # the last window with a move in it
    still = [float(name == "energy_a3") for name in NAMES]
    assert (values[:, 163:] == np.array(still)[:, None]).all()


def test_twenty_columns_of_the_primary_rung():
    names = [spec.name for spec in specs(("wavelets",))]
    assert len(names) == len(set(names)) == 20
    assert all(name.startswith("wavelet_") for name in names)
    assert {"wavelet_db4_approx", "wavelet_db4_d3", "wavelet_haar_energy_d1", "wavelet_haar_trend_strength"} <= set(names)
