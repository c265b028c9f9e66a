"""Two forecasters on the decisions that both were asked about: the skill of each, and their difference on the same resamples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial

import polars as pl

from quant_pipeline.config.experiment import HOLDOUT
from quant_pipeline.errors import DataError
from quant_pipeline.validation.bootstrap import intervals
from quant_pipeline.validation.skill import METRICS
from quant_pipeline.validation.skill_kernels import Floats
from quant_pipeline.validation.skill_table import (
    POOLED,
    SCHEMA,
    SPANS,
    TableSettings,
    as_forecasts,
    block_of,
    skill_table,
    with_labels,
)  # fmt: skip

DIFFERENCE = "difference"
FEWEST_SHARED = 50  # decisions: over fewer, neither interval says anything
_IS_TEST = pl.col("fold") == HOLDOUT


def shared(first: pl.DataFrame, second: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Those rows of two PREDICTIONS whose decision is out of fold in both, or of the final test span in both.

    Folds are called as `first` calls them, so that naive models learn from the same past.
    """
    kept = []
    for test in (_IS_TEST, ~_IS_TEST):
        one, other = first.filter(test), second.filter(test)
        common = one.select("decision_at", "fold").join(
            other.select("decision_at"), on="decision_at", how="inner", validate="1:1"
        )
        if common.height >= FEWEST_SHARED:
            kept.append(common)
    if not kept:
        raise DataError(
            "shared decisions", found=f"fewer than {FEWEST_SHARED} in either span", wanted=f"{FEWEST_SHARED} or more",
            mend="train both experiments on the same symbol, for the same time",
        )  # fmt: skip
    decisions = pl.concat(kept)
    return (
        first.join(decisions, on=["decision_at", "fold"], how="semi"),
        second.drop("fold").join(decisions, on="decision_at", how="inner").select(first.columns),
    )


def paired_table(
    first: pl.DataFrame, second: pl.DataFrame, labels: pl.DataFrame, settings: TableSettings, *, around: bool = False
) -> pl.DataFrame:
    """The skill table of two models on shared decisions, and rows of kind and model "difference": first less second.

    Args:
        first: PREDICTIONS of one model, as `shared` returns them.
        second: of another model, on the same decisions and folds.
        labels: LABELS of all decisions.
        settings: of the bootstrap; both models, and so their difference, are on one and the same set of resamples.
        around: see `skill_table`.

    Returns:
        Rows of the pool and of the final test span, as `skill_table` returns them.
    """
    table = skill_table(pl.concat([first, second]), labels, settings=settings, around=around)
    pairs = {POOLED: ~_IS_TEST, HOLDOUT: _IS_TEST}
    rows = [
        row
        for fold, inside in pairs.items()
        if (one := first.filter(inside)).height
        for row in _differences(with_labels(one, labels), with_labels(second.filter(inside), labels), fold, settings)
    ]
    return pl.concat([table.filter(pl.col("fold").is_in(SPANS)), pl.DataFrame(rows, schema=SCHEMA)])


def _differences(first: pl.DataFrame, second: pl.DataFrame, fold: str, settings: TableSettings) -> list[dict[str, object]]:
    pair = [as_forecasts(frame) for frame in (first, second)]
    found = intervals(
        {f"{name} {k}": partial(METRICS[name].evaluate, one) for name in settings.metrics for k, one in enumerate(pair)},
        first.height,
        block=max(block_of(frame, one) for frame, one in zip((first, second), pair, strict=True)),
        resamples=settings.resamples, level=settings.level, seed=settings.seed,
        derived={name: partial(_less, name) for name in settings.metrics},
    )  # fmt: skip
    common = {"model": DIFFERENCE, "kind": DIFFERENCE, "fold": fold, "rows": first.height, "chance": 0.0, "looks": 1}
    return [{**dict.fromkeys(SCHEMA), **common, "metric": name, **asdict(found[name])} for name in settings.metrics]


def _less(name: str, values: Mapping[str, Floats]) -> Floats:
    return values[f"{name} 0"] - values[f"{name} 1"]
