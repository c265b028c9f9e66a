"""Notes on what looks odd in a feed: spikes, flat bars, outages, rows outside the session, volume that changes its unit.

Nothing here drops or changes a row, and nothing here is an input of a feature or label: the notes look at the whole
history at once. Values are ready for JSON; times are ISO 8601 UTC.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_pipeline.bars.moments import microseconds
from quant_pipeline.bars.sessions import locate, session_table
from quant_pipeline.config.timeframes import duration, minutes

LISTED = 20  # a note lists so many cases at most; its counts cover all
SPIKE_Z = 30.0  # robust z: minute returns have fat tails, 10 is an everyday news bar
SCALE_RATIO = 5.0  # volume triples on busy weeks; a change of unit or venue is larger
EDGE_MINUTES = 5.0
_WEEK = 5  # medians over a week of sessions, so that one holiday is not a change
_DECIMALS = 4
_ROUNDING = 1e-4  # of the last decimal: far above float64 noise, far below float32 noise at real prices
_NEARLY_ALL = 0.995
_ENOUGH_BARS = 30  # fewer closes may all end in zero by chance
_MAD_TO_SIGMA = 1.4826
_DAY = timedelta(days=1)


def price_notes(bars: pl.DataFrame) -> dict[str, Any]:
    """rows, first, last; zero_range: bars whose high equals their low; spikes: see `spikes`."""
    return {
        "rows": bars.height,
        "first": iso(bars["timestamp"].min()),
        "last": iso(bars["timestamp"].max()),
        "zero_range": int((bars["high"] == bars["low"]).sum()),
        "spikes": spikes(bars),
    }


def feed_notes(bars: pl.DataFrame, calendar: str, timeframe: str) -> dict[str, Any]:
    """gaps: see `gaps`; feed_changes: see `feed_changes`."""
    return {"gaps": gaps(bars, calendar, timeframe), "feed_changes": feed_changes(bars)}


def volume_note(told: pl.Series, measured: pl.Series) -> str | dict[str, int]:
    """Rows whose volume is null and zero; where it is null throughout, why, from the volumes as they were `told`."""
    if measured.null_count() < len(measured):
        return {"null": measured.null_count(), "zero": int((measured == 0).sum())}
    found = {"zero": int((told == 0).sum()), "negative": int((told < 0).sum())}
    reasons = " and ".join(f"{kind} in {rows} rows" for kind, rows in found.items() if rows)
    return f"absent: {reasons}, never above" if reasons else "absent"


def spikes(bars: pl.DataFrame) -> dict[str, Any]:
    """Bars whose log return from the previous bar of their session is over `SPIKE_Z` robust deviations.

    The deviation is the median absolute return that is not zero. `reverts` tells a bad print from news: the next bar
    takes back at least three quarters of the move.

    Returns:
        count, threshold_z, and `largest`: timestamp, return, z, reverts of the `LISTED` largest.
    """
    close, same = np.log(bars["close"].to_numpy()), microseconds(bars["session_open"])
    step = np.where(same[1:] == same[:-1], np.diff(close), 0.0)
    moved = np.abs(step[step != 0])
    scale = _MAD_TO_SIGMA * float(np.median(moved)) if len(moved) else np.inf
    z = np.abs(step) / scale
    worst = np.argsort(-z, kind="stable")[: min(LISTED, int((z > SPIKE_Z).sum()))]
    following = np.append(step[1:], 0.0)
    return {
        "count": int((z > SPIKE_Z).sum()),
        "threshold_z": SPIKE_Z,
        "largest": [
            {
                "timestamp": iso(bars["timestamp"][int(row) + 1]),
                "return": round(float(np.expm1(step[row])), 6),
                "z": round(float(z[row]), 1),
                "reverts": bool(abs(step[row] + following[row]) <= abs(step[row]) / 4),
            }
            for row in worst
        ],
    }


def gaps(bars: pl.DataFrame, calendar: str, timeframe: str) -> dict[str, Any]:
    """Open minutes of the calendar without a bar, between the first bar and the last.

    A hole that runs over a night or a weekend is one gap, and only its open minutes count.

    Returns:
        count, minutes, share (of the open minutes in the span), and `longest`: start (close of the bar before), end
        (open of the bar after), minutes of the `LISTED` longest.
    """
    if bars.height < 2:  # noqa: PLR2004 - a gap lies between two bars
        return {"count": 0, "minutes": 0, "share": 0.0, "longest": []}
    position = _open_position(bars, calendar, timeframe)
    missing = (np.diff(position) - 1) * minutes(timeframe)
    rows = np.flatnonzero(missing > 0)
    longest = rows[np.argsort(-missing[rows], kind="stable")][:LISTED]
    known, opened = bars["known_at"], bars["timestamp"]
    total = int(missing[rows].sum())
    return {
        "count": len(rows),
        "minutes": total,
        "share": round(total / (int(position[-1] - position[0] + 1) * minutes(timeframe)), 6),
        "longest": [
            {"start": iso(known[int(row)]), "end": iso(opened[int(row) + 1]), "minutes": int(missing[row])} for row in longest
        ],
    }


def _open_position(bars: pl.DataFrame, calendar: str, timeframe: str) -> npt.NDArray[np.int64]:
    """Number of each bar among all bars that the calendar has room for, sessions without any bar included."""
    length = duration(timeframe) // timedelta(microseconds=1)
    sessions = session_table(calendar, bars["timestamp"][0], bars["timestamp"][-1] + timedelta(microseconds=1))
    opens, closes = microseconds(sessions["session_open"]), microseconds(sessions["session_close"])
    before = np.concatenate([[0], np.cumsum(-((opens - closes) // length))])
    row = locate(sessions, bars["timestamp"])
    position: npt.NDArray[np.int64] = before[row] + (microseconds(bars["timestamp"]) - opens[row]) // length
    return position


def outside_note(outside: pl.DataFrame, calendar: str) -> dict[str, Any]:
    """Where the rows that no session holds are: rows, days, first, last, at_close, and the days with most of them.

    `outside` is sorted and not empty.
    `at_close` counts rows that open at the very moment a session closes: one a day is a feed that prints the closing
    auction as a bar of its own.
    """
    first, last = outside["timestamp"][0], outside["timestamp"][-1]
    closes = session_table(calendar, first - _DAY, last + _DAY)["session_close"]
    days = outside.group_by(day=pl.col("timestamp").dt.date()).len("rows").sort("rows", "day", descending=[True, False])
    return {
        "rows": outside.height,
        "days": days.height,
        "first": iso(first),
        "last": iso(last),
        "at_close": int(outside["timestamp"].is_in(closes.implode()).sum()),
        "busiest": [{"day": day.isoformat(), "rows": rows} for day, rows in days.head(LISTED).iter_rows()],
    }


def feed_changes(bars: pl.DataFrame) -> list[dict[str, Any]]:
    """Sessions from which the feed looks like another one: spliced sources, a new unit of volume, patched days.

    Looked at are, per session, the median volume (a shift by more than `SCALE_RATIO`), the minutes by which the first
    bar follows the open and the last bar precedes the close (a shift of `EDGE_MINUTES`), each as the median of five
    sessions before against five from it on, and the number of decimals of the closes (any change).

    Returns:
        at (session open), what ("volume", "first_bar_delay", "last_bar_lead", "price_decimals"), before, after; in time
        order within each kind. Feeds that differ in none of these cannot be told apart.
    """
    sessions = bars.group_by("session_open", maintain_order=True).agg(
        volume=pl.col("volume").median(),
        first_bar_delay=(pl.col("timestamp").first() - pl.col("session_open").first()).dt.total_minutes(),
        last_bar_lead=(pl.col("session_close").last() - pl.col("known_at").last()).dt.total_minutes(),
        price_decimals=_decimals(),
    )
    measured = sessions.filter(pl.col("volume") > 0)
    found = [_shifts(measured, "volume", _ratio)]
    found += [_shifts(sessions, edge, _distance) for edge in ("first_bar_delay", "last_bar_lead")]
    found.append(_decimal_changes(sessions))
    return [row | {"at": iso(row["at"])} for row in pl.concat(found).iter_rows(named=True)]


def iso(moment: object) -> str | None:
    """ISO 8601 of a datetime; None for anything else."""
    return moment.isoformat() if isinstance(moment, datetime) else None


def _ratio(before: pl.Expr, after: pl.Expr) -> pl.Expr:
    return (after / before).log().abs() / float(np.log(SCALE_RATIO))


def _distance(before: pl.Expr, after: pl.Expr) -> pl.Expr:
    return (after - before).abs() / EDGE_MINUTES


def _shifts(sessions: pl.DataFrame, what: str, size: Callable[[pl.Expr, pl.Expr], pl.Expr]) -> pl.DataFrame:
    """Where the five-session median of `what` shifts by a `size` of 1 or more: of neighbouring sessions, the one with
    the largest step from the session before it.
    """
    value = pl.col(what).cast(pl.Float64)
    median = value.rolling_median(_WEEK)
    pairs = sessions.select(
        at="session_open",
        what=pl.lit(what),
        before=median.shift(1),
        after=median.shift(1 - _WEEK),
        step=size(value.shift(1), value),
    ).drop_nulls()
    shifted = size(pl.col("before"), pl.col("after")) >= 1
    pairs = pairs.with_columns(step=pl.when(shifted).then("step").otherwise(0.0))
    largest = pl.col("step").rolling_max(2 * _WEEK - 1, min_samples=1, center=True)
    return pairs.filter((pl.col("step") > 0) & (pl.col("step") == largest)).drop("step").head(LISTED)


def _decimals() -> pl.Expr:
    """Fewest decimals, up to `_DECIMALS`, that write nearly all closes; one more where none do."""
    scaled = [pl.col("close") * 10**decimals for decimals in range(_DECIMALS + 1)]
    fits = [((value - value.round()).abs() < _ROUNDING).mean() > _NEARLY_ALL for value in scaled]
    fewest = pl.coalesce([pl.when(fit).then(decimals) for decimals, fit in enumerate(fits)] + [pl.lit(_DECIMALS + 1)])
    return pl.when(pl.len() >= _ENOUGH_BARS).then(fewest)


def _decimal_changes(sessions: pl.DataFrame) -> pl.DataFrame:
    after = pl.col("price_decimals").cast(pl.Float64)
    pairs = sessions.drop_nulls("price_decimals").select(
        at="session_open", what=pl.lit("price_decimals"), before=after.shift(1), after=after
    )
    return pairs.filter(pl.col("before") != pl.col("after")).head(LISTED)
