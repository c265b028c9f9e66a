"""The feature dictionary: every column of a FEATURES table in words, figures and pictures, on one self-contained page."""

from __future__ import annotations

import html
from itertools import groupby
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from quant_pipeline.backtest import pages, skill_report
from quant_pipeline.backtest.sparklines import course, histogram
from quant_pipeline.backtest.verdicts import MINUS
from quant_pipeline.errors import DataError
from quant_pipeline.monitoring.drift import KEYS, clock_features, drift_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from quant_pipeline.config.experiment import DriftSettings
    from quant_pipeline.features.glossary import Entry
    from quant_pipeline.features.kernels import FloatArray

TEMPLATE = Path(__file__).with_name("dictionary.html")
QUANTILES = {"least": 0.0, "q01": 0.01, "median": 0.5, "q99": 0.99, "most": 1.0}
FIGURES = ("mean", "sd", *QUANTILES)
HEADS = ("mean", "sd", "least", "1&nbsp;%", "median", "99&nbsp;%", "most")
UNKNOWN = "\N{EN DASH}"
TITLES = {"ta_vector": "TA vector"}
"""Headings that are not the words of the family."""
GAPS = 0.01
"""Columns that lack more of the rows after their first value than this are marked; a warm-up before it is as it should be."""
WORST = 12
LEAST_PLAIN = 1e-3
"""Smaller figures are written with an exponent: their zeros would not fit the column."""
SCHEMA = {
    "column": pl.String, "feature": pl.String, "family": pl.String, "place": pl.String, "lookback": pl.Int64, "known": pl.String,
    "coverage": pl.Float64, "gaps": pl.Float64, **dict.fromkeys(FIGURES, pl.Float64),
    "psi": pl.Float64, "drifted": pl.Boolean, "why": pl.String,
}  # fmt: skip


class Dictionary(NamedTuple):
    """The page, and its figures: one row a column, as `SCHEMA` says."""

    html: str
    table: pl.DataFrame


