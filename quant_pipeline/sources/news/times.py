"""When a story could be read at the latest: one strict rule for the times that any news source tells.

A time is read as the span of moments that agree with what was told. A date tells no hour, `IST` is the clock of India,
Ireland and Israel, and a zone that nobody names may be any: such a story is known at the end of its span, for a moment
too late costs little and a moment too early is look-ahead. What fits no form here is no time; it is never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

from quant_pipeline.sources.news.zones import offsets_of

_DAY = timedelta(days=1)
_FIRST, _END = datetime(1970, 1, 2, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WHOLE_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december",
)  # fmt: skip
_CENTURY, _TURN = 100, 50  # RFC 2822, 4.3: two digits below 50 are of this century
_NOON = 12
_EPOCHS = {9: 1_000_000, 10: 1_000_000, 13: 1_000, 16: 1, 19: -1_000}  # by digits, microseconds in one; of ns, ns in one

_WEEKDAY = r"(?:[A-Za-z]{2,9}\.?,?\s+)?"
_TIME = r"(?P<hour>\d{1,2}):?(?P<minute>\d\d)(?::?(?P<second>\d\d)(?:[.,](?P<part>\d+))?)?(?:\s*(?P<half>[AaPp])\.?[Mm]\b\.?)?"
_ZONE = r"\s*(?P<zone>(?:UTC|GMT|UT)?[+-]\d\d?(?::?\d\d)?|[A-Za-z]{1,5}|[A-Za-z]+(?:/[A-Za-z_+-]+)+)?(?:\s*\([^()]*\))?"
_CLOCK = rf"(?:(?:T|,?\s+(?:at\s+)?){_TIME}{_ZONE})?"
_FORMS = tuple(
    re.compile(form)
    for form in (
        rf"(?P<year>\d{{4}})(?P<sep>[-/.])(?P<month>\d\d?)(?P=sep)(?P<day>\d\d?){_CLOCK}",
        rf"(?P<year>\d{{4}})(?P<month>\d\d)(?P<day>\d\d)(?:[T\s]?{_TIME}{_ZONE})?",
        rf"{_WEEKDAY}(?P<day>\d\d?)[\s-](?P<name>[A-Za-z]{{3,9}})\.?,?[\s-](?P<year>\d{{4}}|\d\d){_CLOCK}",
        rf"{_WEEKDAY}(?P<name>[A-Za-z]{{3,9}})\.?\s+(?P<day>\d\d?)(?:st|nd|rd|th)?,?\s+(?P<year>\d{{4}}){_CLOCK}",
        rf"{_WEEKDAY}(?P<name>[A-Za-z]{{3}})\s+(?P<day>\d\d?)\s+{_TIME}{_ZONE}\s+(?P<year>\d{{4}})",
    )
)


class Told(NamedTuple):
    """The moments (UTC) that a told time may mean, from `earliest` to `latest`.

    `zoned` is whether it, or the caller, names a zone; `whole_day` whether it tells a date and no time.
    """

    earliest: datetime
    latest: datetime
    zoned: bool = True
    whole_day: bool = False

    @property
    def vague(self) -> bool:
        """Whether more than one moment is meant."""
        return self.earliest < self.latest


def told_time(text: str, timezone: str | None = None) -> Told | None:
    """What `text` says of a moment; None where it is no time, or one outside 1970 to 2100.

    A date without a time, and a time at midnight, which is how programs write such a date, mean the whole local day.

    Args:
        text: RFC 822 (`Tue, 01 Jul 2025 09:30:00 EST`), ISO 8601, a date, or an epoch in s, ms, us or ns.
        timezone: the zone of times that tell none; None counts them as of any zone. Midnight there is a date too.

    Example:
        >>> told_time("Tue, 01 Jul 2025 12:00:00 IST")
        Told(earliest=2025-07-01 06:30 UTC, latest=2025-07-01 11:00 UTC, zoned=True, whole_day=False)
        >>> told_time("2025-07-01T00:00:00-04:00").latest
        2025-07-02 04:00 UTC
    """
    text = text.strip()
    told = _epoch(text) or _calendar(text, timezone)
    if told is None or not _FIRST <= told.earliest <= told.latest < _END:
        return None
    return told if timezone is None else _whole_day(told, timezone)


def as_text(column: pl.Series) -> pl.Series:
    """Any column of times as text that `told_time` reads: datetimes keep their zone, dates stay dates."""
    if isinstance(column.dtype, pl.Datetime):
        zone = "" if column.dtype.time_zone is None else "%:z"
        return column.dt.cast_time_unit("us").dt.strftime(f"%Y-%m-%dT%H:%M:%S%.6f{zone}")
    if column.dtype.is_float():
        return column.ceil().cast(pl.Int64, strict=False).cast(pl.String)
    return column.cast(pl.String)


def is_zone(name: str) -> bool:
    """Whether `name` is a zone of the tz database, such as America/New_York."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a folder of the database is an OSError
        return False
    return True


