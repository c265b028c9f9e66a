"""The skill report: one self-contained HTML page and one summary picture, equal bytes for equal inputs."""

from __future__ import annotations

import base64
import html
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from quant_pipeline.backtest import figures, pages
from quant_pipeline.backtest.engine import Backtest, Exits, buy_and_hold, most_probable, run_backtest
from quant_pipeline.backtest.money import HOLD, money_rows
from quant_pipeline.backtest.statistics import Statistics, statistics
from quant_pipeline.backtest.verdicts import ENSEMBLE, models, verdicts
from quant_pipeline.config.experiment import HOLDOUT
from quant_pipeline.validation.family import widened
from quant_pipeline.validation.paths import PATH
from quant_pipeline.validation.skill_table import POOLED, SPANS, TableSettings, skill_table, with_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from quant_pipeline.config.universe import Costs

TEMPLATE = Path(__file__).with_name("skill_report.html")
_TITLE_WIDTH = 105
"""Characters of the summary's title that fit its width."""
PLAINEST = "Long or short all capital where that class is the most probable, else flat"


@dataclass(frozen=True)
class ReportInputs:
    """Everything that the page shows; `prepare` makes it from the pipeline's tables.

    Attributes:
        symbol: what was traded; `simulated` whether its prices were invented.
        table: of `skill_table` and `money_rows`, the holdout widened for its uses; `settings` those it was made with.
        rows: PREDICTIONS with label and forward_return, of every model.
        splits: SPLITS.
        backtests: by model or strategy; `hold` the baseline over the same bars; `policy` the rule they traded by, in words.
        facts: provenance, shown as given (experiment, primary timeframe, data fingerprint, seed ...).
    """

    symbol: str
    simulated: bool
    table: pl.DataFrame
    settings: TableSettings
    rows: pl.DataFrame
    splits: pl.DataFrame
    backtests: Mapping[str, Backtest]
    hold: Backtest
    policy: str
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def pooled(self) -> pl.DataFrame:
        """`rows` of every fold but the holdout; the holdout's when there are no others."""
        rows = self.rows.filter(pl.col("fold") != HOLDOUT)
        return rows if rows.height else self.rows

    @property
    def statistics(self) -> dict[str, Statistics]:
        """By model, the baseline last."""
        level, resamples, seed = self.settings.level, self.settings.resamples, self.settings.seed
        everyone = {**self.backtests, HOLD: self.hold}
        return {name: statistics(each, resamples=resamples, level=level, seed=seed) for name, each in everyone.items()}


class SkillReport(NamedTuple):
    """The page, the summary picture, and the figures that they show."""

    html: str
    png: bytes
    table: pl.DataFrame
    statistics: dict[str, Statistics]


