"""Statistics of returns against numpy and scipy, window by window."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from quant_pipeline.features import statistics

ORACLES = {
    statistics.mean: np.mean,
    statistics.std: np.std,
    statistics.skew: scipy.stats.skew,
    statistics.kurt: scipy.stats.kurtosis,
}


@pytest.mark.parametrize("feature", ORACLES, ids=lambda feature: feature.__name__)
def test_each_window_of_20_log_returns(walk, feature):
    returns = np.diff(np.log(walk["close"]))
    windows = np.lib.stride_tricks.sliding_window_view(returns, 20)
    values = feature(walk)
    assert np.isnan(values[:20]).all()
    np.testing.assert_allclose(values[20:], [ORACLES[feature](window) for window in windows], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("feature", ORACLES, ids=lambda feature: feature.__name__)
def test_a_flat_window_is_normal_with_no_width(feature):
    assert (feature({"close": np.full(60, 0.07)})[20:] == 0.0).all()


def test_a_lone_jump_has_the_extreme_shape_of_its_window():
    close = np.r_[np.full(30, 1.0), np.full(10, 2.0)]
    assert statistics.skew({"close": close})[-1] == pytest.approx(18 / np.sqrt(19))
    assert statistics.kurt({"close": close})[-1] == pytest.approx(20 - 2 + 1 / 19 - 3)
