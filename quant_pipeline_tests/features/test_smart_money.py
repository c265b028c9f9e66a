"""Smart-money columns against their definitions read off one window at a time, and against smartmoneyconcepts.

What is compared with smartmoneyconcepts 0.0.27, whose answers lie at bars before they can be known:
* gaps: side, edges and mitigating bar of every one whose middle candle points its way (the package asks for that, document
  001 does not), moved one bar on, to the third candle.
* swings: with its window (swing_length - 1 bars before, swing_length after) and its thinning to alternating kinds done
  here, every swing but the two that it invents at the ends, moved `swing_length` bars on.
* breaks: each of its BOS and CHoCH whose swing was the last one confirmed at its `BrokenIndex` is a break of ours there, on the
  same side. Which of the two it is, the package tells from pivots that come later: not compared.
Its order blocks and its liquidity (clusters of swings) are other things than document 001's: not compared.
"""

from __future__ import annotations

import itertools
import os

import numpy as np
import pandas as pd
import pytest

from quant_pipeline.features import smart_money as family
from quant_pipeline.features.registry import specs
from quant_pipeline.features.smart_money_kernels import FAR, gaps, open_zones, structure_breaks, swing_levels

BARS_CHECKED = range(450, 1_400, 19)
LENGTH = 5


def _columns(made):
    """Values of the functions of the family by feature name."""
    rows = {}
    for spec in specs(("smart_money",)):
        if spec.function.__name__ not in rows:
            rows[spec.function.__name__] = spec.function(made)
    return {spec.name: rows[spec.function.__name__][spec.output] for spec in specs(("smart_money",))}


@pytest.fixture(scope="module")
def jumpy():
    """Hours with fat tails, so that gaps, both kinds of order block and touches all come often; 1,400 bars."""
    rng = np.random.default_rng(11)
    close = 100 * np.exp(np.cumsum(0.01 * rng.standard_t(3, 1_400)))
    opened = np.r_[close[0], close[:-1]] * np.exp(0.001 * rng.normal(size=1_400))
    high = np.maximum(opened, close) * np.exp(0.002 * np.abs(rng.normal(size=1_400)))
    low = np.minimum(opened, close) / np.exp(0.002 * np.abs(rng.normal(size=1_400)))
    return {"open": opened, "high": high, "low": low, "close": close}


@pytest.fixture(scope="module")
def made(jumpy):
    return _columns(jumpy)


def _atr(bars, t):
    h, l, c = bars["high"], bars["low"], bars["close"]
    return np.mean([max(h[i], c[i - 1]) - min(l[i], c[i - 1]) for i in range(t - 13, t + 1)])


def _untouched(zones, bars, t):
    """Those of (side, bottom, top, known) that no bar after `known` has touched by bar t."""
    left = []
    for side, bottom, top, known in zones:
        later = slice(known + 1, t + 1)
        touched = (bars["low"][later] <= top).any() if side > 0 else (bars["high"][later] >= bottom).any()
        if not touched:
            left.append((side, bottom, top))
    return left


def _blocks(bars, t, displacement):
    o, h, l, c = (bars[name] for name in ("open", "high", "low", "close"))
    zones = []
    for i in range(t - 200, t):  # the candle before the displacement
        away = displacement(i)
        if c[i] < o[i] and c[i + 1] > h[i] + away:
            zones.append((1, l[i], o[i], i + 1))
        if c[i] > o[i] and c[i + 1] < l[i] - away:
            zones.append((-1, o[i], h[i], i + 1))
    return _untouched(zones, bars, t)


def _gaps(bars, t):
    h, l = bars["high"], bars["low"]
    zones = [(1, h[i - 2], l[i], i) for i in range(t - 199, t + 1) if l[i] > h[i - 2]]
    zones += [(-1, h[i], l[i - 2], i) for i in range(t - 199, t + 1) if h[i] < l[i - 2]]
    return _untouched(zones, bars, t)


