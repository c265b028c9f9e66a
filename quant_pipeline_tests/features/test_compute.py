"""Computing many features: together or alone, in blocks of any length, they are the same; holes stop the build."""

from __future__ import annotations

import numpy as np
import pytest

from quant_pipeline.bars.moments import microseconds
from quant_pipeline.bars.resample import build_ladder
from quant_pipeline.errors import DataError
from quant_pipeline.features import compute
from quant_pipeline.features.compute import Task, run
from quant_pipeline.features.places import rung_place
from quant_pipeline.features.registry import FeatureSpec, specs

ON_BARS = [spec for spec in specs() if spec.on_bars]


@pytest.fixture(scope="module")
def place(minute_bars):
    bars = build_ladder(minute_bars(days=14), ("15m",))["15m"]
    return rung_place("15m", bars, microseconds(bars["known_at"])[5:], need=bars.height)


@pytest.fixture(scope="module")
def together(place, settings):
    return run([Task(spec, place) for spec in ON_BARS], settings)


@pytest.mark.parametrize("spec", ON_BARS, ids=lambda spec: spec.name)
def test_each_feature_is_what_it_is_alone(spec, place, together, settings):
    alone = spec.compute({name: place.columns[name] for name in spec.inputs}, settings)[place.row]
    assert np.array_equal(together[spec.column("15m")], alone, equal_nan=True)


def test_a_function_is_called_once_for_all_its_features(place, settings):
    calls = []

    def three(columns):
        calls.append(columns["close"].size)
        return np.stack([columns["close"], -columns["close"], 2 * columns["close"]])

    made = [_spec(f"made_{row}", three, output=row) for row in (2, 0)]
    columns = run([Task(spec, place) for spec in made], settings)
    assert calls == [place.columns["close"].size]
    assert list(columns) == ["made_2_15m", "made_0_15m"]
    assert np.array_equal(columns["made_2_15m"], 2 * place.columns["close"][place.row])


def test_a_function_that_changes_its_inputs_is_named_whatever_others_made_of_them(minute_bars, settings):
    def centred(columns):
        close = columns["close"]
        close -= close.mean()
        return close

    bars = build_ladder(minute_bars(days=14), ("15m",))["15m"]
    place = rung_place("15m", bars, microseconds(bars["known_at"]), need=bars.height)
    honest = _spec("honest", lambda columns: np.sqrt(np.where(columns["close"] > 0, 1.0, np.nan)))
    with pytest.raises(DataError, match=r"feature centred: found it changes close of 15m in place"):
        run([Task(_spec("centred", centred), place), Task(honest, place)], settings)


@pytest.mark.parametrize("block", [97, 1_000])
def test_blocks_of_any_length_give_the_same_bytes(place, together, settings, monkeypatch, block):
    monkeypatch.setattr(compute, "BLOCK", block)
    monkeypatch.setattr(compute, "BLOCK_PER_LOOKBACK", 0)
    again = run([Task(spec, place) for spec in ON_BARS], settings)
    assert list(again) == list(together)
    assert all(np.array_equal(again[name], together[name], equal_nan=True) for name in together)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_defined_names_its_bar(place, settings, wrong):
    def broken(columns):
        values = columns["close"].copy()
        values[:3] = np.nan  # before enough bars
        values[40] = wrong
        return values

    with pytest.raises(DataError, match=r"feature broken_15m: found -?(nan|inf) at bar 40"):
        run([Task(_spec("broken", broken), place)], settings)


def test_nothing_to_compute(settings):
    assert run([], settings) == {}


def _spec(name, function, output=None):
    return FeatureSpec(name, "momentum", ("close",), 1, None, False, False, function, output, "made for a test")
