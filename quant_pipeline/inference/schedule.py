"""The moments at which a symbol is decided: the closes of its primary bars, as the calendar promises them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

import polars as pl

from quant_pipeline.bars.moments import to_microseconds
from quant_pipeline.bars.resample import resample
from quant_pipeline.bars.schema import RUNG_SCHEMA
from quant_pipeline.bars.sessions import known_span, session_table
from quant_pipeline.config.timeframes import duration
from quant_pipeline.errors import DataError

LOOK_BACK = timedelta(days=30)  # longer than any exchange's holidays, and holds whole weeks for a 1w primary
LOOK_AHEAD = timedelta(days=15)
GRACE = timedelta(minutes=15)  # a tick, a run and a second try take longer than the shortest bars


def decision_moments(calendar: str, primary: str, start: datetime, end: datetime) -> list[datetime]:
    """Scheduled closes of primary bars in [start, end], UTC, oldest first.

    Example:
        >>> decision_moments("NYSE", "1h", datetime(2026, 11, 16, 14, tzinfo=UTC), datetime(2026, 11, 16, 17, tzinfo=UTC))
        [15:30, 16:30]
    """
    closes = _grid(calendar, primary, start - LOOK_BACK, end)["known_at"]
    return closes.filter((closes >= start) & (closes <= end)).to_list()


def decision_time(calendar: str, primary: str, as_of: datetime) -> datetime:
    """The last scheduled close of a primary bar at or before `as_of`: what a signal asked for then is about.

    Between two closes, and while the market is shut, it stays the same, so asking again gives the same signal.
    Raises `DataError` when nothing traded in the 30 days before.
    """
    moments = decision_moments(calendar, primary, as_of - LOOK_BACK, as_of)
    if not moments:
        raise DataError(
            f"calendar {calendar!r}", found=f"no session in the 30 days before {as_of}", wanted="an open market",
            mend="check the symbol's calendar in universe.yaml",
        )  # fmt: skip
    return moments[-1]


def on_time(calendar: str, primary: str, decision: datetime, now: datetime) -> bool:
    """Whether `decision` may still be answered at `now`: until the next one, and for a quarter of an hour at least."""
    return now - decision < GRACE or decision_time(calendar, primary, now) <= decision


def next_open(calendar: str, primary: str, after: datetime) -> datetime | None:
    """When the first primary bar at or after `after` opens: where a trade decided at `after` is filled.

    None when the calendar does not know the 15 days that follow, or has no session in them.
    """
    try:
        opens = _grid(calendar, primary, after - LOOK_BACK, after + LOOK_AHEAD)["timestamp"]
    except DataError:
        return None
    later = opens.filter(opens >= after)
    return later[0] if len(later) else None


def midnight(at: datetime) -> datetime:
    """The midnight UTC that begins the day of `at`; raises `DataError` for a moment without a time zone."""
    to_microseconds(at, "a decision's moment")
    return at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _grid(calendar: str, primary: str, start: datetime, end: datetime) -> pl.DataFrame:
    """Every bar that the sessions between would have, and of the days that `start` and `end` cut.

    Of whole days, so that all that is asked within a day is made once: the schedule asks for every symbol at every tick.
    """
    first, last = known_span(calendar)
    after = midnight(end) + timedelta(days=1)
    return _whole_days(calendar, primary, min(start, max(midnight(start), first)), max(end, min(after, last)))


@lru_cache(maxsize=64)
def _whole_days(calendar: str, primary: str, start: datetime, end: datetime) -> pl.DataFrame:
    """One made-up minute at each bar's open goes through the resampler."""
    step = min(duration(primary), timedelta(days=1))
    last = pl.col("session_close") - timedelta(microseconds=1)
    slots = (
        session_table(calendar, start, end)
        .with_columns(timestamp=pl.datetime_ranges("session_open", last, interval=step, time_unit="us", time_zone="UTC"))
        .explode("timestamp")
    )
    filled = slots.with_columns(
        **dict.fromkeys(("open", "high", "low", "close"), pl.lit(1.0)), volume=pl.lit(None),
        known_at=pl.min_horizontal(pl.col("timestamp") + timedelta(minutes=1), "session_close"),
        n_source=pl.lit(1), complete=pl.lit(True),
    )  # fmt: skip
    return resample(filled.select(list(RUNG_SCHEMA)).cast(RUNG_SCHEMA), primary)
