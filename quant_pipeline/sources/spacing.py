"""How far the bars of a file are apart, against what is declared: an hour that passes for a minute is known an hour early."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import polars as pl

from quant_pipeline.bars.moments import Int64s, microseconds
from quant_pipeline.config.universe import file_interval
from quant_pipeline.errors import DataError

_SECOND, _MICROSECOND = 1_000_000, timedelta(microseconds=1)
_STEPS = np.array([1, 2, 3, 5, 10, 15, 20, 30, *(60 * minutes for minutes in (1, 2, 3, 4, 5, 10, 15, 20, 30, 60, 120, 240, 360,
                   480, 720, 1_440, 10_080))]) * _SECOND  # fmt: skip
_RUN = 50
"""Bars that are judged together: a file of hours that goes on in minutes shows both."""
_TAIL = 20
"""Bars after the last one that is followed as it should be, from which they are judged by themselves: a file of minutes may
go on in hours, too few to fill a run. In thin trading so many are multiples of a longer step once in a million files."""
_FINER = 0.35
"""Most distances below the interval that a run of bars may show: those that a session's end, a break or a stray row cut
short."""
_ON_GRID = 0.95
"""Share of the distances that are whole numbers of a longer step, from which bars are that step and not thin trading: of 50
bars that skip minutes at random, even half as many are multiples of two by chance once in 10 million files."""


def check_spacing(opened: pl.Series, interval: str, length: timedelta, name: str) -> None:
    """Refuse bars that are not `interval` apart.

    Judged are the distances between neighbouring stamps, all together, in runs of 50, and those after the last right one. A
    run is right when its commonest distance is the interval. Thin trading leaves gaps of any length, so a longer commonest
    distance is refused only where (nearly) all distances are multiples of some longer step. Fewer than two stamps cannot be
    judged.

    Raises:
        DataError: naming what was found, where it begins and which setting would declare it.

    Example:
        hours in a file declared as minutes:
        >>> check_spacing(hours, "1m", timedelta(minutes=1), "SPY_1m.csv")
        SPY_1m.csv: found bars 1h apart (20 of 20 distances, from 2025-07-01 13:30 UTC), wanted bars 1m apart. …
    """
    stamps = microseconds(opened.drop_nulls().unique().sort())
    distances, wanted = np.diff(stamps), int(length / _MICROSECOND)
    for first, run in _doubtful(distances, wanted):
        common = _wrong(run, wanted)
        if common:
            raise _refused(run, common, int(stamps[first]), interval, name)


def _doubtful(distances: Int64s, wanted: int) -> Iterator[tuple[int, Int64s]]:
    """All distances, the runs and the end, each with its first row, of which too few are what is wanted."""
    if distances.size and (distances == wanted).mean() < 1 - _FINER:
        yield 0, distances
    runs = distances[: distances.size // _RUN * _RUN].reshape(-1, _RUN)
    for row in np.flatnonzero((runs == wanted).mean(axis=1) < 1 - _FINER):
        yield int(row) * _RUN, runs[row]
    last = distances.size - int((distances[::-1] == wanted).argmax()) if distances.size else 0
    if distances.size - last >= _TAIL:
        yield last, distances[last:]


def _wrong(distances: Int64s, wanted: int) -> int:
    """The commonest distance where it shows another interval than `wanted`, else 0."""
    values, counts = np.unique(distances, return_counts=True)
    common = int(values[counts.argmax()])
    finer = counts[values < wanted].sum() / distances.size
    if common < wanted or finer > _FINER:
        return common if common < wanted else int(values[0])
    longer = [common, *(step for step in _STEPS if wanted < step < common)]
    thin = all(counts[values % step == 0].sum() / distances.size < _ON_GRID for step in longer)
    return 0 if common == wanted or thin else common


def _refused(distances: Int64s, common: int, since: int, interval: str, name: str) -> DataError:
    found, first = spelled(common), pl.Series([since]).cast(pl.Datetime("us", "UTC"))[0]
    share = f"{int((distances == common).sum())} of {distances.size} distances, from {first:%Y-%m-%d %H:%M} UTC"
    return DataError(name, found=f"bars {found} apart ({share})", wanted=f"bars {interval} apart", mend=_mend(found, interval))


def _mend(found: str, interval: str) -> str:
    try:
        return (
            f"set `files.interval: {file_interval(found)}` of the symbol in universe.yaml where the whole file is so, "
            f"or bring bars of {interval}"
        )
    except ValueError:
        return (
            f"bring bars of {interval}, or of a length that `files.interval` of the symbol in universe.yaml may name (up to 1d)"
        )


def spelled(microsecond_count: int) -> str:
    """A length as a timeframe where it is one, such as 1h; else in seconds."""
    seconds, rest = divmod(microsecond_count, _SECOND)
    units = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
    unit = next(((name, size) for name, size in units if seconds and seconds % size == 0 and not rest), None)
    return f"{seconds // unit[1]}{unit[0]}" if unit else f"{microsecond_count / _SECOND:g} seconds"
