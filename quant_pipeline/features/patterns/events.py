"""Detections of patterns and how they become features: the part that every pattern family shares.

A family writes one compiled detector, `detect(bars) -> (m, WIDTH)` events of the bars it is given, and names its
patterns in a `PatternFamily`; the rest is done here. A detector is a pure function of a stretch of bars, and whatever it
says to be known at bar t it must also say when the stretch ends at t.

An EVENT is one row of a float array; its columns are the constants below. Rows of bars are counted from the stretch's
first bar inside a detector, and from the first bar of all in what `run_blocks` returns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl

from quant_pipeline.bars.moments import UTC_MICROSECONDS, moments
from quant_pipeline.features.kernels import FloatArray
from quant_pipeline.features.patterns.zigzag import REACH, Ints, average_range
from quant_pipeline.jit import compiled

PATTERN, START, PIVOT, KNOWN, DIRECTION, CONFIDENCE, FIRST, END, POINTS = range(9)
"""Columns of an event: place of the pattern in its family's table, rows of its first bar, of its last extreme and of the
bar that confirmed it, -1 / 0 / +1, (0, 1], the rows where it counts (`FIRST` to `END` - 1: one block), the points."""
MOST_POINTS = 8
"""Corners kept for drawing: columns POINTS, POINTS + 1 are row and price of the first, NaN after the last."""
WIDTH = POINTS + 2 * MOST_POINTS
HOLD = 10
"""Bars, at most, since `known` while `<pattern>_detected` is 1."""
HALF_LIFE = 10
"""Bars in which a detection's confidence halves."""
FORGOTTEN_BARS = 60
"""Bars after which a detection counts no more: 2**-6 of its confidence is left."""
INPUTS = ("open", "high", "low", "close", "anchor")
"""Columns that every pattern family reads."""


class Bars(NamedTuple):
    """A stretch of bars, (n,) each, prices positive; `atr` is the mean true range of `ATR_BARS` bars in price units."""

    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    atr: FloatArray


class Pattern(NamedTuple):
    """One named pattern.

    Attributes:
        name: start of its columns, such as `chart_double_top`.
        direction: +1 bullish, -1 bearish, 0 where a detection may be either; only those get a `_direction` column.
        definition: what is detected and when it is known, with its source; the feature dictionary prints it.
    """

    name: str
    direction: int
    definition: str


@dataclass(frozen=True)
class PatternFamily:
    """The patterns of one module; `detect` refers to them by their place in `patterns`."""

    name: str
    patterns: tuple[Pattern, ...]
    detect: Callable[[Bars], FloatArray]


@compiled
def no_events() -> list[FloatArray]:
    """An empty list for `record` to fill."""
    return [np.empty(WIDTH) for _ in range(0)]


@compiled
def record(
    events: list[FloatArray],
    pattern: int,
    pivot: int,
    known: int,
    direction: int,
    confidence: float,
    bars: Ints,
    prices: FloatArray,
) -> None:
    """Append one detection.

    Args:
        events: from `no_events`.
        pattern: place in the family's table.
        pivot: row of the last extreme that shaped it; `known` is the row whose close confirmed it, never earlier.
        known: see `pivot`.
        direction: what it foretells: +1 up, -1 down, 0 neither.
        confidence: closeness to the ideal shape; clipped to [0.01, 1], because a detection is never worth nothing.
        bars: rows of the points to draw, at most `MOST_POINTS`, in time order; the first is where the pattern starts.
        prices: their prices.
    """
    event = np.full(WIDTH, np.nan)
    event[PATTERN], event[START], event[PIVOT], event[KNOWN] = pattern, bars[0], pivot, known
    event[DIRECTION], event[CONFIDENCE] = direction, min(max(confidence, 0.01), 1.0)
    for k in range(bars.size):
        event[POINTS + 2 * k], event[POINTS + 2 * k + 1] = bars[k], prices[k]
    events.append(event)


