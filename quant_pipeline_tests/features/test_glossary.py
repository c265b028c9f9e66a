"""The words of each column: nothing without a meaning, and the right moment for each marker."""

from __future__ import annotations

import pytest

from quant_pipeline.config.experiment import FoundationSettings, load_experiment
from quant_pipeline.features.glossary import entries
from quant_pipeline.features.listing import every_column
from quant_pipeline.features.registry import specs

EXPERIMENT = load_experiment("default")
OTHERS = ("SPY",)
NAMES = [column.name for column in every_column(EXPERIMENT, OTHERS)]


@pytest.fixture(scope="module")
def told():
    return {entry.column: entry for entry in entries(EXPERIMENT, ("timestamp", "decision_at", *NAMES), OTHERS)}


def test_every_column_has_its_words_in_the_order_of_the_registry(told):
    assert list(told) == NAMES
    assert all(entry.meaning and entry.inputs and entry.known for entry in told.values())
    assert [entry.column for entry in entries(EXPERIMENT, reversed(NAMES), OTHERS)] == NAMES


@pytest.mark.parametrize(
    ("column", "known"),
    [
        ("rsi_15m", "close of the newest bar of its rung"),
        ("chart_double_top_detected_1h", "close of the bar that confirms it"),
        ("candle_doji_confidence_1h", "close of the bar that confirms it"),
        ("smc_bos_bullish_1h", "close of the bar that confirms it"),
        ("hour_sin", "the decision itself, from the market calendar"),
        ("macro_cpi_yoy", "release"),
        ("news_age", "publication"),
        ("xret_1_SPY", "close of the other market's newest bar"),
        ("rsi_1h_x_vol_regime", "close of the newest bars of what it is made of"),
    ],
)
def test_each_is_known_from_its_own_moment_on(told, column, known):
    assert told[column].known.startswith(known)


def test_lookbacks_count_the_z_score_and_say_nothing_where_bars_do_not_matter(told):
    spec = {each.name: each for each in specs()}
    assert told["rsi_1m"].lookback == spec["rsi"].lookback == 281
    assert told["macd_1m"].lookback == spec["macd"].lookback + EXPERIMENT.features.zscore_window - 1
    assert told["vwap_distance_1m"].lookback > told["vwap_distance_1h"].lookback
    assert told["xcorr_50_SPY"].lookback == 51
    assert {told[name].lookback for name in ("hour_sin", "macro_cpi_yoy", "news_age", "rsi_1h_x_vol_regime")} == {None}


def test_a_z_score_is_told_once(told):
    assert told["macd_1h"].meaning.endswith("Then its rolling z-score.")
    assert told["micro_amihud_1m"].meaning.lower().count("z-score") == 1


def test_the_foundation_model_is_named_and_a_stranger_is_said_to_be_one():
    experiment = EXPERIMENT.model_copy(update={"foundation": FoundationSettings(model="bolt-tiny", context=64, horizon=3)})
    quantile, part, stranger = entries(experiment, ("foundation_q10", "foundation_e007", "gone_1h"), OTHERS)
    assert quantile.meaning == "Quantile 0.1 of the return to the close 3 bars ahead, as bolt-tiny forecasts it."
    assert "last 64 closes" in part.meaning
    assert (quantile.family, quantile.lookback, part.known) == ("foundation", 64, "close of the newest 1h bar")
    assert (stranger.family, stranger.known) == ("unregistered", "unknown")
