"""Macro series as they were known at each decision: levels, growth, staleness, and what the newest release changed.

A value is read from `known_at` on and never from the period that it describes: first releases count until a revision
is known. Rates, yields and index levels come from FRED's series (`sources/macro`) or from any table of RELEASES.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl

from quant_pipeline.bars.asof import asof_index
from quant_pipeline.bars.moments import Int64s, microseconds, require_columns
from quant_pipeline.config.macro_series import period_numbers
from quant_pipeline.features.kernels import FloatArray, ratio
from quant_pipeline.features.registry import MACRO, Columns, feature, features
from quant_pipeline.jit import compiled

SERIES = {
    "fed_funds_rate": "FEDFUNDS",
    "treasury_2y": "DGS2",
    "treasury_10y": "DGS10",
    "treasury_30y": "DGS30",
    "cpi": "CPIAUCSL",
    "unemployment": "UNRATE",
    "payrolls": "PAYEMS",
    "claims": "ICSA",
}
"""FRED's series of each name; the six of document 000, 2.3, then payrolls and initial jobless claims."""
LEVELS = ("fed_funds_rate", "treasury_2y", "treasury_10y", "treasury_30y", "unemployment", "claims")
"""Read as they are; the others are indices that grow for ever, and only their change over a year tells something."""
WINDOW, FEWEST = 36, 6
"""Changes before a release that say how large one usually is: three years of a monthly series; none below six."""
HALF_LIFE = 6 / 24
"""Days: markets move for hours after a release, and the next day its news is old."""
LARGEST = 10.0
"""A change of more standard deviations counts as this many: after years without any, the smallest would be infinite."""
LONGEST_STEP = 3
"""Periods that one change may span, such as over a month that was never published; one over more has no usual size."""
YEAR = 12
"""Periods of the monthly series, whose growth over a year is read."""
ROUNDING = 1e-10
"""Of the level: changes that differ by less are equal but for the rounding of decimals."""
_DAY = 86_400_000_000


def columns(decisions: pl.DataFrame, table: pl.DataFrame) -> dict[str, FloatArray]:
    """What the features below read.

    Args:
        decisions: `decision_at`.
        table: RELEASES (`sources/base.py`), sorted by `known_at`; rows without a value count as not told.

    Returns:
        (n,) arrays for each name of `SERIES`, NaN while nothing is known: `{name}_value` of the newest period and, for
        indices, `{name}_year_ago` of the period twelve months before, both as known at the decision, NaN where that
        period was skipped; `{name}_age`, days since the newest period was first told; `{name}_change`, what that first
        telling said against the period known before it, less the mean of the last `WINDOW` changes from one period to the
        next and in their standard deviations. Where n - 1 periods were skipped these are n times the mean and sqrt(n)
        times the deviation, as of n independent changes; NaN where n is above `LONGEST_STEP`.
    """
    require_columns(table, ("series", "period", "known_at", "value"), "releases")
    at = microseconds(decisions["decision_at"])
    told = table.filter(pl.col("value").is_not_null(), pl.col("value").is_not_nan())
    out: dict[str, FloatArray] = {}
    for name, series in SERIES.items():
        out |= _as_of(name, _history(series, told.filter(pl.col("series") == series)), at)
    return out


class _History(NamedTuple):
    """State after each moment at which something was told, (m,)."""

    known_at: Int64s
    value: FloatArray
    year_ago: FloatArray
    change: FloatArray
    told_at: Int64s  # when the newest period was first told


def _as_of(name: str, history: _History, at: Int64s) -> dict[str, FloatArray]:
    row = asof_index(at, history.known_at)  # -1 reads the NaN behind the last
    kept = {"value": history.value, "change": history.change} | ({} if name in LEVELS else {"year_ago": history.year_ago})
    out = {f"{name}_{field}": np.append(values, np.nan)[row] for field, values in kept.items()}
    out[f"{name}_age"] = np.where(row < 0, np.nan, (at - np.append(history.told_at, 0)[row]) / _DAY)
    return out


def _history(series: str, rows: pl.DataFrame) -> _History:
    """One series, walked in the order in which it became known."""
    rows = rows.sort("known_at", "period", maintain_order=True)
    number, place = np.unique(period_numbers(series, rows["period"]), return_inverse=True)
    before = np.searchsorted(number, number - YEAR)  # inside, for every number is above that of the year before it
    before = np.where(number[before] == number - YEAR, before, -1)
    return _History(*_walk(microseconds(rows["known_at"]), place, rows["value"].to_numpy(), before, number))


