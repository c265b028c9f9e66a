from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from quant_pipeline.backtest.statistics import Statistics
from quant_pipeline.inference.champion import Event
from quant_pipeline.inference.signals import Signal
from quant_pipeline.models.contract import TrainingMetrics
from quant_pipeline.orchestration.measures import numbers, of_drift, of_equity, of_fit, of_rule, of_signal, of_skill, of_stack
from quant_pipeline.orchestration.scores import of_forecasts
from quant_pipeline.validation.bootstrap import Interval

NOW = datetime(2026, 11, 18, 10, tzinfo=UTC)
SIGNAL = Signal(symbol="GC=F", as_of=NOW, status="no_model", reason="none", experiment="tiny", profile="files", simulated=False)


def test_only_what_can_be_plotted_is_a_number():
    told = numbers(
        a=1, b=2.5, c=float("nan"), d=None, e=-np.inf, f=np.float64(3), g=np.int64(4), h_percent=0.25, i=123456789, j=2 / 3
    )
    assert told == {"a": 1, "b": 2.5, "f": 3.0, "g": 4, "h_percent": 25.0, "i": 123_456_789, "j": 0.666667}
    assert {name: type(value) for name, value in told.items()} == {
        "a": int, "b": float, "f": float, "g": float, "h_percent": float, "i": int, "j": float,
    }  # fmt: skip


def test_an_equity_without_a_trade_has_no_ratios():
    undefined = Interval(*[float("nan")] * 5)
    flat = Interval(0.0, 0.0, 0.0, 0.0, 1.0)
    found = Statistics(flat, 0.0, 0.0, undefined, float("nan"), 0.0, 0.0, float("nan"), 0, 0.0, 0.0, 8_766.0, 0.1)
    told = of_equity(found, -0.02)
    assert (told["trades"], told["total_return_percent"], told["buy_and_hold_return_percent"]) == (0, 0.0, -2.0)
    assert not {"sharpe_per_year", "sortino_per_year", "hit_rate_percent"} & set(told)
    traded = of_equity(replace(found, sharpe=Interval(1.5, 0.1, 2.0, 0.5, 9.0), max_drawdown=-0.125, hit_rate=0.5, trades=4), 0.0)
    assert (traded["sharpe_per_year"], traded["max_drawdown_percent"], traded["hit_rate_percent"]) == (1.5, -12.5, 50.0)


def test_skill_is_told_of_both_spans_and_of_one_model():
    rows = [
        ("ensemble", "all", "ic", 0.1), ("ensemble", "holdout", "ic", None), ("ensemble", "fold_00", "ic", 0.9),
        ("prior", "all", "ic", 0.0), ("ensemble", "holdout", "log_loss", 1.05), ("ensemble", "all", "ece", 0.01),
    ]  # fmt: skip
    table = pl.DataFrame(rows, schema=["model", "fold", "metric", "value"], orient="row")
    assert of_skill(table, "ensemble") == {"out_of_fold_information_coefficient": 0.1, "final_test_log_loss_nats": 1.05}


def test_gains_are_over_the_class_shares():
    fit = of_fit(TrainingMetrics(100, 20, 7, 0.9, 1.05, 1.1, (20, 50, 30)))
    assert (fit["rows_short"], fit["rows_neutral"], fit["rows_long"]) == (20, 50, 30)
    assert fit["valid_log_loss_gain_nats"] == pytest.approx(0.05)
    stack = of_stack({"stack": 1.0, "prior": 1.1, "vote": 0.5, "one": 1.2, "two": 1.05}, "stack", ["one", "two"])
    assert stack["best_model_log_loss_nats"] == 1.05
    assert stack["log_loss_gain_nats"] == pytest.approx(0.1)


def test_a_champion_that_was_not_compared_has_no_scores():
    event = Event("GC=F", NOW, "abc", "abc", promoted=True, reason="first", scores={}, since=NOW)
    assert of_rule(event) == {}
    score = {"log_loss": 1.0, "brier": 0.6, "rows": 80, "rows_hash": "x"}
    assert of_rule(replace(event, scores={"challenger": score})) == {
        "challenger_log_loss_nats": 1.0, "challenger_brier_score": 0.6, "challenger_rows": 80,
    }  # fmt: skip


def test_drift_that_could_not_be_measured_has_no_distance():
    schema = {"psi": pl.Float64, "wasserstein": pl.Float64, "drifted": pl.Boolean}
    told = of_drift(pl.DataFrame({"psi": [None, None], "wasserstein": [None, None], "drifted": [True, False]}, schema), 0.5)
    assert told == {"drifted_share": 0.5, "drifted_features": 1, "measured_features": 0}
    assert of_drift(pl.DataFrame({"psi": [0.1, 0.3], "wasserstein": [1.0, 0.0], "drifted": [True, True]}, schema), 1.0) == {
        "drifted_share": 1.0, "drifted_features": 2, "measured_features": 2, "psi_greatest": 0.3,
        "psi_median": pytest.approx(0.2), "wasserstein_greatest_sd": 1.0,
    }  # fmt: skip


def test_a_signal_that_says_nothing_has_no_probabilities():
    assert of_signal(SIGNAL) == {"action": 0, "position_size": 0.0, "equity_share_percent": 0.0, "breakers": 0}
    bars = {"last_bar_at": NOW - timedelta(minutes=3), "p_long": 0.5, "e_r": 0.001}
    told = of_signal(SIGNAL.model_copy(update=bars))
    assert (told["newest_bar_age_minutes"], told["p_long"], told["expected_return_percent"]) == (3.0, 0.5, pytest.approx(0.1))


def test_forecasts_are_scored_where_there_are_labels():
    times = [NOW + timedelta(hours=hour) for hour in range(4)]
    told = pl.DataFrame({"decision_at": times, "p_short": 0.25, "p_neutral": 0.25, "p_long": [0.5] * 4, "e_r": [None] * 4})
    labels = pl.DataFrame({"decision_at": times, "label": [1, 1, 0, None], "forward_return": [0.1, 0.2, 0.0, None]})
    learned = pl.Series([-1, 0, 1, 1])
    found = of_forecasts(told, labels, learned, "here_")
    losses = -np.log([0.5, 0.5, 0.25])
    assert found["here_log_loss_nats"] == pytest.approx(losses.mean(), rel=1e-5)
    assert found["here_log_loss_gain_nats"] == pytest.approx(0.0)
    assert found["here_hit_rate_percent"] == pytest.approx(200 / 3, rel=1e-5)
    assert "here_information_coefficient" not in found  # one score for all rows has no rank
    assert of_forecasts(told, labels.tail(1), learned) == of_forecasts(told, labels, learned.clear()) == {}
