"""Numbers of assets as Dagster plots them: plain, with their unit in the name, and none where a value is undefined.

Of forecasts see `scores.py`, apart so that an edit of a metric is no reason to fit models again.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

    from quant_pipeline.backtest.statistics import Statistics
    from quant_pipeline.inference.champion import Event
    from quant_pipeline.inference.signals import Signal
    from quant_pipeline.models.contract import TrainingMetrics

Numbers = dict[str, float | int]
SKILL = {
    "ic": "information_coefficient", "auc_direction": "auc_direction", "direction_gain": "direction_gain_nats",
    "log_loss": "log_loss_nats", "log_loss_gain": "log_loss_gain_nats", "brier": "brier_score",
    "accuracy": "hit_rate_percent", "net_return": "net_return_percent",
}  # fmt: skip
"""Metrics of skill that are plotted. A gain in log-loss is over a forecast that knows the shares of the classes only."""
SPANS = {"all": "out_of_fold", "holdout": "final_test"}


def numbers(**values: Any) -> Numbers:
    """The values that a plot can show, which NaN, infinity and nothing are not; those named `_percent` are given as shares."""
    known = {name: value for name, value in values.items() if value is not None and math.isfinite(value)}
    return {name: _plain(value, 100 if name.endswith("_percent") else 1) for name, value in known.items()}


def _plain(value: Any, scale: int) -> float | int:
    """Python's own number, which numpy's are not, of six digits."""
    return value if isinstance(value, int) and scale == 1 else float(f"{scale * value:.6g}")


def of_equity(found: Statistics, held: float) -> Numbers:
    """An equity curve; `held` is the return of buying and holding over the same span."""
    return numbers(
        total_return_percent=found.total_return.value,
        total_return_low_percent=found.total_return.low,
        total_return_high_percent=found.total_return.high,
        buy_and_hold_return_percent=held,
        return_per_year_percent=found.cagr,
        volatility_per_year_percent=found.volatility,
        sharpe_per_year=found.sharpe.value,
        sharpe_per_year_low=found.sharpe.low,
        sharpe_per_year_high=found.sharpe.high,
        sortino_per_year=found.sortino,
        max_drawdown_percent=found.max_drawdown,
        turnover_per_year=found.turnover_per_year,
        trades=found.trades,
        hit_rate_percent=found.hit_rate,
        time_in_market_percent=found.exposure,
        costs_percent=found.costs,
        span_years=found.years,
    )


def of_skill(table: pl.DataFrame, model: str) -> Numbers:
    """What a skill table says of `model` on all folds together and on the final test span."""
    rows = table.select("model", "fold", "metric", "value").iter_rows()
    own = [(fold, metric, value) for name, fold, metric, value in rows if name == model and fold in SPANS and metric in SKILL]
    return numbers(**{f"{SPANS[fold]}_{SKILL[metric]}": value for fold, metric, value in own})


def of_fit(metrics: TrainingMetrics) -> Numbers:
    """What one fit did."""
    short, neutral, long = metrics.class_counts
    return numbers(
        rows_train=metrics.rows_train,
        rows_valid=metrics.rows_valid,
        rows_short=short,
        rows_neutral=neutral,
        rows_long=long,
        iterations=metrics.iterations,
        train_log_loss_nats=metrics.train_log_loss,
        valid_log_loss_nats=metrics.valid_log_loss,
        prior_log_loss_nats=metrics.prior_log_loss,
        valid_log_loss_gain_nats=metrics.prior_log_loss - metrics.valid_log_loss,
    )


def of_stack(losses: dict[str, float], stack: str, models: list[str]) -> Numbers:
    """The stack's log-loss beside that of the class shares and of the best of its models, all on the same rows."""
    return numbers(
        log_loss_nats=losses[stack],
        prior_log_loss_nats=losses["prior"],
        best_model_log_loss_nats=min(losses[name] for name in models),
        log_loss_gain_nats=losses["prior"] - losses[stack],
    )


def of_rule(event: Event) -> Numbers:
    """The champion rule's scores of both bundles on rows that neither learned from; nothing where they were not compared."""
    return numbers(**{
        f"{bundle}_{name}": told[metric]
        for bundle, told in event.scores.items()
        for metric, name in (("log_loss", "log_loss_nats"), ("brier", "brier_score"), ("rows", "rows"))
    })  # fmt: skip


def of_drift(table: pl.DataFrame, share: float) -> Numbers:
    """A drift table, and the share of its features that drifted, in full: a sensor compares it."""
    told = numbers(
        drifted_features=table["drifted"].sum(),
        measured_features=table["psi"].count(),
        psi_greatest=table["psi"].max(),
        psi_median=table["psi"].median(),
        wasserstein_greatest_sd=table["wasserstein"].max(),
    )
    return {"drifted_share": share, **told}


def of_signal(signal: Signal) -> Numbers:
    """A signal's figures, those that it has."""
    age = signal.as_of - signal.last_bar_at if signal.last_bar_at else None
    return numbers(
        action=signal.action,
        p_short=signal.p_short,
        p_neutral=signal.p_neutral,
        p_long=signal.p_long,
        confidence_percent=signal.confidence,
        expected_return_percent=signal.e_r,
        expected_net_return_long_percent=signal.e_long,
        expected_net_return_short_percent=signal.e_short,
        position_size=signal.position_size,
        equity_share_percent=signal.equity_share,
        newest_bar_age_minutes=age.total_seconds() / 60 if age is not None else None,
        breakers=len(signal.breakers),
    )