def render_dictionary(
    features: pl.DataFrame,
    entries: Sequence[Entry],
    drift: DriftSettings,
    *,
    symbol: str,
    simulated: bool,
    facts: Mapping[str, str] | None = None,
) -> Dictionary:
    """Describe every column of `features`.

    Args:
        features: FEATURES, sorted by `decision_at`.
        entries: the words of each of its columns, in the order of the page.
        drift: alarm levels; the newest `recent_bars` rows (at most half of all) are compared with the earlier ones.
        symbol: whose features they are; `simulated` whether its prices were invented.
        simulated: see `symbol`.
        facts: provenance shown at the foot of the page.

    Returns:
        The page, equal bytes for equal inputs, and its figures: coverage is the share of rows with a value, gaps the share
        without one after the first; psi is null where drift was not measured (`monitoring.drift`).

    Raises:
        DataError: no row, or a column without an entry.
    """
    names = [name for name in features.columns if name not in KEYS]
    missing = sorted(set(names) ^ {entry.column for entry in entries})
    if missing or not features.height:
        raise DataError(
            "feature dictionary", found=f"{features.height} rows; without values or words: {', '.join(missing) or 'none'}",
            wanted="rows, and one entry for each column", mend="make the entries of the table's own columns",
        )  # fmt: skip
    recent = min(drift.recent_bars, max(features.height // 2, 1))
    table = _measured(features, entries, recent, drift)
    told = {row["column"]: row for row in table.iter_rows(named=True)}
    sections = "".join(
        _section(family, list(each), told, features, recent) for family, each in groupby(entries, key=lambda entry: entry.family)
    )
    words = _words(features, table, recent, symbol, simulated=simulated)
    page = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        words, style=_style(), links=_links(entries), worst=_worst(table), sections=sections, facts=pages.facts(facts or {})
    )
    return Dictionary(page, table)


def _style() -> str:
    """The look of the skill report, so that all pages are of one house."""
    page = skill_report.TEMPLATE.read_text(encoding="utf-8")
    return page[page.index("<style>") : page.index("</style>") + len("</style>")]


def _measured(features: pl.DataFrame, entries: Sequence[Entry], recent: int, drift: DriftSettings) -> pl.DataFrame:
    drifted = drift_table(features.head(-recent), features.tail(recent), drift, exclude=clock_features())
    moved = {row["feature"]: row for row in drifted.iter_rows(named=True)}
    rows = []
    for entry in entries:
        column, change = features[entry.column], moved.get(entry.column, {})
        words = (entry.column, entry.feature, entry.family, entry.place, entry.lookback, entry.known)
        drifting = (change.get("psi"), bool(change.get("drifted")), change.get("why", "it says the time"))
        rows.append((*words, *_present(column), *_figures(_known(column)), *drifting))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def _present(column: pl.Series) -> tuple[float, float]:
    """Share of rows with a value, and share of the rows without one after the first."""
    there = column.is_not_null().to_numpy()
    since = there[int(there.argmax()) :]
    return float(there.mean()), 1.0 - float(since.mean())


def _known(column: pl.Series) -> FloatArray:
    values = column.cast(pl.Float64).drop_nulls().to_numpy()
    finite: FloatArray = values[np.isfinite(values)]
    return finite


def _figures(values: FloatArray) -> list[float | None]:
    """`FIGURES` of the values; the spread of equal ones is 0, which a rounded mean would hide."""
    if not values.size:
        return [None] * len(FIGURES)
    at = np.quantile(values, list(QUANTILES.values())).tolist()
    return [float(values.mean()), 0.0 if at[0] == at[-1] else float(values.std()), *at]


def _words(features: pl.DataFrame, table: pl.DataFrame, recent: int, symbol: str, *, simulated: bool) -> dict[str, str]:
    first, last = features["decision_at"][0], features["decision_at"][-1]
    span = f"{features.height:,} decisions, {first:%d %b %Y} to {last:%d %b %Y} UTC"
    counted = f"{table.height} columns of {table['feature'].n_unique()} features in {table['family'].n_unique()} families"
    numbers = {name: int(table.select(_flag(name).sum()).item()) for name in ("drifted", "gaps", "constant")}
    return {
        "title": html.escape(f"Feature dictionary: {symbol}"),
        "subtitle": f"{counted}; {span}",
        "banner": pages.BANNER if simulated else "",
        "recent": f"{recent:,}",
        "since": f"{features['decision_at'][-recent]:%d %b %Y}",
        "gap": f"{GAPS:.0%}",
        **{name: str(number) for name, number in numbers.items()},
    }


def _flag(name: str) -> pl.Expr:
    flags = {"drifted": pl.col("drifted"), "gaps": pl.col("gaps") > GAPS, "constant": pl.col("sd").fill_null(0.0) == 0.0}
    return flags[name]


def _links(entries: Sequence[Entry]) -> str:
    counts: dict[str, int] = {}
    for entry in entries:
        counts[entry.family] = counts.get(entry.family, 0) + 1
    return " ".join(f'<a href="#{family}">{_title(family)}&nbsp;<span>{count}</span></a>' for family, count in counts.items())


def _worst(table: pl.DataFrame) -> str:
    rows = table.filter(pl.col("drifted")).sort("psi", "column", descending=[True, False], nulls_last=True).head(WORST)
    named = [(html.escape(name), _psi(psi)) for name, psi in rows.select("column", "psi").iter_rows()]
    return ", ".join(f'<a href="#{name}">{name}</a> {psi}' for name, psi in named) or "none"


def _section(
    family: str, entries: Sequence[Entry], told: Mapping[str, Mapping[str, Any]], features: pl.DataFrame, recent: int
) -> str:
    groups = [list(each) for _, each in groupby(entries, key=lambda entry: entry.feature)]
    bodies = "".join(_feature(each, told, features, recent) for each in groups)
    names = ("column", "bars", "coverage", *HEADS, "distribution", f"newest {recent:,}", "PSI")
    head = f"<tr>{''.join(f'<th>{name}</th>' for name in names)}</tr>"
    count = f"{len(entries)} columns of {len(groups)} features"
    return (
        f'<section id="{family}"><h2>{_title(family)} <span>{count}</span></h2>'
        f'<div class="scroll"><table><thead>{head}</thead>{bodies}</table></div></section>'
    )


def _title(family: str) -> str:
    return html.escape(TITLES.get(family, family.replace("_", " ").capitalize()))


def _feature(entries: Sequence[Entry], told: Mapping[str, Mapping[str, Any]], features: pl.DataFrame, recent: int) -> str:
    first = entries[0]
    inputs = html.escape(", ".join(first.inputs)) or UNKNOWN
    about = f"<small>from {inputs} \N{MIDDLE DOT} known: {html.escape(first.known)}</small>"
    if first.detail:
        about = f"<details><summary>{about}</summary><p>{html.escape(first.detail)}</p></details>"
    head = f"<b>{html.escape(first.feature)}</b> {html.escape(first.meaning)}{about}"
    rows = "".join(_row(entry, told[entry.column], features[entry.column], recent) for entry in entries)
    return f'<tbody><tr class="feature"><td colspan="13">{head}</td></tr>{rows}</tbody>'


def _row(entry: Entry, row: Mapping[str, Any], values: pl.Series, recent: int) -> str:
    newest = values.tail(recent).cast(pl.Float64)
    marks = {"drifted": row["drifted"], "gaps": row["gaps"] > GAPS, "constant": not row["sd"]}
    name = html.escape(entry.column)
    cells = (
        UNKNOWN if entry.lookback is None else f"{entry.lookback:,}",
        f'<b{_red(marks["gaps"])} title="{row["gaps"]:.1%} missing after the first value">{row["coverage"]:.1%}</b>',
        *(_number(row[figure]) for figure in FIGURES),
        histogram(_known(values.head(-recent)), _known(newest)),
        course(newest.to_numpy()),
        f'<b{_red(row["drifted"])} title="{html.escape(row["why"])}">{_psi(row["psi"])}</b>',
    )
    flags = " ".join(mark for mark, on in marks.items() if on)
    return f'<tr id="{name}" data-flags="{flags}"><th>{name}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'


def _red(marked: object) -> str:
    return ' class="below"' if marked else ""


def _number(value: float | None) -> str:
    if value is None:
        return UNKNOWN
    small = 0.0 < abs(value) < LEAST_PLAIN
    return (f"{value:.1e}" if small else f"{value:.3g}").replace("-", MINUS)


def _psi(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.2f}"
