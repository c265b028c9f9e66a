"""HTML fragments of the skill report: cards, tables, lists. Every value stands with its interval, chance and naive."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from quant_pipeline.backtest.money import MONEY
from quant_pipeline.backtest.verdicts import LOSSES, MINUS, Tone, Verdict, between, models, number, share, tone
from quant_pipeline.config.experiment import HOLDOUT
from quant_pipeline.validation.paths import PATH
from quant_pipeline.validation.skill import METRICS
from quant_pipeline.validation.skill_table import SPANS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from quant_pipeline.backtest.statistics import Statistics
    from quant_pipeline.validation.bootstrap import Interval

SHOWN = (
    "ic", "auc_direction", "direction_gain", MONEY, "activity_gain", "log_loss_gain", "log_loss", "brier", "auc", "macro_f1",
    "ece", "ic_e_r",
)  # fmt: skip
TITLES = {MONEY: "Net return"} | {name: metric.title for name, metric in METRICS.items()}
JUDGED = frozenset((MONEY, *(name for name, metric in METRICS.items() if metric.directional)))  # all else is not skill
BANNER = (
    '<div class="banner"><b>SIMULATED MARKET</b>These prices come from a seeded generator, which plants a signal unless '
    "<code>simulated.no_signal</code> is set. Nothing on this page says anything about a real market.</div>"
)
STATISTICS = (
    "Strategy", "Total return", "A year", "Sharpe", "Sortino", "Worst drawdown", "Turnover a year", "Trades", "Won",
    "In market", "Costs paid",
)  # fmt: skip
UNDEFINED = "\N{EN DASH}"


def verdict_cards(said: Iterable[Verdict]) -> str:
    """One card per verdict, the first one wide: direction in its head, money and holdout below, each in its own colour."""
    return "\n".join(_card(each, " first" if k == 0 else "") for k, each in enumerate(said))


def _card(said: Verdict, place: str) -> str:
    head, *more = (_mark(*mark) for mark in said.marks)
    lines = "".join(f"<div>{mark}</div>" for mark in more)
    text = f"<h3>{html.escape(said.model)}: {head}</h3>{lines}<p>{html.escape(' '.join(said.sentences))}</p>"
    return f'<div class="verdict {said.tone}{place}">{text}</div>'


def _mark(found: Tone, words: str) -> str:
    return f'<span class="tone {found}">{words}</span>'


def skill_rows(table: pl.DataFrame, fold: str) -> str:
    """The tables of one fold, direction and money, then all else; each of models and strategies, naive models, the oracle.

    Coloured are direction and money on the pool and the holdout: of many single folds one always looks lucky.
    """
    rows = table.filter(pl.col("fold") == fold)
    shown = [metric for metric in SHOWN if rows.filter(pl.col("metric") == metric)["value"].is_not_null().any()]
    parts = ([name for name in shown if name in JUDGED], [name for name in shown if name not in JUDGED])
    return "\n".join(_skill_table(rows, part) for part in parts if part)


def _skill_table(rows: pl.DataFrame, shown: Sequence[str]) -> str:
    found = {(row["model"], row["metric"]): row for row in rows.iter_rows(named=True)}
    size = dict(rows.filter(pl.col("metric") != MONEY).group_by("model").agg(pl.col("rows").max()).iter_rows())
    heads = "".join(
        f"<th>{TITLES[name]}<small>{'lower' if name in LOSSES else 'higher'} is better</small></th>" for name in shown
    )
    body = "".join(
        f'<tr class="{kind}"><th>{html.escape(model)}{f"<small>{size[model]:,} rows</small>" if model in size else ""}</th>'
        + "".join(_cell(found.get((model, name))) for name in shown)
        + "</tr>"
        for kind in ("model", "strategy", "naive", "oracle")
        for model in models(rows, kind)
        if any((model, name) in found for name in shown)
    )
    return f'<div class="scroll"><table><thead><tr><th>Model</th>{heads}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None or row["value"] is None:
        return f"<td>{UNDEFINED}</td>"
    metric = row["metric"]
    found: Tone | str = tone(row) if metric in JUDGED and row["fold"] in SPANS else "unjudged"
    chance, naive = ("doing nothing", "holding") if metric == MONEY else ("chance", "naive")
    beside = [f"{chance} {number(row['chance'], metric)}"] if row["chance"] is not None else ["0 is perfect"]
    if row["kind"] in {"model", "strategy"} and row["naive"] is not None:
        beside.append(f"{naive} {number(row['naive'], metric)}")
    reached = ""
    if row["kind"] == "model" and row["share_low"] is not None:
        reached = f'<small class="long">reaches {share(row)}</small>'
    interval = between(row) if row["low"] is not None else "no interval"
    small = "".join(f"<small>{each}</small>" for each in beside) + reached
    return f'<td><b class="{found}">{number(row["value"], metric)}</b><small class="interval">{interval}</small>{small}</td>'


def fold_details(table: pl.DataFrame, fold: str) -> str:
    """One fold's table, folded away; the holdout is open."""
    rows: Any = table.filter(pl.col("fold") == fold)["rows"].max()
    is_open = " open" if fold == HOLDOUT else ""
    return (
        f"<details{is_open}><summary>{html.escape(fold)} <span>{rows:,} rows</span></summary>{skill_rows(table, fold)}</details>"
    )


