"""The user's own history: one Parquet or CSV file of bars per symbol, in whatever dialect universe.yaml declares.

What a file does not say (its time zone, whether stamps are opens or closes, what its volume counts) is never guessed:
it is a setting of the symbol (`files`), and a file that needs one it lacks is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import polars as pl

from quant_pipeline.bars.native import closes
from quant_pipeline.config.timeframes import duration
from quant_pipeline.config.universe import FileFormat, Universe, file_interval
from quant_pipeline.errors import ConfigError, SourceError
from quant_pipeline.sources.base import Fetched
from quant_pipeline.sources.dialect import read_bars
from quant_pipeline.sources.placing import placed
from quant_pipeline.sources.seconds import to_minutes
from quant_pipeline.sources.spacing import check_spacing
from quant_pipeline.sources.table import SUFFIXES

_Version = tuple[Path, int, int]
_NEAR = 5


class _File(NamedTuple):
    """BARS in the file's order, when each closes, and the close of the last row that was told."""

    bars: pl.DataFrame
    closes: pl.Series
    end: datetime


@dataclass(frozen=True)
class FilesSource:
    """Bars from `folder`: `{SYMBOL}_1m.parquet`, `.csv` or `.csv.gz`, or `{SYMBOL}.parquet` … where there is no `_1m`.

    The symbol's `files` settings in `universe` say how the file is written and how far its bars are apart; see
    `FileFormat`. With an interval of 1h, `{SYMBOL}_1h.parquet` comes first. A file is read whole and kept, the last one
    only, until it changes.
    """

    folder: Path
    universe: Universe
    name: str = "files"
    simulated: bool = False
    whole: bool = True
    _kept: dict[_Version, _File] = field(default_factory=dict, repr=False, compare=False)

    def intervals(self, symbol: str) -> tuple[str, ...]:
        """The one interval that the symbol's file has; 1m where its seconds are joined."""
        return (self.universe.instrument(symbol).files.native,)

    def fetch(self, symbol: str, interval: str, start: datetime, end: datetime) -> Fetched:
        """Bars of the file that open at or after `start` and close at or before `end`; none where the file has none.

        Args:
            symbol: a traded or auxiliary symbol of the universe.
            interval: one of `intervals(symbol)`.
            start: aware, inclusive.
            end: aware. A bar that its session's end cuts closes with it.

        Returns:
            The bars in the file's order, repeats and bad prices included.

        Raises:
            ConfigError: unknown symbol or interval, or a file for the symbol in two formats.
            SourceError: no file for the symbol.
            DataError: a file that is not what it should be; the message names the file, the line and the value.
        """
        if interval not in self.intervals(symbol):
            raise ConfigError(
                f"interval {interval!r} of {symbol}", found="not what its file holds",
                wanted=f"{', '.join(self.intervals(symbol))}, by `files.interval` of the symbol",
                mend="resample: longer bars come from shorter ones",
            )  # fmt: skip
        whole = self._read(symbol)
        return Fetched(whole.bars.filter((whole.bars["timestamp"] >= start) & (whole.closes <= end)))

    def horizon(self, symbol: str, now: datetime) -> datetime:
        """Close of the file's newest bar, or `now` if that is earlier. Raises as `fetch` does."""
        return min(now, self._read(symbol).end)

    def path(self, symbol: str) -> Path:
        """The file of `symbol`; raises `SourceError` when there is none, `ConfigError` when there are two."""
        interval = self.universe.instrument(symbol).files.interval
        names = sorted(path.name for path in self.folder.iterdir() if path.is_file())
        for stem in dict.fromkeys((f"{symbol}_{interval}", f"{symbol}_1m", symbol)):
            found = [name for name in names if name.startswith(stem) and name[len(stem) :].lower() in SUFFIXES]
            if len(found) > 1:
                raise ConfigError(
                    f"files of {symbol}", found=" and ".join(found), wanted="one of them",
                    mend=f"move the other out of {self.folder}",
                )  # fmt: skip
            if found:
                return self.folder / found[0]
        raise _no_file(symbol, interval, self.folder, names)

    def _read(self, symbol: str) -> _File:
        instrument = self.universe.instrument(symbol)
        path = self.path(symbol)
        status = path.stat()
        version = (path, status.st_mtime_ns, status.st_size)
        if version not in self._kept:
            whole = _file(path, instrument.files, symbol, instrument.calendar)
            self._kept.clear()
            self._kept[version] = whole
        return self._kept[version]


def _file(path: Path, settings: FileFormat, symbol: str, calendar: str) -> _File:
    told, length = read_bars(path, settings, symbol), settings.length
    if settings.stamp == "open":
        check_spacing(told["timestamp"], settings.interval, length, path.name)
    bars = placed(told, calendar, length, settings.stamp, path.name)
    if settings.stamp == "close":  # the close of a session may cut its last bar: only opens are evenly apart
        check_spacing(bars["timestamp"], settings.interval, length, path.name)
    shut = closes(bars, calendar, length)
    end: datetime = shut.max()  # type: ignore[assignment]
    if settings.interval == settings.native:
        return _File(bars, shut, end)
    minutes = to_minutes(bars)
    return _File(minutes, closes(minutes, calendar, duration(settings.native)), end)


def _no_file(symbol: str, interval: str, folder: Path, names: list[str]) -> SourceError:
    wanted = f"{symbol}_{interval}.parquet or .csv, or {symbol}.parquet or .csv"
    near = [name for name in names if name.lower().startswith(symbol.lower())][:_NEAR]
    if not near:
        return SourceError(
            f"files of {symbol}",
            found=f"none in {folder}",
            wanted=wanted,
            mend="put the file there, or name its folder with --bars",
        )
    stems = [name.removeprefix(f"{symbol}_").partition(".")[0] for name in near]
    return SourceError(
        f"files of {symbol}", found=f"only {', '.join(near)} in {folder}", wanted=wanted,
        mend=f"set `files.interval: {stems[0]}` of the symbol in universe.yaml, or name the file so"
        if _is_interval(stems[0])
        else "export it as Parquet or CSV under that name",
    )  # fmt: skip


def _is_interval(text: str) -> bool:
    try:
        file_interval(text)
    except ValueError:
        return False
    return True
