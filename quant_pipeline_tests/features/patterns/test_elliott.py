"""Elliott waves on hand-drawn legs: known exactly when the last wave's end is confirmed, and not where a rule is broken.

Closes run straight between corners 20 bars apart, each bar opens at the last close, wicks are 0.1 long and the mean true
range is taken as 1. After the last corner the price turns by 0.5 a bar: swings of 1.5 are confirmed after 3 bars, of 3 after 6.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_pipeline.features.patterns.elliott import PATTERNS, _positions, detect, elliott_wave_position
from quant_pipeline.features.patterns.events import CONFIDENCE, DIRECTION, KNOWN, PATTERN, PIVOT, POINTS, Bars
from quant_pipeline.features.patterns.zigzag import LOOKBACK, average_range

PLACES = {pattern.name.removeprefix("elliott_"): place for place, pattern in enumerate(PATTERNS)}
BARS, CONFIRMED = 20, 3
# with a rising trend; both are entered by a leg of their own
DRAWN = {
    "impulse": (120, 100, 130, 112, 165, 140, 175),  # 2: 0.6 of 1; 3: 1.77 of 1; 4: 0.47 of 3
    "corrective": (120, 100, 200, 160, 184, 140),  # B: 0.6 of A; C: 1.1 of A; 0.6 of the leg
}
NEAR_MISSES = {
    "wave 2 takes back 85 %": ("impulse", (120, 100, 130, 104.5, 165, 140, 175)),
    "wave 2 takes back 40 %": ("impulse", (120, 100, 130, 118, 165, 140, 175)),
    "wave 3 is the shortest": ("impulse", (120, 100, 140, 118, 150, 142, 190)),
    "wave 3 ends below wave 1": ("impulse", (120, 100, 140, 118, 138, 130, 145)),
    "wave 4 overlaps wave 1": ("impulse", (120, 100, 130, 112, 165, 128, 175)),
    "wave 5 ends below wave 3": ("impulse", (120, 100, 130, 112, 165, 140, 160)),
    "C stops above A": ("corrective", (120, 100, 200, 160, 184, 165)),
    "B goes beyond the leg": ("corrective", (120, 100, 200, 160, 204, 140)),
    "the leg is undone": ("corrective", (120, 100, 200, 160, 184, 95)),
}


def _close(prices, *, turned=False):
    """Closes through the corners, then ten bars of turning back."""
    prices = np.array(prices, float)
    corners = np.append(prices, prices[-1] + np.sign(prices[-2] - prices[-1]) * 5)
    at = np.append(np.arange(prices.size) * BARS, (prices.size - 1) * BARS + 10)
    close = np.interp(np.arange(at[-1] + 1), at, corners)
    return 300 - close if turned else close


def _bars(close):
    opened = np.r_[close[0], close[:-1]]
    return Bars(opened, np.maximum(opened, close) + 0.1, np.minimum(opened, close) - 0.1, close, np.ones(close.size))


def _events(close, name):
    events = detect(_bars(close))
    return events[events[:, PATTERN] == PLACES[name]]


@pytest.mark.parametrize("turned", [False, True], ids=["up", "down"])
@pytest.mark.parametrize("name", DRAWN)
def test_drawn_waves_are_known_when_their_end_is_confirmed(name, turned):
    close = _close(DRAWN[name], turned=turned)
    last = (len(DRAWN[name]) - 1) * BARS
    (event,) = _events(close, name)
    assert event[[PIVOT, KNOWN, DIRECTION]].tolist() == [last, last + CONFIRMED, -1 if turned else 1]
    assert event[POINTS] == BARS
    assert not len(_events(close[: last + CONFIRMED], name))


@pytest.mark.parametrize("turned", [False, True], ids=["up", "down"])
@pytest.mark.parametrize("case", NEAR_MISSES)
def test_a_broken_rule_is_no_pattern(case, turned):
    name, prices = NEAR_MISSES[case]
    assert not len(_events(_close(prices, turned=turned), name))


def test_confidence_by_definition():
    """Each mark is 1 at the usual ratio and 0 at half or twice it; legs are 0.2 longer for their wicks."""

    def like(ratio, usual):
        return max(0, 1 - abs(np.log2(ratio / usual)))

    (impulse,), (corrective,) = _events(_close(DRAWN["impulse"]), "impulse"), _events(_close(DRAWN["corrective"]), "corrective")
    first, second, third, fourth = 30.2, 18.2, 53.2, 25.2
    expected = (like(second / first, 0.618) + like(third / first, 1.618) + like(fourth / third, 0.382)) / 3
    assert impulse[CONFIDENCE] == pytest.approx(expected, rel=1e-9)
    leg, a, b, c = 100.2, 40.2, 24.2, 44.2
    assert corrective[CONFIDENCE] == pytest.approx(
        (like(b / a, 0.618) + like(c / a, 1) + like((a - b + c) / leg, 0.5)) / 3, rel=1e-9
    )


@pytest.mark.parametrize("turned", [False, True], ids=["up", "down"])
def test_position_counts_the_waves_that_are_confirmed(turned):
    position = _positions(_bars(_close(DRAWN["impulse"], turned=turned)), 0)
    changes = position[np.r_[True, np.diff(position) != 0]]
    sign = -1 if turned else 1
    assert (sign * changes).tolist() == [0, -1, 1, 2, 3, 4, 5]
    assert position[-6:].tolist() == [4 * sign] + [5 * sign] * 5  # the corner is ten bars back, confirmed after six


def test_position_of_a_block_is_that_of_a_run_from_five_blocks_before():
    rng = np.random.default_rng(2)
    close = 100 * np.exp(np.cumsum(rng.normal(size=1_100) * 2e-3))
    bars = _bars(close)
    bars = bars._replace(atr=average_range(bars.high, bars.low, bars.close))
    columns = {name: getattr(bars, name) for name in ("open", "high", "low", "close")} | {"anchor": np.arange(1_100.0) // 128}
    values = elliott_wave_position(columns)
    assert np.isnan(values[: 6 * 128]).all()
    assert LOOKBACK > 6 * 128
    for bar in (768, 800, 895, 896, 1_099):
        start = (bar // 128 - 5) * 128
        alone = _positions(Bars(*(column[start : bar + 1] for column in bars)), 0)
        assert values[bar] == alone[-1]
    assert set(np.unique(values[768:])) <= set(range(-5, 6))
    assert len(np.unique(values[768:])) > 4


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), cut=st.integers(150, 700))
def test_later_bars_neither_add_nor_take_back(seed, cut):
    rng = np.random.default_rng(seed)
    bars = _bars(100 * np.exp(np.cumsum(rng.normal(size=768) * 0.002)))
    bars = bars._replace(atr=average_range(bars.high, bars.low, bars.close))
    prefix = Bars(*(column[:cut] for column in bars))
    full, told = detect(bars), detect(prefix)
    np.testing.assert_array_equal(full[full[:, KNOWN] < cut], told)
    np.testing.assert_array_equal(_positions(bars, 0)[:cut], _positions(prefix, 0))
