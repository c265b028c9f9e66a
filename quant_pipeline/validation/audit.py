"""Leakage audits: each looks for one way in which the future gets into the past, and returns the faults that it found.

A fault is a row: audit, where (column, fold or model), fault, rows, first_at, found, wanted. No rows means clean. The
audits share no code with what they audit; the planted leaks of `leaks.py` prove that each can fail.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_pipeline.validation.purging import label_windows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from quant_pipeline.validation.purging import Int64s, Windows
    from quant_pipeline.validation.splits import FoldRows

FAULTS: dict[str, pl.DataType | type[pl.DataType]] = {
    "audit": pl.String, "where": pl.String, "fault": pl.String, "rows": pl.Int64,
    "first_at": pl.Datetime("us", "UTC"), "found": pl.String, "wanted": pl.String,
}  # fmt: skip
Fault = dict[str, object]
_MICROSECOND = timedelta(microseconds=1)


def random_cuts(times: pl.Series, count: int, *, seed: int) -> list[datetime]:
    """`count` different moments of `times` (fewer when there are fewer), in order, drawn with `seed`."""
    distinct = times.drop_nulls().unique()
    return list(distinct.sample(min(count, len(distinct)), seed=seed).sort())


def prefix_audit(
    compute: Callable[[datetime], pl.DataFrame], full: pl.DataFrame, cuts: Iterable[datetime],
    *, at: str = "decision_at", key: str = "timestamp",
) -> pl.DataFrame:  # fmt: skip
    """Compare what is computed from the inputs known at each cut with what is computed from all of them, exactly.

    Args:
        compute: gives the frame made only from inputs with known_at <= cut.
        full: the same frame made from all inputs.
        cuts: aware moments.
        at: column that says from when a row may be used: `decision_at` for features and views, `horizon_end` for labels.
        key: column that identifies a row.

    Returns:
        Faults: a row that is there before it could be known, missing or extra rows, other columns, and for every column
        the number of rows whose value at the cut differs from the value in `full` (null equals null, NaN equals NaN).
    """
    faults: list[Fault] = []
    for cut in cuts:
        faults += _compare(compute(cut), full.filter(pl.col(at) <= cut), cut, at, key)
    return pl.DataFrame(faults, schema=FAULTS)


def scaler_audit(
    fit: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]], values: npt.NDArray[np.float64], train: Int64s,
    *, seed: int, name: str = "fit",
) -> pl.DataFrame:  # fmt: skip
    """Whether anything fitted (scaler, encoder, selection, stopping round) depends on rows outside its training rows.

    `fit` maps the values of all rows (n, …) to whatever was fitted, as an array. The values outside `train` are then
    shuffled, each column by itself, and left, mirrored and stretched: what was fitted must not change by a single bit.
    """
    random = np.random.default_rng(seed)
    outside = np.setdiff1d(np.arange(len(values)), train)
    honest = fit(values.copy())
    changed = 0
    for stretch in (1.0, -1.0, 100.0):
        disturbed = values.copy()
        disturbed[outside] = stretch * random.permuted(values[outside], axis=0) + 1.0
        changed += not np.array_equal(fit(disturbed), honest, equal_nan=True)
    row = {"audit": "scaler", "where": name, "fault": "outside training change what was fitted", "rows": outside.size}
    row |= {"found": f"{changed} of 3 disturbances seen", "wanted": "none"}
    return pl.DataFrame([row] if changed else [], schema=FAULTS)


def split_audit(rows: FoldRows, labels: pl.DataFrame, embargo: timedelta, *, fold: str = "fold") -> pl.DataFrame:
    """Whether any row that a fold learns from overlaps, in time, a row that it may know nothing about.

    For train against OOF, inner validation against OOF, and train against inner validation: no row stands in both, no
    two windows [decision, known] overlap, and none come within `embargo` of each other.
    """
    windows, gap = label_windows(labels), embargo // _MICROSECOND
    parts = {"train": rows.train, "valid": rows.valid, "oof": rows.oof}
    faults: list[Fault] = []
    for learned, unseen in (("train", "oof"), ("valid", "oof"), ("train", "valid")):
        mine, others = parts[learned], parts[unseen]
        overlap = _near(windows.take(mine), windows.take(others), 0)
        near = _near(windows.take(mine), windows.take(others), gap) & ~overlap
        found = {"stand in both": np.isin(mine, others), "have windows that overlap": overlap, "come within the embargo": near}
        for fault, flags in found.items():
            faults += _fault("split", f"{fold}: {learned} against {unseen}", fault, _decisions(labels, mine[flags]))
    return pl.DataFrame(faults, schema=FAULTS)


def oof_audit(predictions: pl.DataFrame, labels: pl.DataFrame, folds: Mapping[str, FoldRows]) -> pl.DataFrame:
    """Whether each row is predicted once by each of `folds` that leaves it out, and by no fold that learned from it.

    `predictions` has decision_at, fold and model; each model is judged by itself. Folds outside `folds` are ignored.
    """
    decisions = labels.select("decision_at").with_row_index("row")
    placed = predictions.select("decision_at", "fold", "model").join(decisions, on="decision_at", how="left")
    models = placed["model"].unique().sort() if placed.height else ["no model"]
    faults: list[Fault] = []
    for model in models:
        for fold, rows in folds.items():
            part = placed.filter((pl.col("model") == model) & (pl.col("fold") == fold))
            where = f"{model}, {fold}"
            faults += _fault("oof", where, "have no label", part.filter(pl.col("row").is_null())["decision_at"])
            for fault, wrong in _misplaced(part["row"].drop_nulls().to_numpy().astype(np.int64), rows).items():
                faults += _fault("oof", where, fault, _decisions(labels, wrong))
    return pl.DataFrame(faults, schema=FAULTS)


def asof_audit(joined: pl.DataFrame, *, at: str = "decision_at", known: Sequence[str] = ("known_at",)) -> pl.DataFrame:
    """Whether any row of a joined table uses something known only after its moment of use `at`.

    `known` are columns with the moment from which the joined values could be used (keep them with a suffix in
    `asof_join`); null where nothing was joined.
    """
    faults: list[Fault] = []
    for column in known:
        faults += _fault("as-of", column, "use a value before it was known", joined.filter(pl.col(column) > pl.col(at))[at])
    return pl.DataFrame(faults, schema=FAULTS)


def _compare(part: pl.DataFrame, known: pl.DataFrame, cut: datetime, at: str, key: str) -> list[Fault]:
    if part.columns != known.columns:
        odd = ", ".join(sorted(set(part.columns) ^ set(known.columns))) or "order of columns"
        return _fault("prefix", odd, "columns depend on the future", pl.Series([cut]))
    in_time = part.filter(pl.col(at) <= cut)
    faults = _fault("prefix", at, "are there before they could be known", part.filter(pl.col(at) > cut)[at])
    faults += _fault("prefix", key, "appear only later", known.join(in_time, on=key, how="anti")[at])
    faults += _fault("prefix", key, "vanish later", in_time.join(known, on=key, how="anti")[at])
    before, after = (frame.join(other, on=key, how="semi").sort(key) for frame, other in ((in_time, known), (known, in_time)))
    for column in known.columns:
        differs = before[column].ne_missing(after[column])
        found, wanted = (str(frame[column].filter(differs).first()) for frame in (before, after))
        faults += _fault("prefix", column, "change when later data arrive", after[at].filter(differs), found=found, wanted=wanted)
    return faults


def _near(mine: Windows, others: Windows, gap: int) -> npt.NDArray[np.bool_]:
    """Which of my windows, widened by `gap` microseconds, overlap one of the others.

    Windows that start before mine ends, less those that end before mine starts, are those that overlap.
    """
    started = np.searchsorted(np.sort(others.start), mine.end + gap, side="left")
    ended = np.searchsorted(np.sort(others.end), mine.start - gap, side="right")
    return np.asarray(started > ended)


def _misplaced(predicted: Int64s, rows: FoldRows) -> dict[str, Int64s]:
    """Rows by what is wrong with them, of those that one model predicts in one fold."""
    learned = np.isin(predicted, np.union1d(rows.train, rows.valid))
    values, counts = np.unique(predicted, return_counts=True)
    return {
        "were learned from by the fold that predicts them": predicted[learned],
        "lie outside the fold's block": predicted[~learned & ~np.isin(predicted, rows.oof)],
        "are predicted more than once": values[counts > 1],
        "are not predicted": np.setdiff1d(rows.oof, predicted),
    }


def _decisions(labels: pl.DataFrame, rows: Int64s) -> pl.Series:
    return labels["decision_at"].gather(rows)


def _fault(audit: str, where: str, fault: str, times: pl.Series, *, found: str = "", wanted: str = "") -> list[Fault]:
    """One fault of as many rows as there are `times`, or none."""
    if not len(times):
        return []
    first = {"rows": len(times), "first_at": times.min()}
    return [{"audit": audit, "where": where, "fault": fault, **first, "found": found, "wanted": wanted}]
