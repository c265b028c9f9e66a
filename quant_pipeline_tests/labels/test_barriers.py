from __future__ import annotations

import numpy as np
import pytest
import talib

from quant_pipeline.labels import barriers
from quant_pipeline.labels.barriers import LOWER, UPPER, VERTICAL, Barriers, Blocks, Path


def random_prices(count, seed=0):
    random = np.random.default_rng(seed)
    close = 100 + random.normal(size=count).cumsum()
    return close + random.random(count), close - random.random(count), close


@pytest.mark.parametrize("period", [1, 2, 14, 300])
def test_atr_is_the_mean_true_range(period):
    high, low, close = random_prices(2_500)
    atr = barriers.simple_atr(high, low, close, period)
    ranges = talib.TRANGE(high, low, close)
    assert np.isnan(atr[:period]).all()
    for i in (period, period + 1, 1_030, 2_499):
        assert atr[i] == pytest.approx(ranges[i - period + 1 : i + 1].mean(), rel=1e-12)


def test_atr_of_a_bar_is_the_same_in_every_history_that_holds_its_bars():
    high, low, close = random_prices(3_000)
    full = barriers.simple_atr(high, low, close, 14)
    for start in (1, 777, 1_024, 2_000):
        later = barriers.simple_atr(high[start:], low[start:], close[start:], 14)
        assert np.array_equal(later[14:], full[start + 14 :])


def test_atr_of_fewer_bars_than_the_period_is_absent():
    high, low, close = random_prices(5)
    assert np.isnan(barriers.simple_atr(high, low, close, 14)).all()


def path(bars):
    """Path bars one minute apart from (open, high, low, close)."""
    prices = np.array(bars, dtype=float)
    opens_at = np.arange(len(bars), dtype=np.int64)
    return Path(opens_at, opens_at + 1, *(np.ascontiguousarray(prices[:, column]) for column in range(4)))


def touch(steps, up, down, stop=LOWER, minutes=2):
    """First touch from the first path bar on, with primary bars of `minutes`; the last of them is the horizon."""
    closes_at = np.arange(0, len(steps.open) + 1, minutes)
    blocks = barriers.path_blocks(closes_at, steps)
    return barriers.first_touch(steps, blocks, 0, len(closes_at) - 1, Barriers(up, down, stop))


def test_blocks_hold_the_extremes_of_the_path_bars_known_since_the_close_before():
    steps = path([(10, 11, 9, 10), (10, 14, 10, 12), (12, 13, 8, 9), (9, 10, 9, 10)])
    blocks = barriers.path_blocks(np.array([0, 2, 4]), steps)
    assert isinstance(blocks, Blocks)
    assert blocks.cut.tolist() == [0, 2, 4]
    assert blocks.entry.tolist() == [0, 2, 4]
    assert blocks.top[1:].tolist() == [14, 13]
    assert blocks.bottom[1:].tolist() == [9, 8]


CALM = (10, 11, 9, 10)


@pytest.mark.parametrize(
    ("bars", "stop", "wanted"),
    [
        pytest.param([CALM, CALM, (10, 12, 10, 11), CALM], LOWER, (2, UPPER, 12.0), id="touch from below, exactly"),
        pytest.param([CALM, CALM, (10, 11, 8, 9), CALM], LOWER, (2, LOWER, 8.0), id="touch from above, exactly"),
        pytest.param([CALM, (10, 13, 7, 10), CALM, CALM], LOWER, (1, LOWER, 8.0), id="both in one bar: a long's stop"),
        pytest.param([CALM, (10, 13, 7, 10), CALM, CALM], UPPER, (1, UPPER, 12.0), id="both in one bar: a short's stop"),
        pytest.param([CALM, (15, 16, 14, 15), CALM, CALM], LOWER, (1, UPPER, 15.0), id="gap above fills at the open"),
        pytest.param([CALM, (5, 6, 4, 5), CALM, CALM], LOWER, (1, LOWER, 5.0), id="gap below fills at the open"),
        pytest.param([CALM, (15, 16, 7, 8), CALM, CALM], LOWER, (1, UPPER, 15.0), id="the open comes before the low"),
        pytest.param([CALM, CALM, CALM, (10, 11, 9, 10.5)], LOWER, (3, VERTICAL, 10.5), id="neither: the last close"),
    ],
)
def test_first_touch(bars, stop, wanted):
    assert touch(path(bars), 12.0, 8.0, stop) == wanted


@pytest.mark.parametrize(
    ("long_side", "short_side", "label"),
    [
        ((3, UPPER), (1, UPPER), 1),
        ((1, LOWER), (3, LOWER), -1),
        ((1, LOWER), (2, UPPER), 0),
        ((9, VERTICAL), (9, VERTICAL), 0),
        ((2, UPPER), (5, LOWER), 1),
        ((5, UPPER), (2, LOWER), -1),
        ((4, UPPER), (4, LOWER), 0),
    ],
)
def test_verdict_of_two_trades(long_side, short_side, label):
    assert barriers.verdict(*long_side, *short_side) == label