def _swings(bars, t, window):
    """(side, price, bar) of every swing known by bar t within 200 bars."""
    h, l = bars["high"], bars["low"]
    found = []
    for i in range(t - window - 199, t - window + 1):
        around = [j for j in range(i - window, i + window + 1) if j != i]
        if h[i] > max(h[j] for j in around):
            found.append((1, h[i], i))
        if l[i] < min(l[j] for j in around):
            found.append((-1, l[i], i))
    return found


def _count(zones, side):
    return sum(zone[0] == side for zone in zones)


def _nearest(zones, bars, t):
    away = [bars["close"][t] - top if side > 0 else bottom - bars["close"][t] for side, bottom, top in zones]
    return min([FAR, *(distance / _atr(bars, t) for distance in away)])


@pytest.mark.parametrize("t", BARS_CHECKED)
def test_order_blocks_by_definition(t, jumpy, made):
    zones = _blocks(jumpy, t, lambda i: 0.5 * _atr(jumpy, i + 1))
    assert made["smc_num_bullish_ob"][t] == _count(zones, 1)
    assert made["smc_num_bearish_ob"][t] == _count(zones, -1)
    assert made["smc_nearest_ob_distance"][t] == pytest.approx(_nearest(zones, jumpy, t), rel=1e-9)


@pytest.mark.parametrize("t", BARS_CHECKED)
def test_order_blocks_of_two_percent_by_definition(t, jumpy, made):
    falling = jumpy["close"] < jumpy["open"]
    zones = _blocks(jumpy, t, lambda i: 0.02 * (jumpy["high"][i] if falling[i] else jumpy["low"][i]))
    assert made["smc_fixed_num_bullish_ob"][t] == _count(zones, 1)
    assert made["smc_fixed_num_bearish_ob"][t] == _count(zones, -1)


@pytest.mark.parametrize("t", BARS_CHECKED)
def test_gaps_by_definition(t, jumpy, made):
    zones = _gaps(jumpy, t)
    assert made["smc_num_bullish_fvg"][t] == _count(zones, 1)
    assert made["smc_num_bearish_fvg"][t] == _count(zones, -1)
    assert made["smc_nearest_fvg_distance"][t] == pytest.approx(_nearest(zones, jumpy, t), rel=1e-9)


@pytest.mark.parametrize("t", BARS_CHECKED)
def test_liquidity_by_definition(t, jumpy, made):
    swings = [(-side, price, price, bar + 20) for side, price, bar in _swings(jumpy, t, 20)]
    for side, name in ((-1, "smc_liquidity_high_distance"), (1, "smc_liquidity_low_distance")):
        left = _untouched([swing for swing in swings if swing[0] == side], jumpy, t)
        assert made[name][t] == pytest.approx(_nearest(left, jumpy, t), rel=1e-9)


def _break_at(bars, t):
    """1, -1 or 0: whether close t is the first beyond the last swing confirmed by then."""
    for side in (1, -1):
        swings = [(price, bar) for kind, price, bar in _swings(bars, t, 5) if kind == side]
        if swings:
            price, bar = swings[-1]
            beyond = side * (bars["close"][bar + 1 : t + 1] - price) > 0
            if beyond[-1] and not beyond[:-1].any():
                return side
    return 0


def test_breaks_by_definition(jumpy, made):
    sides = {t: _break_at(jumpy, t) for t in range(420, 900)}
    for t in range(620, 900):
        before = [sides[u] for u in range(t - 199, t) if sides[u]]
        turned = bool(before) and before[-1] == -sides[t]
        for side, word in ((1, "bullish"), (-1, "bearish")):
            assert made[f"smc_choch_{word}"][t] == (sides[t] == side and turned)
            assert made[f"smc_bos_{word}"][t] == (sides[t] == side and not turned)
    assert all(made[f"smc_{kind}_{word}"][620:900].sum() > 1 for kind in ("bos", "choch") for word in ("bullish", "bearish"))