def path_spread(table: pl.DataFrame) -> str:
    """Median, least and greatest value of each model over the paths of a combinatorial scheme; nothing without paths."""
    rows = table.filter(pl.col("fold").str.starts_with(PATH)).drop_nulls("value")
    if rows.is_empty():
        return ""
    metrics = [metric for metric in SHOWN if metric in rows["metric"]]
    heads = "".join(f"<th>{METRICS[name].title}<small>{METRICS[name].better}er is better</small></th>" for name in metrics)
    body = "".join(
        f"<tr><th>{html.escape(model)}</th>{''.join(_spread(rows, model, metric) for metric in metrics)}</tr>"
        for model in models(rows)
    )
    note = (
        f"The {rows['fold'].n_unique()} paths of combinatorial cross-validation (Lopez de Prado 2018, chapter 12): each holds "
        "every row once, predicted by other models. Median, then least to greatest. The paths share their labels, so the spread "
        "tells how much a score hangs on the training rows, and is no interval."
    )
    table_ = f'<div class="scroll"><table><thead><tr><th>Model</th>{heads}</tr></thead><tbody>{body}</tbody></table></div>'
    return f'<h2>Skill over paths</h2>\n<p class="note">{note}</p>\n{table_}'


def _spread(rows: pl.DataFrame, model: str, metric: str) -> str:
    values = rows.filter(pl.col("model") == model, pl.col("metric") == metric)["value"]
    if values.is_empty():
        return f"<td>{UNDEFINED}</td>"
    middle, low, high = (number(float(value), metric) for value in (values.median(), values.min(), values.max()))  # type: ignore[arg-type]
    return f'<td><b>{middle}</b><small class="interval">{low} to {high}</small></td>'


def statistics_rows(found: Mapping[str, Statistics]) -> str:
    """One row per strategy: returns net of costs and Sharpe with their intervals, drawdown, turnover, trades."""
    body = "".join(f"<tr><th>{html.escape(name)}</th>{_statistics_cells(each)}</tr>" for name, each in found.items())
    any_one = next(iter(found.values()))
    span = f"{any_one.years:.2f} years at {any_one.bars_per_year:,.0f} bars a year"
    note = f"{span} (less than one year is not annualised); costs in percent of the starting capital."
    head = "".join(f"<th>{each}</th>" for each in STATISTICS)
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div><p class="note">{note}</p>'
    )


def _statistics_cells(s: Statistics) -> str:
    cells = (
        _with_interval(s.total_return, _percent),
        _percent(s.cagr) if s.years >= 1 else UNDEFINED,
        _with_interval(s.sharpe, _decimal),
        _decimal(s.sortino),
        _percent(s.max_drawdown),
        f"{s.turnover_per_year:,.0f} times",
        f"{s.trades:,}",
        _percent(s.hit_rate, signed=False),
        _percent(s.exposure, signed=False),
        _percent(s.costs, signed=False),
    )
    return "".join(f"<td>{cell}</td>" for cell in cells)


def _with_interval(found: Interval, told: Callable[[float], str]) -> str:
    return f'<b>{told(found.value)}</b><small class="interval">{told(found.low)} to {told(found.high)}</small>'


def facts(known: Mapping[str, str]) -> str:
    """A definition list of provenance."""
    return "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(str(value))}</dd>" for name, value in known.items())


def _percent(value: float, *, signed: bool = True) -> str:
    return UNDEFINED if np.isnan(value) else f"{value:{'+' if signed else ''}.1%}".replace("-", MINUS)


def _decimal(value: float) -> str:
    return UNDEFINED if np.isnan(value) else f"{value:+.2f}".replace("-", MINUS)
