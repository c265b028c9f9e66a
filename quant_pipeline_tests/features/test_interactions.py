"""The table of interactions, and the products that it declares."""

from __future__ import annotations

import numpy as np
import pytest

from quant_pipeline.features.registry import DERIVED, specs

SPECS = {spec.name: spec for spec in specs(("interactions",))}
SOURCES = {spec.name: spec for spec in specs(("momentum", "volatility", "returns", "regime"))}


def _value(name, left, right):
    spec = SPECS[name]
    columns = {column: np.array([number]) for column, number in zip(spec.inputs, (left, right), strict=True)}
    return spec.function(columns)[spec.output].item()


def test_thirty_with_the_names_of_the_document():
    assert len(SPECS) == 30
    assert {"rsi_1m_x_vol_regime", "macd_5m_x_trend_regime"} <= set(SPECS)
    assert all(spec.rungs == (DERIVED,) for spec in SPECS.values())


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_inputs_are_columns_that_need_no_volume(spec):
    for column in spec.inputs:
        name, _, rung = column.rpartition("_")
        source = SOURCES[name]
        assert source.on(rung, primary="1h")
        assert not source.needs_volume


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_the_meaning_is_the_formula(spec):
    given = dict(zip(spec.inputs, (37.0, -2.5), strict=True))
    formula = spec.meaning.removeprefix("Product ").partition(";")[0].replace(" x ", " * ")
    assert _value(spec.name, *given.values()) == pytest.approx(eval(formula, {}, given))  # noqa: S307 - our own text


def test_bounded_oscillators_are_centred():
    assert _value("rsi_1m_x_vol_regime", 50.0, 1.0) == 0.0
    assert _value("rsi_1m_x_vol_regime", 75.0, -1.0) == -0.5
    assert _value("stoch_1h_x_structure_regime", 0.0, 1.0) == -1.0
    assert _value("bb_position_5m_x_structure_regime", 1.0, 1.0) == 1.0
    assert _value("adx_1h_x_trend_regime", 40.0, -1.0) == -0.4
    assert _value("rsi_15m_x_rsi_1h", 0.0, 0.0) == 1.0
    assert _value("macd_5m_x_trend_regime", 1.5, -1.0) == -1.5


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_unknown_where_an_input_is_unknown(spec):
    assert np.isnan(_value(spec.name, np.nan, 0.0))
    assert np.isnan(_value(spec.name, 50.0, np.nan))