def test_the_checked_bars_hold_every_kind_of_zone(made):
    for name in ("num_bullish_ob", "num_bearish_ob", "fixed_num_bullish_ob", "fixed_num_bearish_ob", "num_bullish_fvg"):
        assert np.unique(made[f"smc_{name}"][list(BARS_CHECKED)]).size > 2
    for name in ("nearest_ob_distance", "nearest_fvg_distance", "liquidity_high_distance", "liquidity_low_distance"):
        assert np.unique(made[f"smc_{name}"][list(BARS_CHECKED)]).size > 10


def test_a_market_turned_upside_down_swaps_the_sides(jumpy):
    ticks = {name: np.round(jumpy[name] * 1_024) for name in jumpy}  # whole numbers: turning them over rounds nothing
    turned = {name: 2.0**20 - ticks[other] for name, other in zip(ticks, ("open", "low", "high", "close"), strict=True)}
    up, down = _columns(ticks), _columns(turned)
    for name in ("num_{}_ob", "num_{}_fvg", "bos_{}", "choch_{}"):
        assert np.array_equal(up["smc_" + name.format("bullish")], down["smc_" + name.format("bearish")], equal_nan=True)
    assert np.array_equal(up["smc_liquidity_high_distance"], down["smc_liquidity_low_distance"], equal_nan=True)


def test_a_still_market_has_no_structure():
    flat = np.full(600, 7.0)
    made = _columns(dict.fromkeys(("open", "high", "low", "close"), flat))
    for name, values in made.items():
        assert (values[450:] == (FAR if "distance" in name else 0.0)).all(), name


def test_nothing_is_known_before_its_bar():
    """A gap of bars 10 to 12, a swing high at bar 30 and the close through it at bar 40."""
    close = np.full(60, 100.0)
    high, low = close + 1, close - 1
    high[12:], low[12:], close[12:] = high[12:] + 5, low[12:] + 5, 105.0
    high[30] = 110.0
    close[40:], high[40:], low[40:] = 111.0, 112.0, 110.5
    assert np.flatnonzero(gaps(high, low).side).tolist() == [12, 13, 40, 41]
    assert np.flatnonzero(swing_levels(high, 5, 5) == 110.0).tolist() == [35]
    assert np.argwhere(structure_breaks(high, low, close, 5, 5, 200)).tolist() == [[0, 40]]


def test_a_zone_is_gone_at_its_first_touch_and_at_its_age():
    high, low, close = np.full(40, 101.0), np.full(40, 99.0), np.full(40, 100.0)
    high[20:], low[20:], close[20:] = high[20:] + 10, low[20:] + 10, close[20:] + 10
    low[30] = 109.0  # the gap of bar 20 reaches up to 109
    both = open_zones(gaps(high, low), high, low, close, np.ones(40), 40)[0]
    assert both[19:32].tolist() == [0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]  # bar 22 touches too: its low is 109
    lifted = low + (np.arange(40) > 20)
    aged = open_zones(gaps(high, low), high, lifted, close, np.ones(40), 8)[0]
    assert np.flatnonzero(aged).tolist() == list(range(20, 29))


@pytest.fixture(scope="module")
def peer():
    """The package, kept from printing its banner."""
    os.environ["SMC_CREDIT"] = "0"
    return pytest.importorskip("smartmoneyconcepts").smc


@pytest.fixture(scope="module")
def frame(jumpy):
    return pd.DataFrame(jumpy | {"volume": np.ones(1_400)})


def test_gaps_are_those_of_the_package(peer, frame, jumpy):
    theirs = peer.fvg(frame)
    ours = gaps(jumpy["high"], jumpy["low"])
    body = np.sign(jumpy["close"] - jumpy["open"])[:-1]
    agrees = np.flatnonzero((ours.side[1:] != 0) & (ours.side[1:] == body))  # bars of the middle candles
    assert np.array_equal(agrees, np.flatnonzero(theirs["FVG"].notna()))
    assert agrees.size > 100
    for name, values in (("FVG", ours.side), ("Top", ours.top), ("Bottom", ours.bottom)):
        assert np.array_equal(theirs[name].to_numpy()[agrees], values[agrees + 1])


