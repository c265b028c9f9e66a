"""What holds for every registered feature: causal, of the declared memory, defined on every clean series."""

from __future__ import annotations

import numpy as np
import pytest

from quant_pipeline.features.registry import specs

ON_BARS = [spec for spec in specs() if spec.on_bars]
RUNG = "1h"

every_feature = pytest.mark.parametrize("spec", ON_BARS, ids=lambda spec: spec.name)


def _compute(spec, columns, settings, bars=slice(None)):
    return spec.compute({name: columns[name][bars].copy() for name in spec.inputs}, settings)


def _cuts(n, seed, count=25):
    return np.random.default_rng(seed).integers(0, n, count)


@every_feature
def test_a_value_is_the_same_whatever_comes_after_it(spec, market, settings):
    full = _compute(spec, market, settings)
    for cut in [*range(5), *_cuts(full.size, 1)]:
        prefix = _compute(spec, market, settings, slice(0, cut + 1))
        assert np.array_equal(prefix, full[: cut + 1], equal_nan=True), f"cut {cut}"


@every_feature
def test_only_the_declared_lookback_decides_a_value(spec, market, settings):
    need = spec.bars_needed(RUNG, settings)
    full = _compute(spec, market, settings)
    for cut in [need - 1, full.size - 1, *_cuts(full.size, 2)]:
        tail = _compute(spec, market, settings, slice(max(0, cut - need + 1), cut + 1))
        assert tail[-1] == full[cut] or (np.isnan(tail[-1]) and np.isnan(full[cut])), f"bar {cut}"
    assert np.isfinite(full[need - 1 :]).all()


@every_feature
def test_the_declared_lookback_is_at_most_twice_the_memory(spec, walk, settings):
    half = spec.bars_needed(RUNG, settings) // 2
    if not half:
        pytest.skip("one bar cannot be halved")
    full = _compute(spec, walk, settings)
    shorter = [_compute(spec, walk, settings, slice(cut - half + 1, cut + 1))[-1] for cut in range(2 * half, full.size, 3)]
    assert np.any(shorter != full[2 * half :: 3])


@every_feature
def test_defined_on_every_clean_series(spec, market, settings):
    values = _compute(spec, market, settings)
    first = int(np.isfinite(values).argmax())
    assert np.isnan(values[:first]).all()
    assert np.isfinite(values[first:]).all()
    assert first < spec.bars_needed(RUNG, settings)


@every_feature
def test_a_history_of_any_length_is_accepted(spec, walk, settings):
    for bars in range(45):
        values = _compute(spec, walk, settings, slice(0, bars))
        assert values.shape == (bars,)
        assert not np.isinf(values).any()


@every_feature
def test_inputs_are_left_as_they_are(spec, walk, settings):
    given = {name: walk[name].copy() for name in spec.inputs}
    spec.compute(given, settings)
    assert all(np.array_equal(given[name], walk[name]) for name in spec.inputs)


@pytest.mark.parametrize("spec", [spec for spec in ON_BARS if spec.needs_volume], ids=lambda spec: spec.name)
def test_a_null_volume_spoils_only_what_it_decides(spec, walk, settings):
    bar = 700
    columns = walk | {"volume": walk["volume"].copy()}
    columns["volume"][bar] = np.nan
    values, before = _compute(spec, columns, settings), _compute(spec, walk, settings)
    need = spec.bars_needed(RUNG, settings)
    assert np.isnan(values[bar])
    assert np.array_equal(values[:bar], before[:bar], equal_nan=True)
    assert np.array_equal(values[bar + need :], before[bar + need :])


def test_scale_of_price_and_volume_does_not_matter(walk, settings):
    scaled = {
        name: column * 1024.0 if name not in {"session_open", "timestamp", "anchor"} else column for name, column in walk.items()
    }
    for spec in ON_BARS:
        np.testing.assert_allclose(_compute(spec, scaled, settings), _compute(spec, walk, settings), rtol=1e-6, atol=1e-7)