def prepare(
    predictions: pl.DataFrame,
    labels: pl.DataFrame,
    splits: pl.DataFrame,
    bars: pl.DataFrame,
    costs: Costs,
    *,
    symbol: str,
    simulated: bool,
    oracle: pl.DataFrame | None = None,
    decide: Callable[[pl.DataFrame], pl.DataFrame] = most_probable,
    strategies: Mapping[str, pl.DataFrame] | None = None,
    policy: str = PLAINEST,
    path: pl.DataFrame | None = None,
    exits: Exits = "next_decision",
    facts: Mapping[str, str] | None = None,
    settings: TableSettings | None = None,
    walk_forward: bool = True,
    test_uses: int = 1,
) -> ReportInputs:
    """Score and backtest every model, over one common span so that the curves compare.

    Args:
        predictions: PREDICTIONS (out-of-fold) of every model, the stack's as model "ensemble".
        labels: LABELS, all rows.
        splits: SPLITS.
        bars: primary RUNG BARS of the whole history; cut here to the span in which every model decides.
        costs: of the symbol.
        symbol: its name, for the title.
        simulated: whether the market was simulated; the page then says so loudly.
        oracle: see `skill_table`.
        decide: PREDICTIONS of one model (with its labels, which it must not read) to decisions for `run_backtest`.
        strategies: decisions that were made elsewhere, such as the emitted signals, by the name of their line.
        policy: in words, what `decide` and the strategies do.
        path: finer bars for fills and barriers; see `run_backtest`.
        exits: see `run_backtest`.
        facts: provenance shown at the foot of the page.
        settings: of intervals.
        walk_forward: whether each fold's models saw only its past. If not, nobody could have traded their forecasts:
            money is shown for the holdout alone, whose models always saw its past only.
        test_uses: how many bundles have been scored on the final test span, this one included; see `count_uses`.

    Raises:
        DataError: a table lacks a column, or no prediction has a label.
    """
    settings = settings or TableSettings()
    table = skill_table(predictions, labels, oracle=oracle, settings=settings, around=not walk_forward)
    rows = with_labels(predictions, labels)
    traded = rows if walk_forward else rows.filter(pl.col("fold") == HOLDOUT)
    start = traded.group_by("model").agg(pl.col("decision_at").min())["decision_at"].max()
    bars = bars.filter(pl.col("timestamp") >= start, pl.col("known_at") <= rows["label_end"].max())
    made = {model: decide(traded.filter(pl.col("model") == model)) for model in models(table)} | dict(strategies or {})
    backtests = {
        name: run_backtest(decisions.filter(pl.col("decision_at") >= start), bars, costs, path=path, exits=exits)
        for name, decisions in made.items()
    }
    hold = buy_and_hold(bars, costs, path=path)
    held = pl.col("fold") == HOLDOUT
    money = money_rows(backtests, hold, models(table), rows.filter(held)["decision_at"].min(), settings)  # type: ignore[arg-type]
    table = widened(pl.concat([table, money]), pl.when(held).then(test_uses).otherwise("looks"), settings.level)
    paid = f"{policy}. Filled at the next open, a round trip costs {costs.round_trip:.2%}. Shaded: the holdout."
    return ReportInputs(symbol, simulated, table, settings, rows, splits, backtests, hold, paid, facts or {})


def render(inputs: ReportInputs) -> SkillReport:
    """The report of `inputs`. Pure: reads the template, writes nothing; matplotlib is imported here."""
    import matplotlib as mpl

    found = inputs.statistics
    with mpl.rc_context(figures.STYLE):
        page = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
            _words(inputs), **_tables(inputs, found), **_pictures(inputs)
        )
        summary = figures.png(_summary(inputs), dpi=110)
    return SkillReport(page, summary, inputs.table, found)


def _words(inputs: ReportInputs) -> dict[str, str]:
    settings, table = inputs.settings, inputs.table
    tests = table.filter(pl.col("kind") == "model", pl.col("metric").is_in(pages.JUDGED), pl.col("fold").is_in(SPANS))
    count = tests.drop_nulls("low").height
    at = inputs.rows["decision_at"].unique().sort()
    span = f"{at[0]:%d %b %Y} to {at[-1]:%d %b %Y}"
    subtitle = f"{len(at):,} out-of-fold decisions, {span} UTC, {len(models(table))} models"
    luck = (
        f"The pool and the holdout have {count} intervals of direction and money. Each misses chance by luck in about "
        f"{1 - settings.level:.0%} of cases, so some {max(1, round(count * (1 - settings.level)))} would be coloured even if "
        f"nothing here had skill. The single folds of a model are wider: all of them together hold {settings.level:.0%}."
    )
    oracle = (
        "<dt>Reachable</dt><dd>What a forecaster scores who knows the planted signal, on the same rows. The share of it has the "
        "interval of the ratio on resamples that both share; none where the reachable itself may be chance (Fieller 1954).</dd>"
    )
    return {
        "title": html.escape(f"Skill report: {inputs.symbol}"),
        "subtitle": html.escape(subtitle),
        "banner": pages.BANNER if inputs.simulated else "",
        "luck": f"{luck} {_uses(inputs)}",
        "level": f"{settings.level:.0%}",
        "resamples": f"{settings.resamples:,}",
        "policy": html.escape(inputs.policy),
        "pool": "The pool is every fold but the holdout." if POOLED in table["fold"] else "",
        "oracle_note": oracle if table["reachable"].is_not_null().any() else "",
        "facts": pages.facts(inputs.facts),
    }


