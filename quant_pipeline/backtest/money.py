"""What following forecasts would have earned, as rows of the skill table: with an interval, beside holding and doing nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from quant_pipeline.backtest.statistics import total_return
from quant_pipeline.config.experiment import HOLDOUT
from quant_pipeline.validation.skill_table import POOLED, SCHEMA, TableSettings

if TYPE_CHECKING:
    from datetime import datetime

    from quant_pipeline.backtest.engine import Backtest
    from quant_pipeline.validation.bootstrap import Interval

MONEY = "net_return"
HOLD = "buy and hold"
NOTHING = 0.0  # what doing nothing earns: the chance level of money


def money_rows(
    backtests: Mapping[str, Backtest], hold: Backtest, models: list[str], holdout_at: datetime | None, settings: TableSettings
) -> pl.DataFrame:
    """One row per line and span, of metric `MONEY`: the return net of costs over the span's bars, compounded.

    Args:
        backtests: by model or strategy, over the same bars as `hold`.
        hold: buy-and-hold, which stands in the column `naive`.
        models: which lines are models (kind "model"); the others are of kind "strategy", `hold` of kind "naive".
        holdout_at: first decision of the final test span; bars from there on are its, earlier ones the pool's.
        settings: of the block bootstrap of bar returns.
    """
    lines = {**backtests, HOLD: hold}
    kinds = {name: "model" if name in models else "strategy" for name in backtests} | {HOLD: "naive"}
    rows = [row for fold, inside in _spans(hold.equity, holdout_at) for row in _rows(lines, kinds, fold, inside, settings)]
    return pl.DataFrame(rows, schema=SCHEMA).with_columns(pl.col(pl.Float64).fill_nan(None))


def _spans(equity: pl.DataFrame, holdout_at: datetime | None) -> Iterator[tuple[str, slice]]:
    """Rows of the equity table before and after the holdout begins; a span of fewer than two bars is none."""
    edge = equity.height if holdout_at is None else int((equity["timestamp"] < holdout_at).sum())
    for fold, span in ((POOLED, slice(0, edge)), (HOLDOUT, slice(edge, equity.height))):
        if span.stop - span.start > 1:
            yield fold, span


def _rows(
    lines: Mapping[str, Backtest], kinds: Mapping[str, str], fold: str, span: slice, settings: TableSettings
) -> Iterator[dict[str, Any]]:
    found = {name: _earned(each, span, settings) for name, each in lines.items()}
    for name, interval in found.items():
        yield {
            "model": name, "kind": kinds[name], "fold": fold, "metric": MONEY, "rows": span.stop - span.start, **asdict(interval),
            "chance": NOTHING, "naive": found[HOLD].value, "naive_model": HOLD, "looks": 1,
        }  # fmt: skip


def _earned(backtest: Backtest, span: slice, settings: TableSettings) -> Interval:
    net = np.append(1.0, backtest.equity["net"].to_numpy())[span.start : span.stop + 1]
    return total_return(net, resamples=settings.resamples, level=settings.level, seed=settings.seed)
