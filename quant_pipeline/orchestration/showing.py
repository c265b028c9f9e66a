"""The few rows that the shell prints at the end of a run: skill and signal, and before them what speaks against them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from quant_pipeline.backtest.verdicts import between, look_up, number
from quant_pipeline.config.experiment import HOLDOUT
from quant_pipeline.errors import MissingUpstreamError
from quant_pipeline.orchestration.house import House
from quant_pipeline.validation.skill_table import POOLED

SHOWN = {"log_loss_gain": "log-loss gain", "auc_direction": "AUC long/short", "ic": "rank IC"}
SPANS = {POOLED: "out-of-fold", HOLDOUT: "final test"}
ALARMS_SHOWN = 5


def skill_rows(house: House, symbol: str) -> tuple[str, list[dict[str, Any]], Path]:
    """Title, one row per model and span, and the place of the report page; raises `MissingUpstreamError` without a report."""
    path = house.workplace.lake / "skill_report" / f"{symbol}.parquet"
    page = house.workplace.reports / symbol / "skill_report.html"
    if not path.exists():
        raise MissingUpstreamError(
            f"skill report of {symbol}", found="none", wanted="a finished training", mend=f"run: quant train {symbol}"
        )
    table = pl.read_parquet(path)
    names = table.filter(pl.col("kind") == "model")["model"].unique(maintain_order=True).to_list()
    rows = [
        row for span in SPANS for name in sorted(names, key=lambda one: one != "ensemble") if (row := _row(table, name, span))
    ]
    label = "SIMULATED market" if house.source.simulated else house.source.name
    return f"{symbol}: out-of-sample skill, 95 % intervals ({label})", rows, page.absolute()


def _row(table: pl.DataFrame, model: str, span: str) -> dict[str, Any] | None:
    found = {metric: look_up(table, model, span, metric) for metric in SHOWN}
    first = found["ic"]
    if first is None:
        return None
    row: dict[str, Any] = {"model": model, "out of sample": f"{SPANS[span]}\n{first['rows']:,} rows"}
    row |= {f"{SHOWN[metric]}\n(chance {_chance(metric)})": _cell(cell, metric) for metric, cell in found.items() if cell}
    share = first["share_of_reachable"]
    return row if share is None else {**row, "of best\nreachable IC": f"{share:.0%}"}


def _chance(metric: str) -> str:
    return "0.5" if metric.startswith("auc") else "0"


def _cell(cell: dict[str, Any], metric: str) -> str:
    value, naive = number(cell["value"], metric), number(cell["naive"], metric)
    return f"[bold]{value}[/]\n{between(cell)}\n[dim]best naive {naive}[/]"


def warnings(house: House, symbol: str) -> list[str]:
    """A line each on what speaks against the figures of `symbol`: columns that failed their audit, skill too good to be true."""
    from quant_pipeline.inference.gate import summary

    faults, alarms = (_stored(house, asset, symbol) for asset in ("feature_audit", "skill_alarm"))
    lines = [] if faults is None else [f"feature audit of {symbol} failed, nothing is trained on these: {summary(faults)}"]
    return lines if alarms is None else [*lines, f"implausible skill of {symbol}, look for a leak: {_alarmed(alarms)}"]


def _stored(house: House, asset: str, symbol: str) -> pl.DataFrame | None:
    """A stored table that has rows."""
    path = house.workplace.lake / asset / f"{symbol}.parquet"
    table = pl.read_parquet(path) if path.exists() else None
    return table if table is not None and table.height else None


def _alarmed(alarms: pl.DataFrame) -> str:
    told = [
        f"{row['what']} {row['name']} has rank IC {row['ic']:+.2f}" for row in alarms.head(ALARMS_SHOWN).iter_rows(named=True)
    ]
    more = f" and {alarms.height - ALARMS_SHOWN} more" if alarms.height > ALARMS_SHOWN else ""
    return f"{', '.join(told)}{more}; the ceiling of what is plausible is {alarms['ceiling'][0]:.2f}"


def signal_rows(house: House, symbol: str) -> list[dict[str, Any]]:
    """The newest signal as field and value."""
    signal = house.signals.latest(symbol)
    if signal is None:
        return [{"field": "signal", "value": f"none yet; run: quant predict {symbol}"}]
    words = {1: "BUY", 0: "HOLD", -1: "SELL"}
    chosen = {
        "symbol": f"{signal.symbol}{' (SIMULATED)' if signal.simulated else ''}",
        "decided": f"{signal.as_of:%Y-%m-%d %H:%M} UTC",
        "status": signal.status,
        "action": words[signal.action],
        "position size": signal.position_size,
        "confidence": _percent(signal.confidence),
        "short / neutral / long": " / ".join(_percent(p) for p in (signal.p_short, signal.p_neutral, signal.p_long)),
        "reason": signal.reason,
        "bundle": signal.bundle_id,
    }
    return [{"field": name, "value": value} for name, value in chosen.items()]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
