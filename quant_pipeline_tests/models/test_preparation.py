"""What a fold does to the features before its models: the same after a save, for one row as for many, and never a guess."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_pipeline.errors import ConfigError, DataError
from quant_pipeline.models.preparation.hmm import LOOKBACK
from quant_pipeline.models.preparation.preparation import PREPARATION, Preparation, with_regimes

BARS = LOOKBACK + 60
START = datetime(2025, 3, 3, tzinfo=UTC)
LADDER = ("15m", "1h")
CHOSEN = ("rsi_1h", "rsi_15m", "log_return_1_1h", "regime_p0", "hour_sin", "ch_close_1h")


@pytest.fixture(scope="module")
def bars():
    close = 100 * np.exp(np.cumsum(1e-3 * np.random.default_rng(0).normal(size=BARS)))
    opened = pl.Series("timestamp", [START + timedelta(hours=hour) for hour in range(BARS)], pl.Datetime("us", "UTC"))
    return pl.DataFrame([opened, (opened + timedelta(hours=1)).alias("known_at"), pl.Series("close", close)])


@pytest.fixture(scope="module")
def features(bars):
    """Of every bar but the first ten, which warm up."""
    told = bars.select("timestamp", pl.col("known_at").alias("decision_at"), rsi_1h=pl.col("close") % 1)
    return told.slice(10)


@pytest.fixture(scope="module")
def preparation(make_preparation) -> Preparation:
    return make_preparation(*CHOSEN)


def test_what_is_loaded_is_what_was_saved(preparation, features, bars, tmp_path):
    preparation.save(tmp_path / "one")
    loaded = Preparation.load(tmp_path / "one")
    assert loaded.selection.columns == CHOSEN
    assert_frame_equal(loaded.selection.report, preparation.selection.report)
    assert_frame_equal(loaded.table(features, bars), preparation.table(features, bars), check_exact=True)
    loaded.save(tmp_path / "two")
    assert (tmp_path / "one" / PREPARATION).read_bytes() == (tmp_path / "two" / PREPARATION).read_bytes()
    assert [path.name for path in (tmp_path / "one").iterdir()] == [PREPARATION]


def test_regimes_stand_beside_the_features_of_their_decision(preparation, features, bars):
    told = preparation.table(features, bars)
    assert told.columns == [*features.columns, *preparation.regimes.columns]
    assert_frame_equal(told.select(features.columns), features)
    alone = preparation.regimes.probabilities(bars).drop("timestamp")
    assert_frame_equal(told.drop(features.columns[2:]).drop("timestamp"), alone.slice(10))
    assert told["regime_p0"].null_count() == LOOKBACK - 1 - 10
    assert told["regime_p0"].n_unique() > 50


@pytest.mark.parametrize("rows", [1, 7])
def test_a_few_rows_are_those_of_the_whole_bit_for_bit(preparation, features, bars, rows):
    whole, last = preparation.table(features, bars), preparation.table(features.tail(rows), bars.tail(LOOKBACK + rows - 1))
    assert_frame_equal(last, whole.tail(rows), check_exact=True)


def test_later_bars_change_no_row(preparation, features, bars):
    cut = BARS - 20
    then = preparation.table(features.head(cut - 10), bars.head(cut))
    assert_frame_equal(then, preparation.table(features, bars).head(cut - 10), check_exact=True)


def test_a_decision_without_its_bar_has_no_regime(preparation, features, bars):
    told = preparation.table(features.tail(3), bars.head(BARS - 1))
    assert told["regime_p0"].is_null().to_list() == [False, False, True]


def test_no_rows_stay_no_rows(preparation, features, bars):
    assert with_regimes(features.clear(), bars, preparation.regimes).is_empty()


def test_a_feature_set_is_met_with_the_choice(preparation):
    assert preparation.columns("default", LADDER) == CHOSEN[:-1]  # channels are no feature of a decision
    assert preparation.columns("transformer_raw", LADDER) == ("log_return_1_1h", "hour_sin")
    assert preparation.columns("foundation", LADDER) == ("ch_close_1h",)


@pytest.mark.parametrize("name", ["foundation", "nbeats_raw"])
def test_a_set_that_shares_nothing_with_the_choice_is_refused(make_preparation, name):
    told = f"feature set '{name}': found none of its features among those selected.*enable a family that it reads"
    with pytest.raises(ConfigError, match=told):
        make_preparation("rsi_1h", "macro_cpi_yoy").columns(name, LADDER)


def test_a_set_that_does_not_exist_gets_the_nearest(preparation):
    with pytest.raises(ConfigError, match="did you mean 'default'"):
        preparation.columns("defalt", LADDER)


def test_a_preparation_of_other_observations_is_refused(preparation, tmp_path):
    preparation.save(tmp_path)
    path = tmp_path / PREPARATION
    told = json.loads(path.read_text())
    told["regimes"]["observations"] = ["close"]
    path.write_text(json.dumps(told))
    with pytest.raises(DataError, match="fit the regimes again"):
        Preparation.load(tmp_path)