@compiled
def stacked(events: list[FloatArray]) -> FloatArray:
    """(m, WIDTH) array of the events of a list."""
    out = np.empty((len(events), WIDTH))
    for k in range(len(events)):
        out[k] = events[k]
    return out


def blocks(anchor: FloatArray) -> Ints:
    """(k, 3) rows start, first, end per block: a detector reads `start` to `end` - 1 and speaks for `first` to `end` - 1.

    Blocks whose reach the bars do not cover are left out; rows before the first block are undefined for every pattern.

    Example:
        >>> blocks(np.floor(np.arange(1024.0) / 128))
        [[128, 768, 896], [256, 896, 1024]]
    """
    names = np.unique(anchor)
    names = names[names - REACH > anchor[0]]  # one bar before the reach shows that its first block is whole
    rows = (np.searchsorted(anchor, names - REACH), np.searchsorted(anchor, names), np.searchsorted(anchor, names, "right"))
    return np.stack(rows, axis=1)


def run_blocks(columns: Mapping[str, FloatArray], detect: Callable[[Bars], FloatArray]) -> FloatArray:
    """Run a detector afresh for every block, on the block and the `REACH` blocks before it.

    Args:
        columns: `INPUTS`, (n,) each.
        detect: compiled detector of a family.

    Returns:
        (m, WIDTH) events sorted by block, then by `KNOWN`, then by confidence, in rows of `columns`. A block's events are
        those known inside it and in the `FORGOTTEN_BARS` bars before, as the block's own run sees them. Of several of one
        pattern known at one bar, the one of highest confidence stays.
    """
    prices = Bars(
        columns["open"], columns["high"], columns["low"], columns["close"],
        average_range(columns["high"], columns["low"], columns["close"]),
    )  # fmt: skip
    found = [np.empty((0, WIDTH))]
    for start, first, end in blocks(columns["anchor"]).tolist():
        events = detect(Bars(*[column[start:end] for column in prices]))
        if len(events):
            found.append(_placed(events, start, first, end))
    return np.concatenate(found)


@compiled
def _placed(events: FloatArray, start: int, first: int, end: int) -> FloatArray:
    """The events that count in a block, sorted, in rows of the whole series; one per pattern and confirming bar."""
    out = events[events[:, KNOWN] >= first - start - FORGOTTEN_BARS]
    out = out[np.argsort(out[:, CONFIDENCE], kind="mergesort")]
    out = out[np.argsort(out[:, KNOWN], kind="mergesort")]
    newest = np.ones(len(out), np.bool_)
    for k in range(len(out) - 1):
        for later in range(k + 1, len(out)):
            if out[later, KNOWN] != out[k, KNOWN]:
                break
            newest[k] &= out[later, PATTERN] != out[k, PATTERN]
    out = out[newest]
    out[:, START] += start
    out[:, PIVOT] += start
    out[:, KNOWN] += start
    out[:, FIRST], out[:, END] = first, end
    for k in range(POINTS, WIDTH, 2):
        out[:, k] += start
    return out


@compiled
def _fill(events: FloatArray, rows: Ints, out: FloatArray) -> None:
    """Write what each pattern's newest event says at each bar into the rows of `out` from `rows[pattern]` to the next one's."""
    decay = 0.5 ** (np.arange(FORGOTTEN_BARS + 1) / HALF_LIFE)
    for k in range(len(events)):
        event = events[k]
        pattern, known = int(event[PATTERN]), int(event[KNOWN])
        row, either = rows[pattern], rows[pattern + 1] - rows[pattern] > 2  # noqa: PLR2004 - the third is the direction
        for i in range(max(known, int(event[FIRST])), min(known + FORGOTTEN_BARS + 1, int(event[END]))):
            strength = event[CONFIDENCE] * decay[i - known]
            out[row, i] = 1.0 if i - known <= HOLD else 0.0
            out[row + 1, i] = strength
            if either:
                out[row + 2, i] = event[DIRECTION] * strength


