"""Where a leak shows itself: the moments at which rows of features are made again, chosen before anything is compared.

Many leaks are silent at most decisions: a shift inside each session shows on its last bar, a value of the day on its first
ones, a pattern marked early only where it begins. So every kind of edge is asked, then one moment of each week, and of each
hour of the day: a value of 16:00 that is known a bar early is wrong at one row in twenty-four.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

Rows = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
MOST = 112
"""Moments in all: some 50 weeks and 60 edges of a year; making a row again takes some 50 ms in the default experiment."""
HOURS = 24
PER_KIND = 8
SPARSE = 26
BEGINNINGS_ASKED, CHANGES_ASKED = 2, 1
FIRST = 100
"""Rows at the start that are not asked: live inference never sees so few bars, and a feature may need some."""
RARE = 0.1
"""A column that changes in fewer of its rows is asked where it changes."""
SHORT = 0.95
"""A session shorter than this share of the usual one is a half day."""
THIN = 0.8
"""A bar with fewer of its minutes than this has a hole of the feed in it."""


def audit_moments(
    features: pl.DataFrame, bars: pl.DataFrame, zones: Iterable[str], *, seed: int, most: int = MOST
) -> pl.DataFrame:
    """Decisions of `features` at which a leak of any kind would show, edges first, then one of each week.

    Args:
        features: FEATURES; what is looked at is when each column changes.
        bars: RUNG BARS of the primary rung.
        zones: time zones whose changes of the clock matter.
        seed: of the draws.
        most: moments at most; weeks give way to edges.

    Returns:
        decision_at, sorted and unique, and kind: session start, session end, month end, half day, gap, clock change, large
        move, change (of a column that rarely does), week or hour. The first
        hundred and the last decision, after which nothing can leak, are left out.
    """
    table = features.select("decision_at").join(
        bars, left_on="decision_at", right_on="known_at", how="left", maintain_order="left"
    )
    first = min(FIRST, table.height // 4)
    chosen: dict[int, str] = {}
    random = np.random.default_rng(seed)
    for kind, rows in _edges(table, features, zones, random):
        for row in rows[(rows >= first) & (rows < table.height - 1)]:
            chosen.setdefault(int(row), kind)
    inside = np.arange(first, max(first, table.height - 1))
    weekly = _weekly(table, inside, random)
    for row in _spread(weekly, most - len(chosen)):
        chosen.setdefault(int(row), "week")
    for row in _hours_left(table, inside, sorted(chosen), random)[: max(most - len(chosen), 0)]:
        chosen.setdefault(int(row), "hour")
    ordered = sorted(chosen)
    return pl.DataFrame({"decision_at": table["decision_at"].gather(ordered), "kind": [chosen[row] for row in ordered]})


def _edges(
    table: pl.DataFrame, features: pl.DataFrame, zones: Iterable[str], random: np.random.Generator
) -> Iterator[tuple[str, Rows]]:
    ends = _where(table["session_open"] != table["session_open"].shift(-1))
    first, last = np.append(0, ends + 1), np.append(ends, table.height - 1)
    yield "half day", _halves(table, first, last, random)
    yield "clock change", _clock_changes(table["decision_at"], zones, last)
    yield "gap", _gaps(table, random)
    yield "large move", _beside(_largest(table["close"], PER_KIND), (-1, 0))
    yield "session start", _drawn(first, random)
    yield "session end", _drawn(last, random)
    month = table["decision_at"].dt.truncate("1mo")
    yield "month end", _drawn(_where(month != month.shift(-1)), random)
    yield "change", _changes(features)


def _where(flags: pl.Series) -> Rows:
    return flags.fill_null(False).arg_true().to_numpy().astype(np.int64)


def _drawn(rows: Rows, random: np.random.Generator, count: int = PER_KIND) -> Rows:
    return np.sort(random.choice(rows, min(count, rows.size), replace=False))


def _spread(rows: Rows, count: int) -> Rows:
    """At most `count` of `rows`, evenly spread."""
    return rows[np.unique(np.linspace(0, rows.size - 1, min(max(count, 0), rows.size)).astype(np.int64))] if rows.size else rows


def _beside(rows: Rows, steps: Sequence[int]) -> Rows:
    return np.unique(np.concatenate([rows + step for step in steps]))


def _halves(table: pl.DataFrame, first: Rows, last: Rows, random: np.random.Generator) -> Rows:
    """First, middle and last decision of sessions that are shorter than usual."""
    span = (table["session_close"] - table["session_open"]).gather(first)
    usual = span.mode().max()
    short = np.flatnonzero((span < usual * SHORT).fill_null(False).to_numpy()) if isinstance(usual, timedelta) else first[:0]
    drawn = _drawn(short, random, PER_KIND // 2)
    return np.unique(np.concatenate([first[drawn], (first[drawn] + last[drawn]) // 2, last[drawn]]))


def _clock_changes(at: pl.Series, zones: Iterable[str], last: Rows) -> Rows:
    """Around each change of a zone's offset from UTC, and the end of its first session."""
    rows = [np.empty(0, np.int64)]
    for zone in dict.fromkeys(zones):
        local = at.dt.convert_time_zone(zone)
        offset = local.dt.base_utc_offset() + local.dt.dst_offset()
        rows.append(_where(offset != offset.shift(1))[-PER_KIND // 2 :])
    changed = np.unique(np.concatenate(rows))
    ends = last[np.minimum(np.searchsorted(last, changed), last.size - 1)]
    return np.unique(np.concatenate([_beside(changed, (-1, 0, 1)), ends]))


def _gaps(table: pl.DataFrame, random: np.random.Generator) -> Rows:
    """Around holes of the feed: bars that are absent inside a session, or lack minutes."""
    opened = table["timestamp"]
    step = opened.diff()
    usual = step.mode().min()
    absent = (step > usual) & (table["session_open"] == table["session_open"].shift(1))
    minutes = (table["decision_at"] - opened).dt.total_minutes()
    thin = (table["n_source"] > 0) & (table["n_source"] < minutes * THIN)
    longest = step.to_physical().to_numpy(allow_copy=True)
    rows = _where(absent)
    rows = rows[np.argsort(-longest[rows], kind="stable")[: PER_KIND // 2]]
    return _beside(np.concatenate([rows, _drawn(_where(thin), random, PER_KIND // 2)]), (-1, 0))


def _largest(close: pl.Series, count: int) -> Rows:
    moves = np.abs(np.diff(np.log(close.to_numpy()), prepend=np.nan))
    return np.argsort(-np.nan_to_num(moves), kind="stable")[:count]


def _changes(features: pl.DataFrame) -> Rows:
    """Rows at which the columns that rarely change do, few rows for many columns: the row with most of them first.

    Each is asked twice where it begins to say something (leaves its commonest value), and once where it changes at all.
    """
    values = features.drop("timestamp", "decision_at", strict=False)
    changed = values.select(pl.all().ne_missing(pl.all().shift(1)))
    count = changed[1:].sum().row(0)
    rare = [name for name, times in zip(values.columns, count, strict=True) if 0 < times < RARE * values.height]
    if not rare:
        return np.empty(0, np.int64)
    begun = values.select((pl.col(rare) != pl.col(rare).mode().first()).fill_null(False))
    flags = np.concatenate([(changed[rare].to_numpy() & begun.to_numpy()), changed[rare].to_numpy()], axis=1).astype(np.int32)
    flags[[0, -1]] = 0  # the first row has no row before it, the last none after it
    return _covering(flags, np.repeat((BEGINNINGS_ASKED, CHANGES_ASKED), len(rare)))


def _covering(flags: npt.NDArray[np.int32], wanted: Rows) -> Rows:
    """At most `SPARSE` rows of flags (n, k) that hold each column's flag as often as `wanted` (k,), greedily."""
    wanted = np.minimum(wanted, flags.sum(axis=0))
    rows: list[int] = []
    while wanted.any() and len(rows) < SPARSE:
        gain = flags[:, wanted > 0].sum(axis=1)
        gain[rows] = 0
        if not gain.any():
            break
        rows.append(int(gain.argmax()))
        wanted = np.maximum(wanted - flags[rows[-1]], 0)
    return np.array(rows, np.int64)


def _weekly(table: pl.DataFrame, inside: Rows, random: np.random.Generator) -> Rows:
    """One row of each calendar week, of another hour of the day than the weeks before it wherever there is one."""
    hours = table["decision_at"].dt.hour().to_numpy()
    times = np.zeros(HOURS, np.int64)
    rows = []
    for week in np.split(inside, _where(table["decision_at"].dt.truncate("1w")[inside].rle_id().diff() > 0)):
        drawn = random.permutation(week)
        if drawn.size:
            rows.append(drawn[times[hours[drawn]].argmin()])
            times[hours[rows[-1]]] += 1
    return np.array(rows, np.int64)


def _hours_left(table: pl.DataFrame, inside: Rows, chosen: Sequence[int], random: np.random.Generator) -> Rows:
    """A row of each hour of the day that no chosen row has."""
    hours = table["decision_at"].dt.hour().to_numpy()
    left = random.permutation(inside[~np.isin(hours[inside], hours[list(chosen)])])
    return left[np.unique(hours[left], return_index=True)[1]]
