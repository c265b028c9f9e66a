"""Returns against shifts, and the place between the bands against TA-Lib."""

from __future__ import annotations

import numpy as np
import pandas as pd
import talib

from quant_pipeline.features import returns
from quant_pipeline.features.registry import specs


def test_simple_return_of_the_last_bar(walk):
    np.testing.assert_allclose(returns.last_return(walk), pd.Series(walk["close"]).pct_change(), rtol=1e-12)


def test_log_returns_of_every_horizon(walk):
    close = pd.Series(walk["close"])
    found = {spec.name: spec.function(walk)[0] for spec in specs(("returns",)) if spec.name.startswith("log_return_")}
    assert list(found) == [f"log_return_{bars}" for bars in (1, 2, 3, 5, 8, 13)]
    for name, values in found.items():
        bars = int(name.rsplit("_", 1)[1])
        np.testing.assert_allclose(values, np.log(close / close.shift(bars)), rtol=1e-9, atol=1e-14)


def test_position_between_the_bands_is_that_of_talib(walk):
    upper, _, lower = talib.BBANDS(walk["close"], 20, 2, 2)
    expected = (walk["close"] - lower) / (upper - lower)
    np.testing.assert_allclose(returns.bb_position(walk)[19:], expected[19:], rtol=1e-6, atol=1e-8)


def test_position_is_the_middle_where_the_bands_meet():
    assert (returns.bb_position({"close": np.full(40, 0.1)})[19:] == 0.5).all()
