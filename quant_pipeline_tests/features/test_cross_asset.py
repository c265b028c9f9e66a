"""Cross-asset features against numpy window by window; holes of the other market cost only themselves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_pipeline.config.experiment import FeatureSettings
from quant_pipeline.features import cross_asset
from quant_pipeline.features.build import build_features
from quant_pipeline.features.context import Context
from quant_pipeline.features.registry import specs

SPECS = specs(("cross_asset",))
BARS = 700
PLAIN = FeatureSettings(families=("cross_asset",))


def _pair(seed=1, n=BARS, lag=0, share=0.6):
    """Our market and another that moves with it, `lag` bars earlier."""
    rng = np.random.default_rng(seed)
    moves = rng.normal(size=n) * 1e-3
    own = share * np.roll(moves, lag) + (1 - share) * 1e-3 * rng.normal(size=n)
    return {
        "close": 50 * np.exp(np.cumsum(own)), "other_close": 4_000 * np.exp(np.cumsum(moves)),
        "other_age": rng.integers(0, 60, n).astype(float),
    }  # fmt: skip


def _with_holes(columns, holes):
    out = {name: values.copy() for name, values in columns.items()}
    out["other_close"][holes] = out["other_age"][holes] = np.nan
    return out


@pytest.fixture(scope="module")
def pair():
    return _pair()


def _all(columns, bars=slice(None)):
    cut = {name: values[bars].copy() for name, values in columns.items()}
    return {spec.name: spec.compute({name: cut[name] for name in spec.inputs}, PLAIN) for spec in SPECS}


def _window(columns, i, bars):
    return (np.log(columns[name])[i - bars + 1 : i + 1] for name in ("other_close", "close"))


def test_the_features_of_document_000():
    assert [spec.name for spec in SPECS] == [
        "xret_1", "xret_5", "xret_20", "xcorr_50", "xbeta_50", "xlead_1", "xspread_z", "xage", "xknown",
    ]  # fmt: skip
    assert {spec.column("SPY") for spec in SPECS} >= {"xret_1_SPY", "xknown_SPY"}


def test_returns_correlation_beta_and_lead_by_definition(pair):
    values = _all(pair)
    for i in (51, 52, 300, BARS - 1):
        other, own = _window(pair, i, 52)
        x, y = np.diff(other), np.diff(own)
        assert values["xret_1"][i] == pytest.approx(x[-1], abs=1e-15)
        assert values["xret_20"][i] == pytest.approx(x[-20:].sum(), abs=1e-14)
        assert values["xcorr_50"][i] == pytest.approx(np.corrcoef(x[1:], y[1:])[0, 1], rel=1e-10)
        assert values["xbeta_50"][i] == pytest.approx(np.polyfit(x[1:], y[1:], 1)[0], rel=1e-10)
        assert values["xlead_1"][i] == pytest.approx(np.corrcoef(x[:-1], y[1:])[0, 1], rel=1e-10)
    assert [int(np.isnan(values[name]).sum()) for name in ("xret_5", "xcorr_50", "xbeta_50", "xlead_1")] == [5, 50, 50, 51]


def test_spread_is_the_residual_of_a_line_through_both_prices(pair):
    values = _all(pair)["xspread_z"]
    for i in (99, 100, 400, BARS - 1):
        other, own = _window(pair, i, 100)
        slope, level = np.polyfit(other - other.mean(), own, 1)
        residual = own - level - slope * (other - other.mean())
        assert values[i] == pytest.approx(residual[-1] / residual.std(), rel=1e-8)
    assert np.isnan(values[:99]).all()


def test_a_market_that_leads_is_told_from_one_that_does_not():
    leading, together = _all(_pair(lag=1)), _all(_pair(lag=0))
    for values, strong, weak in ((leading, "xlead_1", "xcorr_50"), (together, "xcorr_50", "xlead_1")):
        assert np.nanmean(values[strong]) > 0.6
        assert abs(np.nanmean(values[weak])) < 0.2


def test_age_and_presence():
    columns = {"other_close": np.array([5.0, 5.0, np.nan, 6.0]), "other_age": np.array([0.0, 90.0, np.nan, 9_000.0])}
    assert cross_asset.age(columns).tolist() == [0.0, 90.0, 5_760.0, 5_760.0]
    assert cross_asset.known(columns).tolist() == [1.0, 1.0, 0.0, 1.0]


@pytest.mark.parametrize("still", [("close",), ("other_close",), ("close", "other_close")])
def test_flat_markets_are_neutral(pair, still):
    values = _all(pair | {name: np.full(BARS, 1_234.56) for name in still})
    for name in ("xcorr_50", "xbeta_50", "xlead_1"):
        assert (values[name][60:] == 0.0).all(), name
    if "close" in still:
        assert (values["xspread_z"][99:] == 0.0).all()
    assert all(np.isfinite(values[name][99:]).all() for name in values)


def test_two_markets_on_one_line_have_no_spread_and_full_correlation(pair):
    values = _all(pair | {"close": 3 * pair["other_close"] ** 2})
    assert (values["xspread_z"][99:] == 0.0).all()
    assert values["xbeta_50"][60:] == pytest.approx(2.0)
    assert values["xcorr_50"][60:] == pytest.approx(1.0)
    assert values["xcorr_50"][60:].max() <= 1.0


def test_a_hole_costs_only_the_windows_it_leaves_too_thin(pair):
    hole = slice(300, 320)
    values, whole = _all(_with_holes(pair, hole)), _all(pair)
    assert (values["xknown"][hole] == 0).all()
    assert (values["xage"][hole] == cross_asset.AGE_CAP).all()
    for name, until in (("xret_1", 321), ("xret_20", 340), ("xcorr_50", 321), ("xlead_1", 322), ("xspread_z", 320)):
        assert np.isnan(values[name][300:until]).all(), name
        assert np.isfinite(values[name][[299, *range(until, 345)]]).all(), name
    for spec in SPECS:
        before, after = slice(0, 300), slice(320 + spec.lookback, None)
        for part in (before, after):
            assert np.array_equal(values[spec.name][part], whole[spec.name][part], equal_nan=True)


def test_a_thinned_window_is_made_of_its_known_pairs(pair):
    columns = _with_holes(pair, slice(300, 320))
    i = 330
    x, y = (np.diff(part) for part in _window(columns, i, 51))
    paired = np.isfinite(x)
    assert 25 <= paired.sum() < 50
    assert _all(columns)["xcorr_50"][i] == pytest.approx(np.corrcoef(x[paired], y[paired])[0, 1], rel=1e-10)


def test_less_than_half_a_window_says_nothing(pair):
    values = _all(_with_holes(pair, slice(300, 340)))["xcorr_50"]
    known = np.isfinite(np.diff(np.log(_with_holes(pair, slice(300, 340))["other_close"]), prepend=np.nan))
    enough = np.array([known[max(0, i - 49) : i + 1].sum() >= 25 and known[i] and i >= 50 for i in range(BARS)])
    np.testing.assert_array_equal(np.isfinite(values), enough)
    assert not enough[341:355].any()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 50), holes=st.lists(st.tuples(st.integers(0, 400), st.integers(1, 80)), max_size=6), data=st.data())
def test_neither_later_nor_older_bars_change_a_bit(seed, holes, data):
    columns = _pair(seed, 420)
    for first, length in holes:
        columns = _with_holes(columns, slice(first, first + length))
    values = _all(columns)
    cut = data.draw(st.integers(0, 419))
    prefix = _all(columns, slice(0, cut + 1))
    for spec in SPECS:
        assert np.array_equal(prefix[spec.name], values[spec.name][: cut + 1], equal_nan=True), spec.name
        if cut >= spec.lookback - 1:
            tail = _all(columns, slice(cut - spec.lookback + 1, cut + 1))[spec.name][-1]
            assert tail == values[spec.name][cut] or (np.isnan(tail) and np.isnan(values[spec.name][cut])), spec.name


def test_a_shorter_window_than_declared_does_not_do(pair):
    values = _all(pair)
    for spec in SPECS:
        if spec.lookback > 1:
            tails = [_all(pair, slice(i - spec.lookback + 2, i + 1))[spec.name][-1] for i in (300, 400, 500)]
            assert not np.array_equal(tails, values[spec.name][[300, 400, 500]]), spec.name


def test_scale_of_either_price_does_not_matter_and_inputs_stay(pair):
    values = _all(pair)
    scaled = _all(pair | {"close": pair["close"] * 1024, "other_close": pair["other_close"] / 512})
    for name in values:
        np.testing.assert_allclose(scaled[name], values[name], rtol=1e-8, atol=1e-10, err_msg=name)
    given = {name: column.copy() for name, column in pair.items()}
    for spec in SPECS:
        spec.compute(given, PLAIN)
    assert all(np.array_equal(given[name], pair[name]) for name in pair)


@pytest.mark.parametrize("bars", [0, 1, 2, 49, 50, 51, 52, 99, 100])
def test_a_history_of_any_length_is_accepted(pair, bars):
    for values in _all(pair, slice(0, bars)).values():
        assert values.shape == (bars,)
        assert not np.isinf(values).any()


def test_on_tables_each_symbol_has_its_columns_and_a_missing_one_is_reported():
    hours = pl.Series(
        "timestamp", [datetime(2025, 3, 3, tzinfo=UTC) + timedelta(hours=i) for i in range(200)], pl.Datetime("us", "UTC")
    )
    columns = _pair(3, 200)

    def bars(close, keep):
        frame = pl.DataFrame([hours, *(pl.Series(name, close) for name in ("open", "high", "low", "close"))]).filter(keep)
        return frame.with_columns(
            volume=pl.lit(1.0), known_at=pl.col("timestamp") + timedelta(hours=1),
            session_open=pl.col("timestamp").dt.truncate("1d"),
            session_close=pl.col("timestamp").dt.truncate("1d") + timedelta(days=1),
        )  # fmt: skip

    everything = pl.Series([True] * 200)
    context = Context(
        others={"SPY": bars(columns["other_close"], hours.dt.hour() < 12), "NONE": bars(columns["close"], ~everything)}
    )
    table, ledger = build_features({"1h": bars(columns["close"], everything)}, PLAIN, "1h", "24/7", context=context)
    assert [name for name in table.columns if name.endswith("_SPY")] == [spec.column("SPY") for spec in SPECS]
    assert ledger.notes["missing"] == ["NONE"]
    assert table["xknown_NONE"].sum() == 0
    assert table["xret_1_NONE"].null_count() == table.height
    noon = table.filter(pl.col("decision_at") == datetime(2025, 3, 8, 15, tzinfo=UTC))
    assert noon["xage_SPY"].item() == 180.0