@compiled
def _walk(
    known_at: Int64s, place: Int64s, value: FloatArray, before: Int64s, number: Int64s
) -> tuple[Int64s, FloatArray, FloatArray, FloatArray, Int64s]:
    """`place` ranks the periods that are there, whose `number` counts all; `before` is the place a year earlier or -1."""
    latest, changes = np.full(before.size, np.nan), np.empty(before.size)
    moments, told_at = np.empty(known_at.size, np.int64), np.empty(known_at.size, np.int64)
    state = np.full((3, known_at.size), np.nan)
    newest, count, first, size = -1, 0, 0, 0
    told, change = 0, np.nan
    while first < known_at.size:
        last, top = first, newest
        while last < known_at.size and known_at[last] == known_at[first]:
            latest[place[last]] = value[last]
            top = max(top, place[last])
            last += 1
        for period in range(newest + 1, top + 1):
            if np.isnan(latest[period]):
                continue
            change = np.nan
            if newest >= 0:
                step, periods = latest[period] - latest[newest], number[period] - number[newest]
                past = changes[max(0, count - WINDOW) : count]
                change = _standardised(step, periods, past, ROUNDING * abs(latest[period]))
                if periods == 1:
                    changes[count] = step
                    count += 1
            newest, told = period, known_at[first]
        moments[size], told_at[size] = known_at[first], told
        state[0, size], state[2, size] = latest[newest], change
        if before[newest] >= 0:
            state[1, size] = latest[before[newest]]
        size += 1
        first = last
    return moments[:size], state[0, :size], state[1, :size], state[2, :size], told_at[:size]


@compiled
def _standardised(step: float, periods: int, past: FloatArray, rounding: float) -> float:
    """`step` over some `periods` less their mean in `past`, in standard deviations; what is not above `rounding` is zero."""
    if past.size < FEWEST or periods > LONGEST_STEP:
        return np.nan
    mean = float(np.mean(past))
    deviation, spread = step - periods * mean, float(np.sqrt(periods * np.mean((past - mean) ** 2)))
    if abs(deviation) <= rounding:
        return 0.0
    if spread <= rounding:
        return LARGEST if deviation > 0 else -LARGEST
    return float(max(-LARGEST, min(LARGEST, deviation / spread)))


def _register(name: str, series: str) -> None:
    """The features that every series has; their inputs name the arrays, so that each is one line."""
    if name in LEVELS:
        value = f"Value of the newest period of {series} known at the decision, revisions known by then included."
        features({f"macro_{name}": value}, "macro", (f"{name}_value",), 1, rungs=(MACRO,))(_as_it_is)
    else:
        growth = f"Growth of {series} over a year, percent: newest period known over the one twelve months before, both as known."
        features({f"macro_{name}_yoy": growth}, "macro", (f"{name}_value", f"{name}_year_ago"), 1, rungs=(MACRO,))(_growth)
    change = (
        f"First telling of the newest {series} against the period before, standardised by the {WINDOW} changes before it, "
        "for as many periods as it spans."
    )
    features({f"macro_{name}_change": change}, "macro", (f"{name}_change",), 1, rungs=(MACRO,))(_as_it_is)
    surprise = f"macro_{name}_change, halved every {24 * HALF_LIFE:.0f} hours since it was told."
    features({f"macro_{name}_surprise": surprise}, "macro", (f"{name}_change", f"{name}_age"), 1, rungs=(MACRO,))(_fading)
    stale = f"Days since the newest period of {series} was first told."
    features({f"macro_{name}_staleness": stale}, "macro", (f"{name}_age",), 1, rungs=(MACRO,))(_as_it_is)


def _as_it_is(columns: Columns) -> FloatArray:
    (value,) = columns.values()
    return value[None]


def _growth(columns: Columns) -> FloatArray:
    now, ago = columns.values()
    return 100.0 * (ratio(now, ago, np.nan) - 1.0)[None]


def _fading(columns: Columns) -> FloatArray:
    change, age = columns.values()
    return (change * np.exp2(-age / HALF_LIFE))[None]


for _name, _series in SERIES.items():
    _register(_name, _series)


@feature("macro_term_spread", "macro", ("treasury_10y_value", "treasury_2y_value"), 1, rungs=(MACRO,))
def term_spread(columns: Columns) -> FloatArray:
    """Ten-year less two-year Treasury yield, percentage points; negative before many recessions (Estrella & Mishkin, 1998)."""
    return columns["treasury_10y_value"] - columns["treasury_2y_value"]
