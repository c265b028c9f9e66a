"""Sample weights: how clear-cut a label is (quality) times how little it shares its window with others (uniqueness)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from quant_pipeline.bars.moments import microseconds
from quant_pipeline.config.commands import command
from quant_pipeline.errors import DataError
from quant_pipeline.jit import compiled
from quant_pipeline.labels.triple_barrier import bar_arrays

if TYPE_CHECKING:
    from quant_pipeline.config.experiment import WeightSettings
    from quant_pipeline.labels.barriers import Floats, Ints, Path


def sample_weights(labels: pl.DataFrame, settings: WeightSettings, path: pl.DataFrame | None = None) -> pl.DataFrame:
    """WEIGHTS of LABELS (n rows): timestamp, decision_at, known_at, quality, uniqueness, and weight, their raw product.

    A part that `settings` switches off is 1 everywhere. `quality` is known at the row's `horizon_end`, as the row is.
    `uniqueness` counts the labels that share the row's window; a label that was entered inside it becomes a row only at
    its own `horizon_end`. So the row is known when the first label entered at or after its `label_end` is: `known_at`,
    null while there is no such label. No scale is set here: a fit sets it on its own rows (`weights_among`, `mean_one`).

    Args:
        labels: LABELS, sorted by decision_at.
        settings: which of the two parts to use.
        path: the path bars that the labels were made on; needed for quality only.

    Raises:
        DataError: quality is wanted and no path is given.
    """
    ones = np.ones(labels.height)
    quality = label_quality(labels, _path(path)) if settings.quality else ones
    uniqueness = average_uniqueness(labels) if settings.uniqueness else ones
    known = labels["horizon_end"].gather(_first_after(labels)) if settings.uniqueness else labels["horizon_end"]
    return labels.select("timestamp", "decision_at").with_columns(
        known.alias("known_at"), pl.Series("quality", quality), pl.Series("uniqueness", uniqueness),
        pl.Series("weight", quality * uniqueness),
    )  # fmt: skip


def weights_among(labels: pl.DataFrame, weights: pl.DataFrame, settings: WeightSettings) -> pl.DataFrame:
    """Weights of the rows of one fit, (n,): decision_at and weight, in the rows and order of `labels`.

    Uniqueness is measured again among these rows alone. That of WEIGHTS also counts labels which the fit leaves out:
    purged rows, and rows that were not there yet when the fold ended.

    Args:
        labels: LABELS of the rows to be fitted, sorted by decision_at.
        weights: WEIGHTS, of at least these rows.
        settings: whether uniqueness is used.

    Raises:
        DataError: a label without a weight.
    """
    found = labels.select("decision_at").join(weights, on="decision_at", how="left", maintain_order="left")
    if found["quality"].null_count():
        raise DataError(
            "sample weights", found=f"none for {found['quality'].null_count()} labels", wanted="one for each label",
            mend="run: " + command("quant materialize sample_weights/SYMBOL"),
        )  # fmt: skip
    uniqueness = average_uniqueness(labels) if settings.uniqueness else np.ones(labels.height)
    return found.select("decision_at", weight=pl.col("quality") * pl.Series(uniqueness))


def mean_one(weight: Floats) -> Floats:
    """The weights of the rows of one fit, (n,), at mean 1: a penalty then means the same in every fold."""
    return weight / weight.mean() if weight.size else weight


def label_quality(labels: pl.DataFrame, path: pl.DataFrame) -> Floats:
    """Quality of each label in [0.5, 1.5], (n,): 1.5 for a path that never came near another verdict, 0.5 for one that
    nearly, or for a moment, did.

    With `rise` and `fall` the largest gross moves above and below the entry from entry to `label_end`, as fractions
    of the entry price:
        label  1: quality = 1.5 - min(1, fall / stop_loss)              adverse excursion against the stop
        label -1: quality = 1.5 - min(1, rise / stop_loss)              the same for a short
        label  0: quality = 1.5 - min(1, max(rise, fall) / take_profit) realised move against the take-profit
    A stop that lies inside the cost (stop_loss <= 0) gives 0.5.
    """
    span = microseconds(labels["entry_at"]), microseconds(labels["label_end"])
    rise, fall = excursions(*span, labels["entry_price"].to_numpy(), bar_arrays(path, "path bars"))
    label = labels["label"].to_numpy()
    move = np.choose(label + 1, [rise, np.maximum(rise, fall), fall])
    limit = np.where(label == 0, labels["take_profit"].to_numpy(), labels["stop_loss"].to_numpy())
    nearness = np.divide(move, limit, out=np.ones_like(move), where=limit > 0)
    return np.asarray(1.5 - np.minimum(nearness, 1.0))


def average_uniqueness(labels: pl.DataFrame) -> Floats:
    """Average uniqueness of each label in (0, 1], (n,): AFML (Lopez de Prado, 2018), section 4.4.

    The bars are the labels' own entries. A label spans the bars whose `entry_at` is in [entry_at, label_end);
    concurrency of a bar = labels that span it; uniqueness = mean over a label's bars of 1 / concurrency.

    Example:
        Three hourly labels known after 1, 2 and 1 hours span bars {0}, {1, 2}, {2}: concurrency 1, 1, 2 and
        uniqueness 1, 0.75, 0.5.
    """
    entries = microseconds(labels["entry_at"])
    stops = np.searchsorted(entries, microseconds(labels["label_end"]), side="left")
    return _mean_share(np.maximum(stops, np.arange(labels.height) + 1))


def _first_after(labels: pl.DataFrame) -> pl.Series:
    """(n,) position of the first label entered when a row's class was known; null where there is none yet."""
    after = np.searchsorted(microseconds(labels["entry_at"]), microseconds(labels["label_end"]), side="left")
    return pl.select(pl.when(pl.Series(after) < labels.height).then(pl.Series(after))).to_series()


@compiled
def excursions(entry_at: Ints, label_end: Ints, entry_price: Floats, path: Path) -> tuple[Floats, Floats]:
    """Largest rise and fall from each entry price, as fractions >= 0, over the path bars inside [entry_at, label_end]."""
    rise, fall = np.zeros(entry_at.size), np.zeros(entry_at.size)
    first = 0
    for i in range(entry_at.size):
        while first < path.opens_at.size and path.opens_at[first] < entry_at[i]:
            first += 1
        top = bottom = entry_price[i]
        k = first
        while k < path.known_at.size and path.known_at[k] <= label_end[i]:
            top, bottom = max(top, path.high[k]), min(bottom, path.low[k])
            k += 1
        rise[i], fall[i] = top / entry_price[i] - 1.0, 1.0 - bottom / entry_price[i]
    return rise, fall


@compiled
def _mean_share(stops: Ints) -> Floats:
    steps = np.zeros(stops.size + 1, np.int64)
    for i in range(stops.size):
        steps[i] += 1
        steps[stops[i]] -= 1
    concurrency = np.cumsum(steps)
    mean = np.empty(stops.size)
    for i in range(stops.size):
        total = 0.0
        for k in range(i, stops[i]):
            total += 1.0 / concurrency[k]
        mean[i] = total / (stops[i] - i)
    return mean


def _path(path: pl.DataFrame | None) -> pl.DataFrame:
    if path is None:
        raise DataError(
            "sample_weights",
            found="no path bars",
            wanted="the bars that the labels were made on",
            mend="pass path=, or set weights.quality: false",
        )
    return path
