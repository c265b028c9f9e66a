"""Two experiments side by side: out-of-sample skill on the decisions that they share, and whether it differs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import polars as pl

from quant_pipeline.backtest.verdicts import between, look_up, number, tone
from quant_pipeline.config.experiment import HOLDOUT
from quant_pipeline.errors import ConfigError, MissingUpstreamError
from quant_pipeline.files import read_parquet
from quant_pipeline.orchestration.assets.deploy import test_log
from quant_pipeline.validation.baselines import NAIVE
from quant_pipeline.validation.family import widened
from quant_pipeline.validation.holdout_log import count_uses, read_test_uses
from quant_pipeline.validation.paired import DIFFERENCE, paired_table, shared
from quant_pipeline.validation.skill_table import POOLED, TableSettings, skill_table

if TYPE_CHECKING:
    from quant_pipeline.config.experiment import Experiment
    from quant_pipeline.orchestration.house import House

METRICS = {
    "ic": "rank IC",
    "auc_direction": "AUC, long/short",
    "direction_gain": "direction gain",
    "log_loss_gain": "log-loss gain",
}
SPANS = {POOLED: "out of fold", HOLDOUT: "final test"}
_OUTCOME = ("decision_at", "label", "label_end", "forward_return")


@dataclass(frozen=True, eq=False)
class _Side:
    """What one experiment said of a symbol out of sample, and what happened by its labels."""

    name: str
    told: pl.DataFrame
    labels: pl.DataFrame


def compare(house: House, first: Experiment, second: Experiment, symbol: str) -> tuple[str, list[dict[str, Any]], list[str]]:
    """Title, a row per span and metric, and what has to be known beside.

    Raises:
        ConfigError: one experiment twice, or two markets.
        MissingUpstreamError: an experiment that has not been trained.
        DataError: too few shared decisions.
    """
    house.symbol(symbol)
    houses = [replace(house, experiment=one, origin=None) for one in (first, second)]
    _demand_two(houses)
    one, other = (_side(each, symbol) for each in houses)
    told = shared(one.told, other.told)
    same = _outcomes(one, told[0]).equals(_outcomes(other, told[0]))
    settings = TableSettings(metrics=tuple(METRICS), seed=first.seed)
    around = not (first.splits.walk_forward and second.splits.walk_forward)
    if same:
        table = paired_table(*told, one.labels, settings, around=around)
    else:
        each = zip(told, (one, other), strict=True)
        table = pl.concat([skill_table(rows, side.labels, settings=settings, around=around) for rows, side in each])
    uses = _uses(house, symbol, told[0])
    table = widened(table, pl.when(pl.col("fold") == HOLDOUT).then(uses).otherwise("looks"), settings.level)
    rows = [row for fold in SPANS for metric in METRICS if (row := _row(table, one.name, other.name, fold, metric))]
    return (
        f"{symbol}: {one.name} and {other.name} on the decisions that both forecast, 95 % intervals",
        rows,
        _notes(uses, same=same),
    )


def _demand_two(houses: list[House]) -> None:
    one, other = (house.experiment.name for house in houses)
    if one == other:
        raise ConfigError("experiments", found=f"{one} twice", wanted="two", mend="give one of them another `name`")
    if houses[0].workplace.shared != houses[1].workplace.shared:
        raise ConfigError(
            f"experiments {one} and {other}", found="two simulated markets", wanted="one",
            mend="give both the same settings of `simulated`, then train again",
        )  # fmt: skip


def _side(house: House, symbol: str) -> _Side:
    from quant_pipeline.ensemble.meta import MetaFit
    from quant_pipeline.inference.evidence import Tested

    name, lake = house.experiment.name, house.workplace.lake
    mend = f"run: quant train {symbol} --experiment {name}"
    meta, bundle, labels = lake / "meta_learner" / symbol, *(lake / table / f"{symbol}.parquet" for table in ("bundle", "labels"))
    if not (meta.is_dir() and bundle.is_file() and labels.is_file()):
        raise MissingUpstreamError(f"forecasts of {symbol} in {name}", found="none", wanted="a finished training", mend=mend)
    tested = Tested([], MetaFit.load(meta), read_parquet(bundle, mend), house.experiment.splits)
    return _Side(name, tested.ensemble().with_columns(model=pl.lit(name)), read_parquet(labels, mend))


def _outcomes(side: _Side, decisions: pl.DataFrame) -> pl.DataFrame:
    """What happened after shared decisions, as the labels of one experiment have it."""
    return side.labels.select(_OUTCOME).join(decisions, on="decision_at", how="semi").sort("decision_at")


def _uses(house: House, symbol: str, told: pl.DataFrame) -> int:
    """How many bundles have been scored on the shared part of the final test span."""
    at = told.filter(pl.col("fold") == HOLDOUT)["decision_at"]
    log = read_test_uses(test_log(house, symbol))
    return max(1, count_uses(log, (at.min(), at.max()))) if len(at) else 1  # type: ignore[arg-type]


def _row(table: pl.DataFrame, one: str, other: str, fold: str, metric: str) -> dict[str, Any] | None:
    left, right, less = (look_up(table, model, fold, metric) for model in (one, other, DIFFERENCE))
    if left is None or right is None:
        return None
    naive = table.filter(pl.col("model").is_in(NAIVE), pl.col("fold") == fold, pl.col("metric") == metric)["value"].max()
    return {
        "span": f"{SPANS[fold]}\n{left['rows']:,} decisions",
        "metric": METRICS[metric],
        one: _cell(left),
        other: _cell(right),
        f"{one} less {other}": _cell(less) if less else "\N{EN DASH}",
        "better": _better(less, one, other),
        "chance": number(left["chance"], metric),
        "naive": number(naive, metric),  # type: ignore[arg-type]
    }


def _cell(row: dict[str, Any]) -> str:
    return f"{number(row['value'], row['metric'])}\n{between(row) if row['low'] is not None else 'no interval'}"


def _better(less: dict[str, Any] | None, one: str, other: str) -> str:
    """Which is better where the whole interval of the difference says so."""
    if less is None:
        return "not compared"
    return {"above": one, "below": other, "chance": "no telling"}[tone(less)]


def _notes(uses: int, *, same: bool) -> list[str]:
    notes = ["The interval of the difference is on the same resamples for both. Choosing the better of many flatters the winner."]
    if uses > 1:
        notes.append(f"The final test was used {uses} times; its intervals are widened for that.")
    if not same:
        notes.append("Their labels differ: each is graded on its own outcomes, and a difference would mean nothing.")
    return notes
