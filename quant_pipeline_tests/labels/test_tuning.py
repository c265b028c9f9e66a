from __future__ import annotations

import numpy as np
import optuna
import polars as pl
import pytest

from quant_pipeline.config.experiment import LabelSettings
from quant_pipeline.config.universe import Costs
from quant_pipeline.errors import DataError
from quant_pipeline.labels.triple_barrier import lay_course
from quant_pipeline.labels.tuning import barrier_score, score_barriers, tune_barriers

COSTS = Costs(fee_bps=5)
GIVEN = LabelSettings(tune_trials=15, max_bars=4)
OFF = LabelSettings(tune_trials=0)


@pytest.fixture
def bars(market):
    path = market.random(11, 6_000, tick=0.05)
    return market.wider(path, 10), path


def tune(bars, until_row=450, given=GIVEN, progress=None):
    primary, path = bars
    return tune_barriers(primary, path, given, COSTS, until=primary["known_at"][until_row], seed=7, progress=progress)


def scores(bars, until_row=450):
    """The best score after each trial: far more telling than the barriers that win."""
    told = []
    tune(bars, until_row, progress=lambda done, total, best: told.append((done, total, best)))
    return told


def shaken(bars, when):
    """The same bars with prices changed where `when` holds."""
    names = ("open", "high", "close")
    return tuple(
        frame.with_columns(pl.when(when).then(pl.col(name) * 1.01).otherwise(pl.col(name)) for name in names) for frame in bars
    )


def test_the_same_seed_gives_the_same_search(bars):
    assert tune(bars) == tune(bars)
    assert scores(bars) == scores(bars)


def test_nothing_after_the_end_of_training_is_looked_at(bars):
    until = bars[0]["known_at"][450]
    assert scores(shaken(bars, pl.col("known_at") > until)) == scores(bars)
    known = pl.col("known_at") <= until
    assert scores((bars[0].filter(known), bars[1].filter(known))) == scores(bars)


def test_what_is_known_at_the_end_of_training_is_looked_at(bars):
    assert scores(shaken(bars, pl.col("known_at") == bars[0]["known_at"][450 - 4])) != scores(bars)


def test_the_result_scores_at_least_as_well_as_the_given_barriers(bars):
    primary, path = bars
    course = lay_course(primary.head(451), path.filter(pl.col("known_at") <= primary["known_at"][450]), GIVEN.atr_period)
    found = tune(bars)
    rows = 450 - 2 * GIVEN.max_bars
    assert score_barriers(course, found, COSTS, rows) > score_barriers(course, GIVEN, COSTS, rows)
    assert 2 <= found.max_bars <= 8
    assert found.atr_period == GIVEN.atr_period


def test_the_first_trial_is_the_given_barriers(bars):
    assert tune(bars, given=LabelSettings(tp_atr=1.3, sl_atr=0.7, max_bars=6, tune_trials=1)) == LabelSettings(
        tp_atr=1.3, sl_atr=0.7, max_bars=6, tune_trials=1
    )


def test_no_trials_leave_the_barriers_as_they_are(bars):
    assert tune(bars, given=OFF) is OFF


def test_progress_is_told_and_optuna_is_quiet(bars, caplog, capsys):
    told = []
    before = optuna.logging.get_verbosity()
    tune(bars, progress=lambda *step: told.append(step))
    assert [step[:2] for step in told] == [(trial, 15) for trial in range(1, 16)]
    best = [step[2] for step in told]
    assert best == sorted(best)
    assert optuna.logging.get_verbosity() == before
    assert not caplog.records
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("until_row", [5, 30, 110])
def test_too_few_training_rows_are_refused(bars, until_row):
    with pytest.raises(DataError, match="at least 100"):
        tune(bars, until_row)


def test_a_long_only_labelling_counts_no_short_trades(bars):
    primary, path = bars
    course = lay_course(primary, path, 14)
    rules = LabelSettings(side="long", tp_atr=1, sl_atr=1)
    both = rules.model_copy(update={"side": "two_sided"})
    assert 0 < score_barriers(course, rules, COSTS, 500) < score_barriers(course, both, COSTS, 500)


@pytest.mark.parametrize(
    ("label", "reward", "held", "wanted"),
    [
        ([1, -1, 0], [1, 1, 0], [1, 1, 1], 1 * (2 / 3) / (1 + 2 / 3)),  # balanced: the worth alone
        ([1, -1, 0], [1, 1, 0], [4, 4, 4], (1 / 3) / (1 + 1 / 3)),  # four times the wait halves the payoff
        ([0, 0, 0], [0, 0, 0], [1, 1, 1], 0),  # one class: nothing to learn
        ([1, 1, 1], [2, 2, 2], [1, 1, 1], 0),
        ([1, -1, 0], [-1, -1, 0], [1, 1, 1], 0),  # a loss is worth nothing
        ([], [], [], 0),
    ],
)
def test_score(label, reward, held, wanted):
    score = barrier_score(np.array(label, np.int8), np.array(reward, float), np.array(held, np.int64))
    assert score == pytest.approx(wanted)