def _uses(inputs: ReportInputs) -> str:
    looks = inputs.table.filter(pl.col("fold") == HOLDOUT)["looks"]
    if looks.is_empty():
        return ""
    uses = max(looks)
    told = "for the first time" if uses == 1 else f"{uses} times, each by another bundle"
    wider = "" if uses == 1 else " Its intervals are widened so that all uses together hold the level."
    return f"<b>The final test span has been used {told}.</b>{wider}"


def _tables(inputs: ReportInputs, found: Mapping[str, Statistics]) -> dict[str, str]:
    table = inputs.table
    folds = [fold for fold in table["fold"].unique().sort() if fold != POOLED and not fold.startswith(PATH)]
    return {
        "verdicts": pages.verdict_cards(verdicts(table, inputs.settings.level)),
        "paths": pages.path_spread(table),
        "pooled": pages.skill_rows(table, POOLED if POOLED in table["fold"] else HOLDOUT),
        "folds": "\n".join(pages.fold_details(table, fold) for fold in folds),
        "statistics": pages.statistics_rows(found),
    }


def _pictures(inputs: ReportInputs) -> dict[str, str]:
    names, rows = models(inputs.table), inputs.pooled
    columns = min(len(names), 4)
    lines = -(-len(names) // columns)
    drawn: dict[str, Any] = {}
    drawn["ic"], axes = figures.canvas(10.5, 3.8)
    figures.ic_by_fold(axes[0, 0], inputs.table)
    drawn["equity"], axes = figures.canvas(10.5, 6.6, 3, 1, sharex=True, height_ratios=[3, 1.1, 1.1])
    figures.equity(axes[:, 0], inputs.backtests, inputs.hold, _holdout(inputs))
    for key, draw, height in (("calibration", figures.calibration, 3.1), ("confusion", figures.confusion, 2.9)):
        drawn[key], axes = figures.canvas(2.65 * columns, height * lines, lines, columns)
        for axis in axes.flat[len(names) :]:
            axis.set_visible(False)
        for axis, name in zip(axes.flat, names, strict=False):
            draw(axis, rows.filter(pl.col("model") == name), name)
        axes[0, 0].set_ylabel("observed" if key == "calibration" else "happened")
        if key == "calibration":
            axes[0, 0].legend(loc="upper left")
    drawn["classes"], axes = figures.canvas(5.4, 3.2)
    figures.class_balance(axes[0, 0], inputs.rows)
    drawn["timeline"], axes = figures.canvas(5.4, 3.2)
    figures.fold_timeline(axes[0, 0], inputs.splits)
    return {f"figure_{key}": _embedded(figures.png(figure), key) for key, figure in drawn.items()}


def _holdout(inputs: ReportInputs) -> Any:
    return inputs.rows.filter(pl.col("fold") == HOLDOUT)["decision_at"].min()


def _embedded(picture: bytes, name: str) -> str:
    return f'<img alt="{name}" src="data:image/png;base64,{base64.b64encode(picture).decode()}">'


def _summary(inputs: ReportInputs) -> Any:
    """One picture for a card of the UI: verdict, rank IC by fold, calibration and equity of the best-known model."""
    names = models(inputs.table)
    figure, axes = figures.canvas(13, 7.2, 2, 2, width_ratios=[2.2, 1], height_ratios=[1, 1.15])
    figure.set_facecolor("#ffffff")
    figures.ic_by_fold(axes[0, 0], inputs.table)
    main = ENSEMBLE if ENSEMBLE in names else names[0]
    figures.calibration(axes[0, 1], inputs.pooled.filter(pl.col("model") == main), f"Calibration: {main}")
    axes[0, 1].legend(loc="upper left")
    figures.equity(axes[1, :1], inputs.backtests, inputs.hold, _holdout(inputs))
    figures.confusion(axes[1, 1], inputs.pooled.filter(pl.col("model") == main), f"Confusion: {main}")
    said = next(each for each in verdicts(inputs.table, inputs.settings.level) if each.model == main)
    market = "SIMULATED MARKET   " if inputs.simulated else ""
    lines = (f"{market}{inputs.symbol}: {main}, {said.span}: {said.headline}", *said.sentences[:2])
    title = "\n".join(textwrap.fill(line, _TITLE_WIDTH) for line in lines)
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold", color="#b35900" if inputs.simulated else "#1d2329")
    return figure
