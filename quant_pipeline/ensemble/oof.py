"""Out-of-fold rows: PREDICTIONS of several models checked and stacked, and what happened to each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_pipeline.bars.moments import microseconds
from quant_pipeline.config.experiment import HOLDOUT
from quant_pipeline.errors import DataError, LeakageError, ModelError
from quant_pipeline.models.contract import PROBABILITIES, TOLERANCE, Floats, Prediction

SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "timestamp": pl.Datetime("us", "UTC"), "decision_at": pl.Datetime("us", "UTC"), "fold": pl.String, "model": pl.String,
    "p_short": pl.Float64, "p_neutral": pl.Float64, "p_long": pl.Float64, "p_up": pl.Float64, "e_r": pl.Float64,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class BasePredictions:
    """What every base model said of every out-of-fold row, in time order.

    Attributes:
        decision_at: (n,) ascending, each once.
        fold: (n,) name of the fold whose models answered; they never saw the row.
        models: M names, the order of the second axis below.
        p: (n, M, 3) probabilities of short, neutral, long.
        e_r: (n, M) expected returns.
    """

    decision_at: pl.Series
    fold: NDArray[np.str_]
    models: tuple[str, ...]
    p: Floats
    e_r: Floats

    def __len__(self) -> int:
        return len(self.fold)


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What happened to each row of `BasePredictions`; times in microseconds since 1970.

    Attributes:
        label: known only from `label_end` on.
        forward_return, long_return, short_return: all known only from `horizon_end` on, which is never before
            `label_end`: a trade may end at its barrier, but the forward return runs to the vertical one.
    """

    label: NDArray[np.int8]
    decision_at: NDArray[np.int64]
    label_end: NDArray[np.int64]
    horizon_end: NDArray[np.int64]
    forward_return: Floats
    long_return: Floats
    short_return: Floats


def oof_frame(prediction: Prediction, *, timestamp: pl.Series, fold: str, model: str) -> pl.DataFrame:
    """PREDICTIONS rows of one model on one fold's block; `timestamp` (n,) is the primary bar's open."""
    frame = prediction.to_frame().with_columns(timestamp=timestamp, fold=pl.lit(fold), model=pl.lit(model))
    return frame.select(pl.col(name).cast(dtype) for name, dtype in SCHEMA.items())


def base_predictions(predictions: pl.DataFrame, models: Sequence[str], *, allow_holdout: bool = False) -> BasePredictions:
    """Check PREDICTIONS of `models` and stack them row by row.

    Args:
        predictions: PREDICTIONS of any number of folds, any order; rows of other models are left out.
        models: base models wanted, in order.
        allow_holdout: scoring the final span needs its rows; fitting on them is a leak.

    Raises:
        LeakageError: a row predicted twice by one model, by models of different folds, or of the final test span.
        ModelError: a model without a row that another has, or a row that is no distribution.
    """
    rows = predictions.filter(pl.col("model").is_in(list(models))).sort("decision_at", "model", "fold")
    if not allow_holdout and (rows["fold"] == HOLDOUT).any():
        _leak(
            "out-of-fold rows",
            f"rows of fold {HOLDOUT!r}",
            "rows before the final test span",
            "leave the holdout fold out of the fit",
        )
    _once(rows)
    _complete(rows, models)
    wide = {name: rows.filter(pl.col("model") == name) for name in models}
    p = np.stack([frame.select(PROBABILITIES).to_numpy() for frame in wide.values()], axis=1)
    first = wide[models[0]]
    _distributions(p, first["decision_at"], models)
    e_r = np.stack([frame["e_r"].to_numpy() for frame in wide.values()], axis=1)
    return BasePredictions(first["decision_at"], first["fold"].to_numpy().astype(np.str_), tuple(models), p, e_r)


def _once(rows: pl.DataFrame) -> None:
    doubles = rows.filter(pl.struct("decision_at", "model").is_duplicated())
    if len(doubles):
        thing, folds = f"out-of-fold row {doubles['decision_at'][0]} of {doubles['model'][0]}", " and ".join(doubles["fold"][:2])
        _leak(thing, f"predictions of folds {folds}", "exactly one", "take the predictions of one split scheme only")
    mixed = rows.group_by("decision_at", maintain_order=True).agg(pl.col("fold").unique()).filter(pl.col("fold").list.len() > 1)
    if len(mixed):
        thing, folds = f"out-of-fold row {mixed['decision_at'][0]}", ", ".join(sorted(mixed["fold"][0]))
        _leak(thing, f"models of folds {folds}", "one fold", "train every model on the same splits")


def _complete(rows: pl.DataFrame, models: Sequence[str]) -> None:
    moments = rows.select(pl.col("decision_at").unique().sort())
    if not len(moments):
        raise ModelError("out-of-fold rows", found="none", wanted=f"rows of {', '.join(models)}", mend="train the folds first")
    for name in models:
        absent = moments.join(rows.filter(pl.col("model") == name), on="decision_at", how="anti", maintain_order="left")
        if len(absent):
            raise ModelError(
                f"out-of-fold rows of {name}",
                found=f"{len(absent)} of {len(moments)} absent, first {absent['decision_at'][0]}",
                wanted="a row for each decision that another model has",
                mend=f"train {name} on every fold",
            )


def _distributions(p: Floats, decision_at: pl.Series, models: Sequence[str]) -> None:
    good = np.isfinite(p).all(axis=2) & (p >= 0).all(axis=2) & (np.abs(p.sum(axis=2) - 1) < TOLERANCE)
    if not good.all():
        row, column = map(int, np.argwhere(~good)[0])
        thing = f"out-of-fold row {decision_at[row]} of {models[column]}"
        raise ModelError(
            thing, found=p[row, column].tolist(), wanted="probabilities summing to 1", mend="mend the model's predict"
        )


def outcomes(base: BasePredictions, labels: pl.DataFrame) -> Outcomes:
    """What LABELS say of each row of `base`; raises `DataError` when one is without a label."""
    keys = pl.DataFrame({"decision_at": base.decision_at})
    found = keys.join(labels, on="decision_at", how="left", maintain_order="left", validate="1:1")
    absent = found.filter(pl.col("label").is_null())
    if len(absent):
        found_text = f"none for {len(absent)} predictions, first {absent['decision_at'][0]}"
        raise DataError("labels", found=found_text, wanted="one for each", mend="predict only rows that splits name")
    label_end, horizon_end = (microseconds(found[name]) for name in ("label_end", "horizon_end"))
    return Outcomes(
        label=found["label"].to_numpy().astype(np.int8),
        decision_at=found["decision_at"].to_physical().to_numpy(),
        label_end=label_end,
        horizon_end=np.maximum(label_end, horizon_end),
        forward_return=_floats(found, "forward_return"),
        long_return=_floats(found, "long_return"),
        short_return=_floats(found, "short_return"),
    )


def _floats(frame: pl.DataFrame, name: str) -> Floats:
    return np.asarray(frame[name].to_numpy(), dtype=np.float64)


def _leak(thing: str, found: Any, wanted: str, mend: str) -> None:
    raise LeakageError(thing, found=found, wanted=wanted, mend=mend)
