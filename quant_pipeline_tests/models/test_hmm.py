"""Regimes: the forward filter against hmmlearn's smoothed posterior of prefixes, and nothing from the future."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hmmlearn.hmm import GaussianHMM
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_pipeline.errors import BundleError, DataError, ModelError
from quant_pipeline.models.preparation.hmm import (
    LONG,
    LOOKBACK,
    RESTART,
    STILL,
    WILD,
    RegimeModel,
    forward,
    log_densities,
    observations,
)

BARS = 1_500
PHASE = 150
"""Bars of calm, then as many that are four times as wild, and so on."""


def _bars(close):
    opened = pl.datetime_range(
        datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=len(close)), "1h",
        time_unit="us", closed="left", eager=True,
    )  # fmt: skip
    return pl.DataFrame({"timestamp": opened, "close": close}).with_columns(known_at=pl.col("timestamp") + timedelta(hours=1))


@pytest.fixture(scope="module")
def bars():
    rng = np.random.default_rng(5)
    wild = (np.arange(BARS) // PHASE) % 2
    return _bars(100 * np.exp(np.cumsum(0.002 * 4.0**wild * rng.normal(size=BARS))))


@pytest.fixture(scope="module")
def model(bars):
    return RegimeModel.fit(bars, bars["known_at"][:1_000], states=2, seed=3)


@pytest.fixture(scope="module")
def told(model, bars):
    return model.probabilities(bars)


@pytest.fixture(scope="module")
def theirs(model):
    """hmmlearn's model with our parameters, started where our filter starts."""
    peer = GaussianHMM(model.states, "diag")
    peer.startprob_, peer.transmat_ = model.stationary, model.transitions
    peer.means_, peer.covars_ = model.means, model.variances
    return peer


def _scaled(model, bars):
    return (observations(bars) - model.centre) / model.spread


def test_the_filter_is_the_last_smoothed_row_of_every_prefix(model, bars, theirs):
    scaled = _scaled(model, bars)[LONG + 1 :][:160]
    ours = forward(log_densities(scaled, model.means, model.variances), model.transitions, model.stationary, 160)
    last = [theirs.predict_proba(scaled[: t + 1])[-1] for t in range(len(scaled))]
    np.testing.assert_allclose(ours, last, atol=1e-9)


def test_the_filter_starts_afresh_a_fixed_number_of_bars_before_each_row(model, bars, theirs, told):
    scaled = _scaled(model, bars)
    ours = told.select("regime_p0", "regime_p1").to_numpy()
    for t in range(LOOKBACK - 1, BARS, 97):
        np.testing.assert_allclose(ours[t], theirs.predict_proba(scaled[t - RESTART + 1 : t + 1])[-1], atol=1e-9)


def test_what_is_older_than_the_restart_is_forgotten(model, bars, theirs, told):
    """The last smoothed row of the whole series reads everything; ours reads 200 bars."""
    whole = theirs.predict_proba(_scaled(model, bars)[LONG + 1 :])[-1]
    np.testing.assert_allclose(told.select("regime_p0", "regime_p1").row(-1), whole, atol=1e-6)


def test_smoothing_fails_the_prefix_comparison_that_the_filter_passes(model, bars, theirs, told):
    scaled = _scaled(model, bars)[LONG + 1 :]
    smoothed = theirs.predict_proba(scaled)
    worst = 0.0
    for t in range(LOOKBACK, BARS, 7):
        again = theirs.predict_proba(scaled[: t - LONG])
        worst = max(worst, float(np.abs(again[-1] - smoothed[t - LONG - 1]).max()))
        assert model.probabilities(bars[: t + 1])[-1].equals(told[t])
    assert worst > 0.1


@settings(max_examples=30, deadline=None)
@given(row=st.integers(LOOKBACK - 1, BARS - 1), more=st.integers(0, 50))
def test_any_window_of_the_lookback_gives_the_same_bits(bars, model, told, row, more):
    window = bars[max(0, row - LOOKBACK + 1 - more) : row + 1]
    assert model.probabilities(window)[-1].equals(told[row])


@pytest.mark.parametrize("row", [0, 5, 299, 300, 301, 302, 700, BARS - 2, BARS - 1])
def test_since_gives_the_same_rows(bars, model, told, row):
    assert model.probabilities(bars, since=bars["known_at"][row]).equals(told[row + 1 :])


