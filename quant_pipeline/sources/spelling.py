"""Times as a strptime format spells them, and which format would read a time that is spelled in another way than ours."""

from __future__ import annotations

import re
from itertools import product

import polars as pl

from quant_pipeline.sources.epochs import EARLIEST, latest

_HOUR = re.compile(r"%-?[HI]")
_MINUTE = re.compile(r"%-?[MTRXc]")
_DATE = re.compile(r"\d{1,4}([./-])\w{1,3}\1\d{1,4}(?!\d)|\d{1,2} \w{3} \d{4}")
_ORDERS = {
    "day": (("%d", "%m", "%Y"), ("%d", "%m", "%y"), ("%d", "%b", "%Y")),
    "month": (("%m", "%d", "%Y"), ("%m", "%d", "%y")),
    "year": (("%Y", "%m", "%d"), ("%y", "%m", "%d")),
}
_TIMES = [
    f"{hours}{rest}{half}"
    for (hours, half), rest in product((("%H", ""), ("%I", " %p"), ("%I", "%p")), (":%M", ":%M:%S", ":%M:%S.%f"))
]
_JOINTS, _ZONES = (" ", ", ", "T"), ("", "%z", " %z", " GMT%z", " UTC%z", "Z", " UTC", " GMT")


def written(values: pl.Series, form: str) -> pl.Series:
    """Text read by the format: UTC where it has %z, else naive; null where it does not fit. Polars refuses some formats."""
    text, chrono = values.str.strip_chars(), form.replace(".%f", "%.f")  # %f alone counts nanoseconds there
    if _HOUR.search(form) and not _MINUTE.search(form):  # which polars refuses: the hour is a whole one
        text, chrono = text + " 00", f"{chrono} %M"
    zone = "UTC" if "%z" in form else None
    return text.str.to_datetime(chrono, time_unit="us", time_zone=zone, strict=False, ambiguous="raise")


def format_mend(text: str) -> str:
    """How to have `text` read: by the formats that do read it, one for each part of the date that may come first."""
    setting = "`files.time_format` of the symbol in universe.yaml to how the times are written, as strptime does"
    found = {first: form for first, dates in _dates(text).items() if (form := _fitting(text, dates))}
    told = ", ".join(f'"{form}"' + f" where the {first} comes first" * (len(found) > 1) for first, form in found.items())
    return f"set {setting}: {told}" if told else f"correct or remove the row, or set {setting}"


def _dates(text: str) -> dict[str, list[str]]:
    """Formats of the date that `text` begins with, by the part that comes first."""
    date = _DATE.match(text.strip())
    mark = (date[1] or " ") if date else ""
    return {first: [mark.join(form) for form in forms] for first, forms in _ORDERS.items()} if date else {}


def _fitting(text: str, dates: list[str]) -> str | None:
    value = pl.Series([text])
    times = [f"{joint}{time}{zone}" for joint, time, zone in product(_JOINTS, _TIMES, _ZONES)]
    return next((form for form in map("".join, product(dates, ("", *times))) if _reads(value, form)), None)


def _reads(value: pl.Series, form: str) -> bool:
    read = written(value, form)[0]
    return read is not None and EARLIEST.replace(tzinfo=None) <= read.replace(tzinfo=None) <= latest().replace(tzinfo=None)
