"""What holds for every registered feature of bars: causal, of the declared memory, defined on every clean series.

Features that one function makes are computed together, as the build does, and checked one by one. In the suite each function
meets the walk and some of the hostile markets, the next function others; in the long part each meets all.
"""

from __future__ import annotations

import numpy as np
import pytest

from quant_pipeline.features.registry import specs
from quant_pipeline_tests.features.markets import MARKETS, WALK

ON_BARS = [spec for spec in specs() if spec.on_bars]
TOGETHER = [
    [spec for spec in ON_BARS if (spec.family, spec.function) == key]
    for key in dict.fromkeys((spec.family, spec.function) for spec in ON_BARS)
]
RUNG = "1h"
SAMPLED = 4  # a function meets three or four of the 13 hostile markets, four neighbours all of them
COORDINATES = {"session_open", "timestamp", "anchor"}


def _title(group):
    return group[0].name if len(group) == 1 else f"{group[0].name}_and_{len(group) - 1}_more"


def _cases():
    """Every function in every market, all but one in `SAMPLED` of the hostile ones in the long part only."""
    for at, group in enumerate(TOGETHER):
        for number, (name, market) in enumerate(MARKETS.items()):
            in_suite = name == WALK or (at + number) % SAMPLED == 0
            marks = () if in_suite else pytest.mark.long
            yield pytest.param(group, market, id=f"{_title(group)}-{name}", marks=marks)


every_function = pytest.mark.parametrize("group", TOGETHER, ids=_title)
every_market = pytest.mark.parametrize(("group", "market"), list(_cases()))


def _compute(group, columns, settings, bars=slice(None)):
    """(features, bars) values of the features of one function."""
    given = {name: columns[name][bars].copy() for name in group[0].inputs}
    if not next(iter(given.values())).size:
        return np.array([spec.compute(given, settings) for spec in group])
    raw = group[0].function(given)
    return np.array([spec.finish(raw, settings) for spec in group])


def _need(group, settings):
    return group[0].bars_needed(RUNG, settings)


def _cuts(n, seed, count=25):
    return np.random.default_rng(seed).integers(0, n, count)


def _same(found, expected):
    return (found == expected) | (np.isnan(found) & np.isnan(expected))


def _names(group, wrong):
    return [spec.name for spec, fault in zip(group, wrong, strict=True) if fault]


def test_features_of_one_function_are_declared_alike():
    for group in TOGETHER:
        assert len({(spec.family, spec.inputs, spec.lookback, spec.rungs, spec.zscore, spec.needs_volume) for spec in group}) == 1


@every_market
def test_a_value_is_the_same_whatever_comes_after_it(group, market, settings):
    full = _compute(group, market, settings)
    for cut in [*range(5), *_cuts(full.shape[1], 1)]:
        prefix = _compute(group, market, settings, slice(0, cut + 1))
        assert not _names(group, ~_same(prefix, full[:, : cut + 1]).all(axis=1)), f"cut {cut}"


@every_market
def test_only_the_declared_lookback_decides_a_value(group, market, settings):
    need = _need(group, settings)
    full = _compute(group, market, settings)
    for cut in [need - 1, full.shape[1] - 1, *_cuts(full.shape[1], 2)]:
        tail = _compute(group, market, settings, slice(max(0, cut - need + 1), cut + 1))
        assert not _names(group, ~_same(tail[:, -1], full[:, cut])), f"bar {cut}"
    assert np.isfinite(full[:, need - 1 :]).all()


@every_function
def test_the_declared_lookback_is_at_most_twice_the_memory(group, walk, settings):
    half = _need(group, settings) // 2
    if not half:
        pytest.skip("one bar cannot be halved")
    full = _compute(group, walk, settings)
    at = range(2 * half, full.shape[1], 3)
    shorter = np.stack([_compute(group, walk, settings, slice(cut - half + 1, cut + 1))[:, -1] for cut in at], axis=1)
    assert not _names(group, (shorter == full[:, at]).all(axis=1))


@every_market
def test_defined_on_every_clean_series(group, market, settings):
    values = _compute(group, market, settings)
    for spec, row in zip(group, values, strict=True):
        first = int(np.isfinite(row).argmax())
        assert np.isnan(row[:first]).all(), spec.name
        assert np.isfinite(row[first:]).all(), spec.name
        assert first < _need(group, settings), spec.name


@every_function
def test_a_history_of_any_length_is_accepted(group, walk, settings):
    for bars in range(45):
        values = _compute(group, walk, settings, slice(0, bars))
        assert values.shape == (len(group), bars)
        assert not np.isinf(values).any()


@every_function
def test_inputs_are_left_as_they_are(group, walk, settings):
    given = {name: walk[name].copy() for name in group[0].inputs}
    group[0].compute(given, settings)
    assert all(np.array_equal(given[name], walk[name]) for name in given)


@pytest.mark.parametrize("group", [group for group in TOGETHER if group[0].needs_volume], ids=_title)
def test_a_null_volume_spoils_only_what_it_decides(group, walk, settings):
    bar = 700
    columns = walk | {"volume": walk["volume"].copy()}
    columns["volume"][bar] = np.nan
    values, before = _compute(group, columns, settings), _compute(group, walk, settings)
    need = _need(group, settings)
    assert np.isnan(values[:, bar]).all()
    assert _same(values[:, :bar], before[:, :bar]).all()
    assert np.array_equal(values[:, bar + need :], before[:, bar + need :])


@every_function
def test_scale_of_price_and_volume_does_not_matter(group, walk, settings):
    scaled = {name: column if name in COORDINATES else column * 1024.0 for name, column in walk.items()}
    np.testing.assert_allclose(_compute(group, scaled, settings), _compute(group, walk, settings), rtol=1e-6, atol=1e-7)
