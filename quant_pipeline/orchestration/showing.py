"""The few rows that the shell prints at the end of a run: skill and signal, and before them what speaks against them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
from rich.markup import escape
from rich.text import Text

from quant_pipeline.backtest.money import MONEY
from quant_pipeline.backtest.verdicts import between, look_up, models, number, share
from quant_pipeline.config.commands import command
from quant_pipeline.config.experiment import HOLDOUT
from quant_pipeline.errors import MissingUpstreamError
from quant_pipeline.files import read_parquet, stands
from quant_pipeline.inference.schedule import decision_time
from quant_pipeline.inference.signals import Signal
from quant_pipeline.orchestration.assets.deploy import test_log
from quant_pipeline.orchestration.house import House
from quant_pipeline.orchestration.remaking import remake, retrain
from quant_pipeline.validation.family import widened
from quant_pipeline.validation.holdout_log import count_uses, read_test_uses
from quant_pipeline.validation.skill_table import POOLED, SCHEMA, TableSettings

SHOWN = {  # direction, money, and last what also rewards telling calm hours from wild ones
    "ic": "rank IC\nchance 0",
    "auc_direction": "AUC\nlong/short\nchance 0.5",
    "direction_gain": "direction\ngain\nchance 0",
    MONEY: "net\nreturn\nidle 0",
    "log_loss_gain": "log-loss\ngain\nchance 0",
}
SPANS = {POOLED: "out of fold", HOLDOUT: "final test"}
UNDEFINED = "\N{EN DASH}"
ALARMS_SHOWN = 5


FIGURES = ("model", "kind", "fold", "metric", "rows", "value", "low", "high", "chance", "naive", "naive_model", "reachable")
"""Columns of the skill table that a program is told."""


def skill_table(house: House, symbol: str) -> pl.DataFrame:
    """The skill table, widened for all that looked at the final test by now; raises `MissingUpstreamError` without a report."""
    path = house.workplace.lake / "skill_report" / f"{symbol}.parquet"
    if not stands(path):
        raise MissingUpstreamError(f"skill report of {symbol}", found="none", wanted="a finished training", mend=retrain(symbol))
    now = pl.when(pl.col("fold") == HOLDOUT).then(_uses(house, symbol)).otherwise("looks")
    table = read_parquet(path, remake(dg.AssetKey("skill_report"), symbol), schema=pl.Schema(SCHEMA))
    return widened(table, now, TableSettings().level)


def skill_page(house: House, symbol: str) -> Path:
    """Where the report page lies."""
    return (house.workplace.reports / symbol / "skill_report.html").absolute()


def skill_rows(house: House, symbol: str) -> tuple[str, list[dict[str, Any]], Path]:
    """Title, one row per model and span, and the place of the report page; raises `MissingUpstreamError` without a report."""
    table = skill_table(house, symbol)
    lines = [*models(table), *models(table, "strategy")]
    rows = [row for span in SPANS for name in lines if (row := _row(table, name, span))]
    uses, label = _uses(house, symbol), market(house)
    used = f"holdout (final test) used {uses} {'time' if uses == 1 else 'times'}{', widened for that' if uses > 1 else ''}"
    return f"{symbol}: out-of-sample skill, 95 % intervals ({label}); {used}", rows, skill_page(house, symbol)


def skill_figures(house: House, symbol: str) -> list[dict[str, Any]]:
    """The figures behind `skill_rows`, for a program: one row per model, span and metric."""
    table = skill_table(house, symbol)
    shown = table.filter(pl.col("metric").is_in(list(SHOWN)), pl.col("fold").is_in(list(SPANS)), pl.col("value").is_not_null())
    return shown.select(FIGURES).to_dicts()


def market(house: House) -> str:
    """What the figures are of: the source, and SIMULATED where nothing is real."""
    return "SIMULATED market" if house.source.simulated else house.source.name


def _uses(house: House, symbol: str) -> int:
    """How many bundles have been scored on the final test span of the symbol's newest bundle, by now."""
    path = house.workplace.lake / "bundle" / f"{symbol}.parquet"
    at = read_parquet(path, retrain(symbol), columns=["decision_at"])["decision_at"]
    return max(1, count_uses(read_test_uses(test_log(house, symbol)), (at.min(), at.max())))  # type: ignore[arg-type]


def _row(table: pl.DataFrame, model: str, span: str) -> dict[str, Any] | None:
    found = {metric: look_up(table, model, span, metric) for metric in SHOWN}
    told = [cell for cell in found.values() if cell]
    if not told:
        return None
    size = f"{told[0]['rows']:,} {'rows' if found['ic'] else 'bars'}"
    row: dict[str, Any] = {"model": model, "out of sample": f"{SPANS[span]}\n{size}"}
    activity = look_up(table, model, span, "activity_gain")
    return row | {title: _cell(found[metric], activity) for metric, title in SHOWN.items()}