def test_gaps_are_mitigated_where_the_package_says(peer, frame, jumpy):
    high, low, close = jumpy["high"], jumpy["low"], jumpy["close"]
    theirs, zones = peer.fvg(frame), gaps(jumpy["high"], jumpy["low"])
    for middle in np.flatnonzero(theirs["FVG"].notna())[:60]:
        alone = zones._replace(side=np.where(np.arange(close.size) == middle + 1, zones.side, 0).astype(np.int8))
        alive = np.flatnonzero(open_zones(alone, high, low, close, np.ones(close.size), close.size)[:2].any(axis=0))
        mitigated = int(theirs["MitigatedIndex"][middle]) or close.size
        assert alive.tolist() == list(range(middle + 1, mitigated))


def _alternating(swings):
    """The package's thinning: of neighbours of one kind the more extreme stays, the first of equals; until none is left."""
    while True:
        gone = set()
        for first, second in itertools.pairwise(swings):
            if first[0] == second[0]:
                gone.add(first if first[0] * first[1] < second[0] * second[1] else second)
        if not gone:
            return swings
        swings = [swing for swing in swings if swing not in gone]


def _own_swings(bars, length):
    """(kind, price, bar) of our swings with the package's window; a bar that is both counts as a high, as there."""
    highs, lows = swing_levels(bars["high"], length - 1, length), -swing_levels(-bars["low"], length - 1, length)
    known = np.flatnonzero(~np.isnan(highs) | ~np.isnan(lows))
    return [(-1, lows[t], t - length) if np.isnan(highs[t]) else (1, highs[t], t - length) for t in known]


def test_swings_are_those_of_the_package(peer, frame, jumpy):
    theirs = peer.swing_highs_lows(frame, swing_length=LENGTH)
    at = np.flatnonzero(theirs["HighLow"].notna())[1:-1]  # the first and the last are invented
    ours = _alternating(_own_swings(jumpy, LENGTH))
    assert [bar for _, _, bar in ours] == at.tolist()
    assert [kind for kind, _, _ in ours] == theirs["HighLow"][at].tolist()
    assert [price for _, price, _ in ours] == theirs["Level"][at].tolist()
    assert at.size > 100


def test_breaks_of_the_package_are_breaks_of_ours(peer, frame, jumpy):
    theirs = peer.bos_choch(frame, peer.swing_highs_lows(frame, swing_length=LENGTH))
    breaks = structure_breaks(jumpy["high"], jumpy["low"], jumpy["close"], LENGTH - 1, LENGTH, 1_400)
    known = {
        1: np.flatnonzero(~np.isnan(swing_levels(jumpy["high"], LENGTH - 1, LENGTH))),
        -1: np.flatnonzero(~np.isnan(swing_levels(-jumpy["low"], LENGTH - 1, LENGTH))),
    }
    side = theirs["BOS"].fillna(theirs["CHOCH"])
    compared = 0
    for swing in np.flatnonzero(side.notna()):
        up, broken = side[swing] > 0, int(theirs["BrokenIndex"][swing])
        seen = known[1 if up else -1]
        if seen[seen <= broken][-1] == swing + LENGTH:
            compared += 1
            assert breaks[[0, 2] if up else [1, 3], broken].sum() == 1
    assert compared > 50


def test_the_twelve_of_the_document_are_there():
    named = {spec.name for spec in specs(("smart_money",))}
    sided = {f"smc_{word}_{side}" for word in ("bos", "choch") for side in ("bullish", "bearish")}
    zones = {f"smc_num_{side}_{kind}" for side in ("bullish", "bearish") for kind in ("ob", "fvg")}
    near = {"smc_nearest_ob_distance", "smc_nearest_fvg_distance", "smc_liquidity_high_distance", "smc_liquidity_low_distance"}
    assert named - {"smc_fixed_num_bullish_ob", "smc_fixed_num_bearish_ob"} == sided | zones | near
    assert family.STRUCTURE_MEMORY > family.LIQUIDITY_MEMORY > family.AGE
