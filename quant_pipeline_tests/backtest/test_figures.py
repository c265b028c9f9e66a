"""Figures draw what the tables say, in equal bytes."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import polars as pl
import pytest

from quant_pipeline.backtest import figures
from quant_pipeline.backtest.engine import buy_and_hold
from quant_pipeline.config.universe import Costs
from quant_pipeline.validation.skill_table import TableSettings, skill_table, with_labels


def draw(function, *arguments: object):
    with mpl.rc_context(figures.STYLE):
        figure, axes = figures.canvas(4, 3)
        function(axes[0, 0], *arguments)
        return figure, axes[0, 0]


def test_bytes_are_equal_and_carry_no_text(market) -> None:
    first, again = (figures.png(draw(figures.fold_timeline, market.splits)[0]) for _ in range(2))
    assert first == again
    assert b"tEXt" not in first


def test_class_shares_of_each_fold_fill_the_bar(market) -> None:
    rows = with_labels(market.predictions, market.labels)
    _, axes = draw(figures.class_balance, rows)
    widths = np.array([bar.get_width() for bar in axes.patches]).reshape(3, -1)
    assert widths.sum(axis=0) == pytest.approx(1.0)
    holdout = rows.filter(pl.col("fold") == "holdout", pl.col("model") == "logistic")["label"]
    assert widths[:, 0] == pytest.approx([(holdout == k).mean() for k in (-1, 0, 1)])


def test_one_bar_per_interval_of_the_splits(market) -> None:
    _, axes = draw(figures.fold_timeline, market.splits)
    assert len(axes.patches) == market.splits.height


def test_one_interval_per_model_and_fold(market) -> None:
    table = skill_table(market.predictions, market.labels, settings=TableSettings(resamples=50, metrics=("ic",)))
    _, axes = draw(figures.ic_by_fold, table)
    wanted = table.filter(pl.col("kind") == "model").drop_nulls("low").height
    assert sum(len(lines.get_segments()) for lines in axes.collections) == wanted
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == [*(f"fold_{k:02d}" for k in range(5)), "pooled", "holdout"]


def test_equity_of_many_models_keeps_the_ensemble_in_front(market) -> None:
    hold = buy_and_hold(market.bars, Costs(fee_bps=1))
    with mpl.rc_context(figures.STYLE):
        _, axes = figures.canvas(6, 6, 3, 1)
        figures.equity(axes[:, 0], {"ensemble": hold, "a": hold}, hold, market.bars["known_at"][900])
    lines = {line.get_label(): line for line in axes[0, 0].get_lines()}
    assert lines["ensemble"].get_zorder() > lines["a"].get_zorder()
    assert lines["a"].get_ydata()[-1] == pytest.approx(100 * (hold.equity["net"][-1] - 1))