def _epoch(text: str) -> Told | None:
    factor = _EPOCHS.get(len(text)) if text.isascii() and text.isdigit() else None
    if factor is None:
        return None
    count = int(text) * factor if factor > 0 else int(text) // -factor
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=count)
    except OverflowError:
        return None
    return _whole_day(Told(moment, moment), "UTC")


def _calendar(text: str, timezone: str | None) -> Told | None:
    found = next((match for form in _FORMS if (match := form.fullmatch(text))), None)
    if found is None:
        return None
    parts = found.groupdict()
    try:
        day = datetime(_year(parts["year"]), _month(parts), int(parts["day"]))  # noqa: DTZ001 - the local day, placed below
        hours = _since_midnight(parts)
        return _span(day + hours, parts["zone"], timezone, whole_day=not hours)
    except (ValueError, OverflowError):
        return None


def _span(local: datetime, zone: str | None, timezone: str | None, *, whole_day: bool) -> Told:
    width = _DAY if whole_day else timedelta(0)
    clock = _named_zone(timezone) if zone is None and timezone is not None else _clock(zone)
    return Told(
        min(_placed(local, offset) for offset in clock(local)),
        max(_placed(local + width, offset) for offset in clock(local + width)),
        zoned=zone is not None or timezone is not None,
        whole_day=whole_day,
    )


def _placed(local: datetime, offset: timedelta) -> datetime:
    return (local - offset).replace(tzinfo=UTC)


def _clock(zone: str | None) -> Callable[[datetime], Sequence[timedelta]]:
    """The offsets that the clocks of `zone` may have at a local time."""
    if zone is not None and "/" in zone:
        return _named_zone(zone)
    offsets = offsets_of(zone)
    return lambda _: offsets


@lru_cache(maxsize=64)
def _named_zone(name: str) -> Callable[[datetime], Sequence[timedelta]]:
    """Both offsets around a clock change; raises `ValueError` for a zone that does not exist."""
    if not is_zone(name):
        raise ValueError(name)
    zone = ZoneInfo(name)
    return lambda local: [local.replace(tzinfo=zone, fold=fold).utcoffset() or timedelta(0) for fold in (0, 1)]


def _whole_day(told: Told, timezone: str) -> Told:
    """`told`, or its whole day where it is midnight in `timezone`."""
    local = told.latest.astimezone(ZoneInfo(timezone)).replace(tzinfo=None)
    if told.vague or local.time() != datetime.min.time():
        return told
    return told._replace(latest=_span(local, None, timezone, whole_day=True).latest, whole_day=True)


def _year(text: str) -> int:
    year = int(text)
    return year if year >= _CENTURY else year + 2_000 - _CENTURY * (year >= _TURN)


def _month(parts: dict[str, str | None]) -> int:
    name = (parts.get("name") or "").lower()
    if not name:
        return int(parts["month"] or 0)
    short = name if name != "sept" else "sep"
    return 1 + (_MONTHS.index(short) if short in _MONTHS else _WHOLE_MONTHS.index(name))


def _since_midnight(parts: dict[str, str | None]) -> timedelta:
    """Zero without a time; raises `ValueError` for one that no clock shows."""
    if parts["hour"] is None:
        return timedelta(0)
    hour, half = int(parts["hour"]), (parts["half"] or "").lower()
    if half and not 1 <= hour <= _NOON:
        raise ValueError(hour)
    hour = hour % _NOON + _NOON * (half == "p") if half else hour
    part = int((parts["part"] or "0")[:6].ljust(6, "0"))
    at = datetime(1, 1, 1, hour, int(parts["minute"] or 0), int(parts["second"] or 0), part)  # noqa: DTZ001 - a time of day
    return at - datetime(1, 1, 1)  # noqa: DTZ001
