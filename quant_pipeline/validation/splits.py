"""Fold schemes: which rows each fold trains on, stops early on, and predicts without having seen.

What the out-of-fold (OOF) rows mean, by scheme:

* `expanding`, `rolling` (walk-forward): every row after the first training span is predicted exactly once, by models
  that saw only its past. OOF rows are what live trading would have had; the only scheme whose OOF record is tradable.
* `purged_kfold`: every row before the test span is predicted exactly once, by models that saw both sides of it.
  Good for stacking and comparison, not a trading record: equity, trades and money are shown for the test span only.
* `combinatorial` (CPCV; Lopez de Prado, 2018, chapter 12): the rows are cut into N groups and every pair of groups is
  left out once, so `folds` must be N (N - 1) / 2, and every row is predicted N - 1 times. The meta-learner is fitted on
  their average, and the N - 1 paths through them show how skill varies (`paths`). No trading record either.

In every scheme the last fold is `holdout`: it trains on everything before the final test span and predicts that span,
which nothing else ever touches.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, pairwise
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from quant_pipeline.bars.moments import microseconds, moments
from quant_pipeline.config.experiment import HOLDOUT, SplitSettings
from quant_pipeline.errors import DataError, LeakageError
from quant_pipeline.validation.audit import oof_audit
from quant_pipeline.validation.purging import Int64s, Removed, Windows, label_windows, removed_by

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime, timedelta

Span = tuple[int, int]  # rows [first, last + 1)
ROLES = ("train", "valid", "oof")
# below these a booster cannot split (20 rows a leaf) and a class share is known to no better than +-0.15
FEWEST = {"train": 50, "valid": 10, "oof": 10}
UNLABELLED = 0.1  # largest share of the primary bars that may come without a label before tuning could see a block
PAIRED = 2  # groups that a combinatorial fold leaves out


@dataclass(frozen=True)
class FoldRows:
    """Rows of one fold as indices into LABELS, each sorted: what is fitted, what stops early, what is predicted."""

    train: Int64s
    valid: Int64s
    oof: Int64s


def make_splits(labels: pl.DataFrame, settings: SplitSettings) -> pl.DataFrame:
    """The folds of LABELS (n rows) as SPLITS, one row per fold, role and contiguous block.

    Shares are of the n rows: the last `test` of them are the test span; in walk-forward schemes the first `first_train`
    come before the first OOF block, and `rolling` trains on that many rows. The inner validation rows are the last
    `inner_valid` of a fold's usable training rows. Purge and embargo: see `purging.removed_by`; they also part the
    training rows from the inner validation rows. A row belongs to a block by start <= decision_at < end; `rows` of
    them are left after `purged` and `embargoed` are taken out.

    Example: 1,000 hourly rows from 2024-01-01 00:00, labels known after 3 hours, folds=2, first_train=0.4, test=0.2,
    inner_valid=0.1, embargo=2h:
        fold     role  block  start             end               rows  purged  embargoed
        fold_00  train     0  2024-01-01 00:00  2024-01-15 20:00   352       2          2
        fold_00  valid     0  2024-01-15 20:00  2024-01-17 16:00    40       2          2
        fold_00  oof       0  2024-01-17 16:00  2024-01-26 00:00   200       0          0

    Raises:
        DataError: `decision_at` does not increase; too few rows in a fold.
    """
    windows = label_windows(labels)
    if (np.diff(windows.start) <= 0).any():
        raise DataError("labels", found="decision_at that does not increase", wanted="one row per decision, sorted",
                        mend="sort by decision_at and drop repeats")  # fmt: skip
    rows = [row for fold, train, oof in _plan(labels.height, settings) for row in _describe(fold, train, oof, windows, settings)]
    frame = pl.DataFrame(rows, orient="row", schema={
        "fold": pl.String, "role": pl.String, "block": pl.Int32, "start": pl.Int64, "end": pl.Int64,
        "rows": pl.Int64, "purged": pl.Int64, "embargoed": pl.Int64,
    })  # fmt: skip
    return frame.with_columns(moments(frame[name].to_numpy(), name) for name in ("start", "end"))


def fold_rows(splits: pl.DataFrame, fold: str, labels: pl.DataFrame, settings: SplitSettings) -> FoldRows:
    """Rows of `fold`, purged and embargoed, as indices into `labels` (sorted by decision_at).

    Raises:
        DataError: a fold that `splits` does not have.
    """
    if fold not in splits["fold"]:
        raise DataError(f"fold {fold!r}", found="no such fold", wanted=f"one of {', '.join(splits['fold'].unique().sort())}",
                        mend="make the splits again, or name one of these")  # fmt: skip
    windows = label_windows(labels)
    train, valid, oof = (_blocks(splits, fold, role, windows) for role in ROLES)
    beside_oof, beside_valid = _removed(valid, oof, windows, settings.embargo)
    learned, stopping = _joined(train), _joined(valid)
    usable = ~beside_oof.either
    return FoldRows(learned[(usable & ~beside_valid.either)[learned]], stopping[usable[stopping]], _joined(oof))


def first_training_end(decisions: pl.Series, settings: SplitSettings) -> datetime:
    """Moment before which every fold of a walk-forward scheme may look, for what is chosen before labels exist.

    `decisions`: `known_at` of all primary bars, sorted. Labels lack some of them (warm-up, outages, open windows), and
    each that is missing late moves the first block to an earlier time, so a tenth of the span is left as a margin.
    In other schemes the span before it is in out-of-fold blocks, too: what is chosen there shapes the labels of all
    folds alike, and has seen no feature and nothing of the test span.

    Raises:
        DataError: as `check_history`.
    """
    check_history(decisions, settings)
    return decisions[int(settings.first_train * (1 - UNLABELLED) * len(decisions))]  # type: ignore[no-any-return]


def check_history(decisions: pl.Series, settings: SplitSettings) -> None:
    """Raise `DataError` for fewer primary bars (`known_at`, sorted) than the folds need, whatever is labelled."""
    fewest = fewest_rows(settings)
    if len(decisions) < fewest:
        last = f", the last known at {decisions[-1]:%Y-%m-%d %H:%M} UTC" if len(decisions) else ""
        raise DataError(
            "primary bars up to the training cutoff", found=f"too little history: {len(decisions)}{last}",
            wanted=f"at least {fewest} for {settings.folds} folds",
            mend="bring a longer history (training ends on the last Monday 00:00 UTC), raise history_days of the experiment, "
            "or lower splits.folds",
        )  # fmt: skip


def fewest_rows(settings: SplitSettings) -> int:
    """Rows below which some fold is too small, before anything is purged.

    Example:
        >>> fewest_rows(SplitSettings(folds=5, first_train=0.4, test=0.15))
        150
    """
    walk = settings.scheme in {"expanding", "rolling"}
    folded = 1 - settings.test - (settings.first_train if walk else 0)
    shares = {
        "train": settings.first_train if walk else folded,
        "oof": min(settings.test, max(folded, 0.0) / settings.folds or settings.test),
    }
    # blocks are cut at whole rows, so one of them may be a row longer than its share
    return ceil(max((FEWEST["train"] + FEWEST["valid"]) / shares["train"], (FEWEST["oof"] - 1) / shares["oof"]))


def check_oof(
    predictions: pl.DataFrame, labels: pl.DataFrame, splits: pl.DataFrame, settings: SplitSettings,
    *, folds: Sequence[str] | None = None,
) -> None:  # fmt: skip
    """Prove that OOF `predictions` (columns decision_at, fold, model) are whole and out of fold.

    For every model: each row is predicted by exactly the folds that leave it out, once each, and never by a fold that
    trained or stopped early on it. With `folds=None` all development folds are expected (and `holdout` where it is
    present), so in walk-forward every row after the first training span is there exactly once.

    Raises:
        LeakageError: naming the model, fold, fault, number of rows and the first of them; or splits whose blocks
            leave a row out more than once, or never.
    """
    everywhere = settings.fold_names if HOLDOUT in predictions["fold"] else settings.fold_names[:-1]
    chosen = {name: fold_rows(splits, name, labels, settings) for name in (everywhere if folds is None else folds)}
    found = _uneven(chosen, set(predictions["fold"]), settings) if folds is None else ""
    faults = oof_audit(predictions, labels, chosen)
    if not found and faults.height:
        first = faults.row(0, named=True)
        found = f"{first['where']}: {first['rows']} rows that {first['fault']}, the first at {first['first_at']}"
    if found:
        raise LeakageError(
            "out-of-fold predictions", found=found,
            wanted="each row predicted once by each fold that leaves it out, and by no other",
            mend="materialize models and oof_predictions of these folds again, from one version of labels and splits",
        )  # fmt: skip


def _uneven(folds: dict[str, FoldRows], named: set[str], settings: SplitSettings) -> str:
    """What is wrong with the out-of-fold blocks themselves: strange folds, rows left out too often or never."""
    if named - set(folds):
        return f"predictions of {', '.join(sorted(named - set(folds)))}, which the splits do not have"
    wanted = settings.groups - 1 if settings.scheme == "combinatorial" else 1
    counts = np.bincount(_joined([rows.oof for name, rows in folds.items() if name != HOLDOUT]))
    covered = counts[np.flatnonzero(counts)[0] :]
    return "" if (covered == wanted).all() else f"rows left out by {covered.min()} to {covered.max()} folds instead of {wanted}"


def _plan(n: int, settings: SplitSettings) -> Iterator[tuple[str, list[Span], list[Span]]]:
    """Fold name, training spans and OOF spans, before purging."""
    develop, first = n - round(n * settings.test), int(n * settings.first_train)
    names = iter(settings.fold_names)
    if settings.walk_forward:
        for start, end in _spans(first, develop, settings.folds):
            yield next(names), [(_train_start(start, first, settings), start)], [(start, end)]
    else:
        paired = settings.scheme == "combinatorial"
        groups = _spans(0, develop, settings.groups if paired else settings.folds)
        for left_out in combinations(groups, PAIRED if paired else 1):
            yield next(names), _complement(list(left_out), develop), list(left_out)
    yield HOLDOUT, [(_train_start(develop, first, settings), develop)], [(develop, n)]


def _train_start(end: int, first: int, settings: SplitSettings) -> int:
    return end - first if settings.scheme == "rolling" else 0


def _spans(start: int, end: int, count: int) -> list[Span]:
    edges = [start + (end - start) * index // count for index in range(count + 1)]
    return list(pairwise(edges))


def _complement(left_out: list[Span], end: int) -> list[Span]:
    edges = [0, *(edge for span in left_out for edge in span), end]
    return [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if a < b]


def _describe(
    fold: str, train: list[Span], oof: list[Span], windows: Windows, settings: SplitSettings
) -> Iterator[tuple[object, ...]]:
    """Rows of SPLITS of one fold; times as microseconds."""
    held_out = [np.arange(*span) for span in oof]
    usable = _joined([np.arange(*span) for span in train])
    usable = usable[~removed_by(held_out, windows, settings.embargo).either[usable]]
    turn = int(usable[-max(1, round(usable.size * settings.inner_valid))]) if usable.size else 0
    spans = {"train": _clipped(train, 0, turn), "valid": _clipped(train, turn, windows.start.size), "oof": oof}
    blocks = {role: [np.arange(*span) for span in spans[role]] for role in ROLES}
    beside_oof, beside_valid = _removed(blocks["valid"], blocks["oof"], windows, settings.embargo)
    nothing = np.zeros_like(beside_oof.purged)
    purged = {"train": beside_oof.purged | beside_valid.purged, "valid": beside_oof.purged, "oof": nothing}
    either = {"train": beside_oof.either | beside_valid.either, "valid": beside_oof.either, "oof": nothing}
    for role in ROLES:
        _enough(fold, role, int(sum((~either[role][block]).sum() for block in blocks[role])), settings)
        for index, block in enumerate(blocks[role]):
            gone, overlapping = int(either[role][block].sum()), int(purged[role][block].sum())
            yield fold, role, index, *_times(block, windows), block.size - gone, overlapping, gone - overlapping


def _clipped(spans: list[Span], low: int, high: int) -> list[Span]:
    return [(max(a, low), min(b, high)) for a, b in spans if max(a, low) < min(b, high)]


def _times(block: Int64s, windows: Windows) -> tuple[int, int]:
    """First decision of a block, and first decision after it (one microsecond after its last where there is none)."""
    after = int(block[-1]) + 1
    end = windows.start[after] if after < windows.start.size else windows.start[-1] + 1
    return int(windows.start[block[0]]), int(end)


def _removed(valid: list[Int64s], oof: list[Int64s], windows: Windows, embargo: timedelta) -> tuple[Removed, Removed]:
    """Rows removed beside the OOF blocks, and beside what is left of the inner validation blocks."""
    beside_oof = removed_by(oof, windows, embargo)
    return beside_oof, removed_by([block[~beside_oof.either[block]] for block in valid], windows, embargo)


def _blocks(splits: pl.DataFrame, fold: str, role: str, windows: Windows) -> list[Int64s]:
    chosen = splits.filter((pl.col("fold") == fold) & (pl.col("role") == role)).sort("block")
    edges = (np.searchsorted(windows.start, microseconds(chosen[name])) for name in ("start", "end"))
    return [np.arange(start, end) for start, end in zip(*edges, strict=True)]


def _joined(blocks: list[Int64s]) -> Int64s:
    return np.concatenate([np.empty(0, np.int64), *blocks])


def _enough(fold: str, role: str, rows: int, settings: SplitSettings) -> None:
    if rows >= FEWEST[role]:
        return
    mends = {
        "train": f"raise splits.first_train (now {settings.first_train}) or lower splits.folds (now {settings.folds})",
        "valid": f"raise splits.inner_valid (now {settings.inner_valid})",
        "oof": f"raise splits.test (now {settings.test})" if fold == HOLDOUT else f"lower splits.folds (now {settings.folds})",
    }
    raise DataError(f"{fold}: {role} rows", found=rows, wanted=f"at least {FEWEST[role]} after purge and embargo",
                    mend=f"{mends[role]}, or give more history")  # fmt: skip
