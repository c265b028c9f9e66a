"""The rolling z-score against pandas, and on flat and short series."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from quant_pipeline.features.zscore import rolling_zscore


@pytest.mark.parametrize(("window", "least"), [(500, 50), (60, 20), (20, 20)])
def test_equals_pandas_also_while_the_window_fills(walk, window, least):
    values = walk["close"].copy()
    values[:7] = np.nan
    rolling = pd.Series(values).rolling(window, min_periods=least)
    expected = (values - rolling.mean()) / rolling.std(ddof=0)
    np.testing.assert_allclose(rolling_zscore(values, window, least), expected, rtol=1e-7, atol=1e-9)


def test_flat_is_zero_and_so_is_rounding_of_a_level():
    assert (rolling_zscore(np.full(100, 0.1), 30, 10)[9:] == 0.0).all()
    level = 5.0 + 1e-15 * np.random.default_rng(0).normal(size=100)
    assert (rolling_zscore(level, 30, 10)[9:] == 0.0).all()


def test_a_lone_move_scores_the_root_of_the_window():
    values = np.r_[np.zeros(499), 1e-30]
    assert rolling_zscore(values, 500, 50)[-1] == pytest.approx(np.sqrt(499))


def test_nothing_known_gives_nothing():
    assert np.isnan(rolling_zscore(np.full(10, np.nan), 5, 2)).all()
    assert np.isnan(rolling_zscore(np.arange(10.0), 20, 11)).all()
    assert rolling_zscore(np.empty(0), 5, 2).size == 0
