"""Features of decisions by the one path of training and inference, with what a foundation model says beside them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_pipeline.bars.build import build_bars
from quant_pipeline.features import foundation
from quant_pipeline.features.build import build_features
from quant_pipeline.features.context import ALONE
from quant_pipeline.inference import inputs
from quant_pipeline.inference.inputs import decision_features, foundation_table
from quant_pipeline.inference.predictor import Predictor

AT = datetime(2024, 2, 28, 14, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Encoder:
    """A foundation model that says the mean of the last closes, as the real one does: causal, null while it warms up."""

    made: list[tuple[str, int, int]]

    def __init__(self, model: str, context: int, horizon: int) -> None:
        self.made.append((model, context, horizon))
        self.context = context

    def encode(self, bars, *, since=None, cache=None):
        assert cache is None  # a decision writes nothing
        told = bars.select(
            "timestamp",
            pl.col("known_at").alias("decision_at"),
            foundation_q50=pl.col("close").rolling_mean(self.context) / pl.col("close") - 1,
        )
        return told if since is None else told.filter(pl.col("decision_at") > since)


@pytest.fixture
def made(monkeypatch):
    """Every encoder that was made: model, context, horizon."""
    inputs._encoder.cache_clear()
    monkeypatch.setattr(Encoder, "made", [], raising=False)
    monkeypatch.setattr(foundation, "FoundationEncoder", Encoder)
    yield Encoder.made
    inputs._encoder.cache_clear()


@pytest.fixture(scope="module")
def experiment(small_experiment):
    settings = small_experiment.foundation.model_copy(update={"model": "a/model", "context": 40, "horizon": 3})
    return small_experiment.model_copy(update={"foundation": settings})


@pytest.fixture(scope="module")
def rungs(minutes_of, small_experiment):
    return build_bars({"1m": minutes_of["BTC-USD"]}, "24/7", small_experiment.ladder, as_of=AT)[0]


def test_without_a_foundation_model_they_are_the_features_of_the_families(rungs, small_experiment):
    told = decision_features(rungs, ALONE, small_experiment, "24/7")
    assert_frame_equal(told, build_features(rungs, small_experiment.features, "1h", "24/7")[0])


@pytest.mark.usefixtures("made")
def test_its_columns_stand_beside_the_features_of_the_same_decision(rungs, experiment):
    told = decision_features(rungs, ALONE, experiment, "24/7")
    features = build_features(rungs, experiment.features, "1h", "24/7")[0]
    assert_frame_equal(told.drop("foundation_q50"), features)
    bars = rungs["1h"]
    close = dict(zip(bars["known_at"], bars["close"], strict=True))
    at = told["decision_at"].to_list()
    for row in (100, 333, len(at) - 1):
        window = bars.filter(pl.col("known_at") <= at[row])["close"].tail(40)
        assert told["foundation_q50"][row] == pytest.approx(window.mean() / close[at[row]] - 1)


@pytest.mark.usefixtures("made")
def test_later_rows_alone_are_those_of_the_whole_and_nothing_older_is_encoded(rungs, experiment, monkeypatch):
    whole = decision_features(rungs, ALONE, experiment, "24/7")
    encode, rows = Encoder.encode, []

    def counted(self, bars, **named: object):
        told = encode(self, bars, **named)
        rows.append(told.height)
        return told

    monkeypatch.setattr(Encoder, "encode", counted)
    later = decision_features(rungs, ALONE, experiment, "24/7", since=AT - 30 * HOUR)
    assert_frame_equal(later, whole.filter(pl.col("decision_at") > AT - 30 * HOUR))
    assert rows == [30]


def test_the_model_is_opened_once_for_equal_settings(made, rungs, experiment):
    other = experiment.foundation.model_copy(update={"horizon": 4})
    for settings in (experiment.foundation, experiment.foundation.model_copy(), other):
        foundation_table(rungs["1h"], settings)
    assert made == [("a/model", 40, 3), ("a/model", 40, 4)]


@pytest.mark.usefixtures("made")
def test_a_signal_reads_them_too(desk, experiment, rungs, make_bundle):
    bundle = make_bundle(columns=("foundation_q50", "log_return_1_1h"))
    predictor = Predictor(desk._replace(experiment=experiment), profile="simulated", simulated=True)
    assert predictor.signal("BTC-USD", bundle, AT).status == "ok"
    whole = foundation_table(rungs["1h"], experiment.foundation)
    assert bundle.asked[0].values[0, 0] == pytest.approx(whole["foundation_q50"][-1], rel=1e-6)