def _cell(cell: dict[str, Any] | None, activity: dict[str, Any] | None) -> str | Text:
    """Value, interval, and what it has to be seen beside."""
    if cell is None:
        return UNDEFINED
    metric = cell["metric"]
    ends = between(cell) if cell["low"] is not None else "no interval"
    naive = f"{'holding' if metric == MONEY else 'naive'} {number(cell['naive'], metric)}"
    if metric == "log_loss_gain" and activity:
        naive = f"activity {number(activity['value'], metric)}"
    reached = f"\n[dim]{share(cell, ' of best')}[/]" if metric == "ic" and cell["share_of_reachable"] is not None else ""
    return Text.from_markup(f"[bold]{number(cell['value'], metric)}[/]\n{ends}\n[dim]{escape(naive)}[/]{reached}")


def absent_rungs(house: House, symbol: str) -> str | None:
    """One line about the rungs that the symbol's bars are too long for; None where there are none."""
    from quant_pipeline.bars.build import rungs_of

    intervals = house.store.intervals(symbol)
    given = rungs_of(intervals, house.experiment.rungs)
    absent = [rung for rung in house.experiment.rungs if rung not in given]
    if not absent:
        return None
    return f"{symbol} has bars of {intervals[0]}: rungs {', '.join(absent)} do not exist, and their features are left out"


def warnings(house: House, symbol: str) -> list[str]:
    """A line each on what speaks against the figures of `symbol`: columns that failed their audit, skill too good to be true."""
    return [line for tell in WARNINGS if (line := tell(house, symbol))]


def _unsound(house: House, symbol: str) -> str | None:
    from quant_pipeline.inference.faults import summary

    faults = _stored(house, "feature_audit", symbol)
    return None if faults is None else f"feature audit of {symbol} failed, nothing is trained on these: {summary(faults)}"


def _implausible(house: House, symbol: str) -> str | None:
    alarms = _stored(house, "skill_alarm", symbol)
    return None if alarms is None else f"implausible skill of {symbol}, look for a leak: {_alarmed(alarms)}"


WARNINGS = (_unsound, _implausible)


def _stored(house: House, asset: str, symbol: str) -> pl.DataFrame | None:
    """A stored table that has rows."""
    path = house.workplace.lake / asset / f"{symbol}.parquet"
    table = read_parquet(path, remake(dg.AssetKey(asset), symbol)) if stands(path) else None
    return table if table is not None and table.height else None


def _alarmed(alarms: pl.DataFrame) -> str:
    told = [
        f"{row['what']} {row['name']} has rank IC {row['ic']:+.2f}" for row in alarms.head(ALARMS_SHOWN).iter_rows(named=True)
    ]
    more = f" and {alarms.height - ALARMS_SHOWN} more" if alarms.height > ALARMS_SHOWN else ""
    return f"{', '.join(told)}{more}; the ceiling of what is plausible is {alarms['ceiling'][0]:.2f}"


ACTIONS = {1: "BUY", 0: "HOLD", -1: "SELL"}


def signal_rows(signal: Signal) -> list[dict[str, Any]]:
    """A signal as field and value, with units."""
    chosen = {
        "symbol": f"{signal.symbol}{' (SIMULATED)' if signal.simulated else ''}",
        "decided": f"{signal.as_of:%Y-%m-%d %H:%M} UTC",
        "status": signal.status,
        "action": ACTIONS[signal.action],
        "entry": f"the open of {signal.entry_from:%Y-%m-%d %H:%M} UTC" if signal.action and signal.entry_from else "none",
        "position size": f"{signal.position_size:.2f} of the base position, {signal.equity_share:.1%} of equity",
        "probabilities": odds(signal),
        "reason": signal.reason,
        "bundle": signal.bundle_id or "none",
    }
    return [{"field": name, "value": value} for name, value in chosen.items()]


def odds(signal: Signal) -> str:
    """What may happen first, with its probability; the confidence is that of the better side, however likely nothing is."""
    parts = (("long", signal.p_long), ("neither", signal.p_neutral), ("short", signal.p_short))
    told = [f"{name} {value:.1%}" for name, value in parts if value is not None]
    better = "" if signal.confidence is None else f" (confidence {signal.confidence:.1%}, that of the better side)"
    return ", ".join(told) + better or "none were made"


def require_live(house: House, symbol: str) -> None:
    """Raises `MissingUpstreamError` where no bundle answers for `symbol`: what a signal reads is then not worth fetching."""
    house.symbol(symbol)
    if house.champions.live_at(symbol, house.workplace.now()) is None:
        chosen = (
            ""
            if house.experiment.champion.auto
            else f", then: {command(f'quant champions {symbol}')}, which tells how to promote"
        )
        mend = f"{retrain(symbol)}{chosen}"
        raise MissingUpstreamError(f"bundle of {symbol}", found="none live", wanted="a finished training", mend=mend)


def asked_signal(house: House, symbol: str) -> Signal:
    """The newest signal; with a pinned clock that of its decision, and none before it. Raises `MissingUpstreamError` for none."""
    place = house.workplace
    moment = decision_time(house.symbol(symbol).calendar, house.experiment.primary, place.now())
    signal = house.signals.latest(symbol, moment)
    if signal is None or (place.as_of and signal.as_of != moment):
        raise MissingUpstreamError(
            f"signal of {symbol} at {moment:%Y-%m-%d %H:%M} UTC", found=f"one of {signal.as_of}" if signal else "none",
            wanted="that of the asked moment", mend="run: " + command(f"quant predict '{symbol}' --as-of {moment.isoformat()}"),
        )  # fmt: skip
    return signal