def test_states_are_ordered_by_volatility(model, told):
    assert model.means[0, 1] < model.means[1, 1]
    wild = (np.arange(BARS) // PHASE) % 2
    settled = (np.arange(BARS) % PHASE > 40) & (np.arange(BARS) >= LOOKBACK)
    assert (told["regime_state"].to_numpy()[settled] == wild[settled]).mean() > 0.97


def test_three_states_of_a_seed_are_the_same_twice_and_ordered(bars):
    first, again = (RegimeModel.fit(bars, bars["known_at"], seed=1) for _ in range(2))
    assert first.to_dict() == again.to_dict()
    assert (np.diff(first.means[:, 1]) > 0).all()
    np.testing.assert_allclose(first.transitions.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(first.stationary @ first.transitions, first.stationary, atol=1e-4)


def test_what_a_row_tells_is_a_distribution(told):
    assert told["regime_state"].dtype == pl.Int8
    assert told[: LOOKBACK - 1].select(pl.exclude("timestamp", "decision_at")).null_count().row(0) == (LOOKBACK - 1,) * 4
    known = told[LOOKBACK - 1 :]
    assert not any(known.null_count().row(0))
    chances = known.select("regime_p0", "regime_p1").to_numpy()
    np.testing.assert_allclose(chances.sum(axis=1), 1.0, atol=1e-12)
    assert np.array_equal(known["regime_state"], chances.argmax(axis=1))
    entropy = -np.sum(chances * np.log2(np.maximum(chances, 1e-300)), axis=1)
    np.testing.assert_allclose(known["regime_entropy"], entropy, atol=1e-9)
    assert known["decision_at"][0] == known["timestamp"][0] + timedelta(hours=1)


def test_bars_outside_the_training_rows_change_nothing(bars, model):
    other = bars.with_columns(close=pl.when(pl.int_range(pl.len()) < 1_000).then("close").otherwise(pl.col("close") * 3))
    assert RegimeModel.fit(other, bars["known_at"][:1_000], states=2, seed=3).to_dict() == model.to_dict()


def test_transitions_across_a_hole_are_not_learned(bars):
    """Calm bars, a hole, wild bars: a fit that joined the parts would see the one transition there is."""
    wild = np.arange(BARS) // PHASE
    parts = np.flatnonzero(((wild == 2) | (wild == 5)) & (np.arange(BARS) % PHASE > 30))
    apart = RegimeModel.fit(bars, bars["known_at"][parts], states=2, seed=1)
    assert apart.transitions[0, 1] < 1e-3
    assert apart.transitions[1, 0] < 1e-3


def test_observations_by_definition(bars):
    values, returns = observations(bars), np.diff(np.log(bars["close"]), prepend=np.nan)
    for t in (LONG + 1, 500, BARS - 1):
        assert values[t, 0] == pytest.approx(returns[t] / np.std(returns[t - LONG : t]), rel=1e-9)
        assert values[t, 1] == pytest.approx(np.log(np.std(returns[t - 19 : t + 1])), rel=1e-9)
    assert np.isnan(values[: LONG + 1]).all()
    assert not np.isnan(values[LONG + 1 :]).any()


def test_a_still_market_and_a_jump_are_finite(model):
    close = np.full(700, 50.0)
    close[600:] = 5_000.0
    values = observations(_bars(close))
    assert (values[LONG + 1 : 600] == [0.0, np.log(STILL)]).all()
    assert values[600, 0] == WILD
    told = model.probabilities(_bars(close))
    assert not any(told[LOOKBACK - 1 :].null_count().row(0))


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_a_still_market_can_be_fitted():
    still = _bars(np.full(800, 50.0))
    told = RegimeModel.fit(still, still["known_at"], states=2).probabilities(still)[LOOKBACK - 1 :]
    assert told.select(pl.exclude("timestamp", "decision_at")).to_numpy().min() >= 0.0
    assert not any(told.null_count().row(0))


def test_json_brings_the_same_bits_back(model, bars, told):
    again = RegimeModel.from_dict(json.loads(json.dumps(model.to_dict(), allow_nan=False)))
    assert again.probabilities(bars).equals(told)
    with pytest.raises(DataError, match="fit the regimes again"):
        RegimeModel.from_dict(model.to_dict() | {"observations": ["range"]})


def test_the_newest_training_bars_are_read_when_there_are_too_many(bars, monkeypatch):
    newest = RegimeModel.fit(bars, bars["known_at"][700:1_200], states=2)
    monkeypatch.setattr("quant_pipeline.models.preparation.hmm.MOST_BARS", 500)
    assert RegimeModel.fit(bars, bars["known_at"][:1_200], states=2).to_dict() == newest.to_dict()


def test_a_saved_model_tells_the_same_and_a_damaged_one_is_named(model, bars, told, tmp_path):
    model.save(tmp_path / "regimes")
    assert RegimeModel.load(tmp_path / "regimes").probabilities(bars).equals(told)
    file = tmp_path / "regimes" / "regimes.json"
    for damage in (file.read_text()[:100], "{}"):
        file.write_text(damage)
        with pytest.raises((BundleError, DataError), match="fit the regimes again"):
            RegimeModel.load(tmp_path / "regimes")
    with pytest.raises(BundleError, match=r"regimes\.json"):
        RegimeModel.load(tmp_path)


def test_too_few_training_bars_are_refused(bars):
    with pytest.raises(ModelError, match=r"found 59, wanted at least 60"):
        RegimeModel.fit(bars, bars["known_at"][LONG + 1 : LONG + 60])


def test_a_history_of_any_length_is_accepted(model, bars):
    for rows in (0, 1, LONG, LONG + 1, LOOKBACK - 1, LOOKBACK):
        told = model.probabilities(bars[:rows])
        assert told.columns == ["timestamp", "decision_at", *model.columns]
        assert told["regime_p0"].null_count() == min(rows, LOOKBACK - 1)