def pattern_features(events: FloatArray, n: int, patterns: Sequence[Pattern]) -> FloatArray:
    """What the events say at each bar, one row per name of `feature_meanings(patterns)`, (rows, n); never NaN.

    Only the newest event of a pattern counts. Events must be sorted as `run_blocks` does, each with its `FIRST` and `END`.
    """
    rows = np.cumsum([0, *(3 if pattern.direction == 0 else 2 for pattern in patterns)])
    out = np.zeros((rows[-1], n))
    _fill(events, rows, out)
    return out


def feature_meanings(patterns: Sequence[Pattern]) -> dict[str, str]:
    """Names and meanings of a family's features, in the order of `pattern_features`' rows; for the `@features` decorator."""
    meanings = {}
    for name, direction, definition in patterns:
        meanings[f"{name}_detected"] = f"1 while at most {HOLD} bars ago: {definition}"
        meanings[f"{name}_confidence"] = f"Confidence of the newest one, halved every {HALF_LIFE} bars: {definition}"
        if direction == 0:
            meanings[f"{name}_direction"] = f"The same with the sign of its direction: {definition}"
    return meanings


def family_features(columns: Mapping[str, FloatArray], family: PatternFamily) -> FloatArray:
    """The family's registered features, (rows, n); NaN before the first block whose reach the bars cover."""
    anchor = columns["anchor"]
    values = pattern_features(run_blocks(columns, family.detect), anchor.size, family.patterns)
    values[:, anchor - REACH <= anchor[0]] = np.nan
    return values


def event_table(bars: pl.DataFrame, anchor: FloatArray, family: PatternFamily) -> pl.DataFrame:
    """Every detection of a family, for drawing and for `pattern_events`; each is told once, by the block it is known in.

    Args:
        bars: RUNG BARS.
        anchor: (n,) block of each bar, as in the features' columns.
        family: whose patterns are looked for.

    Returns:
        pattern, start_at, pivot_at (opening times of those bars), known_at (close of the confirming bar), direction,
        confidence, points (list of structs `at`, `price`), sorted by `known_at` and name.
    """
    columns = {name: bars[name].to_numpy(writable=True) for name in INPUTS[:-1]} | {"anchor": anchor}
    return told(run_blocks(columns, family.detect), bars, family.patterns)


def told(events: FloatArray, bars: pl.DataFrame, patterns: Sequence[Pattern]) -> pl.DataFrame:
    """The table of `event_table` from events and the RUNG BARS that their rows count."""
    events = events[events[:, KNOWN] >= events[:, FIRST]]
    opened = bars["timestamp"].to_physical().to_numpy()
    corners = events[:, POINTS:].reshape(len(events), MOST_POINTS, 2)
    table = pl.DataFrame(
        {
            "pattern": [patterns[int(p)].name for p in events[:, PATTERN]],
            "start_at": moments(opened[events[:, START].astype(np.int64)], "start_at"),
            "pivot_at": moments(opened[events[:, PIVOT].astype(np.int64)], "pivot_at"),
            "known_at": bars["known_at"].gather(events[:, KNOWN].astype(np.int64)),
            "direction": events[:, DIRECTION].astype(np.int8),
            "confidence": events[:, CONFIDENCE],
            "points": [_points(points, opened) for points in corners],
        },
        schema_overrides={
            "pattern": pl.String,
            "points": pl.List(pl.Struct({"at": UTC_MICROSECONDS, "price": pl.Float64})),
        },
    )
    return table.sort("known_at", "pattern", maintain_order=True)


def _points(points: FloatArray, opened: Ints) -> list[dict[str, object]]:
    """The corners that there are; polars casts the microseconds to datetimes."""
    return [{"at": opened[int(bar)], "price": price} for bar, price in points if not np.isnan(bar)]
