"""The user's own history: one Parquet or CSV file of minutes per symbol, in whatever dialect universe.yaml declares.

What a file does not say (its time zone, whether stamps are opens or closes, what its volume counts) is never guessed:
it is a setting of the symbol (`files`), and a file that needs one it lacks is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from quant_pipeline.config.timeframes import duration
from quant_pipeline.config.universe import Universe
from quant_pipeline.errors import ConfigError, SourceError
from quant_pipeline.sources.base import Fetched
from quant_pipeline.sources.dialect import read_bars

_SUFFIXES = (".parquet", ".csv")
_MINUTE = timedelta(minutes=1)
_Version = tuple[Path, int, int]


@dataclass(frozen=True)
class FilesSource:
    """Minutes from `folder`: `{SYMBOL}_1m.parquet` or `.csv`, or `{SYMBOL}.parquet` or `.csv` where there is no `_1m`.

    The symbol's `files` settings in `universe` say how the file is written; see `FileFormat`. A file is read whole and
    kept, the last one only, until it changes.
    """

    folder: Path
    universe: Universe
    name: str = "files"
    intervals: tuple[str, ...] = ("1m",)
    simulated: bool = False
    whole: bool = True
    _kept: dict[_Version, pl.DataFrame] = field(default_factory=dict, repr=False, compare=False)

    def fetch(self, symbol: str, interval: str, start: datetime, end: datetime) -> Fetched:
        """Bars of the file that open at or after `start` and close at or before `end`; none where the file has none.

        Args:
            symbol: a traded or auxiliary symbol of the universe.
            interval: 1m.
            start: aware, inclusive.
            end: aware.

        Returns:
            The bars in the file's order, repeats and bad prices included.

        Raises:
            ConfigError: unknown symbol or interval, or a file for the symbol in two formats.
            SourceError: no file for the symbol.
            DataError: a file that is not what it should be; the message names the file, the line and the value.
        """
        if interval not in self.intervals:
            raise ConfigError(
                f"interval {interval!r}",
                found="files of minutes only",
                wanted="1m",
                mend="resample: longer bars come from minutes",
            )
        whole = self._read(symbol)
        opened, closed = pl.col("timestamp") >= start, pl.col("timestamp") + duration(interval) <= end
        return Fetched(whole.filter(opened & closed))

    def horizon(self, symbol: str, now: datetime) -> datetime:
        """Close of the file's newest bar, or `now` if that is earlier. Raises as `fetch` does."""
        last: datetime = self._read(symbol)["timestamp"].max()  # type: ignore[assignment]
        return min(now, last + _MINUTE)

    def path(self, symbol: str) -> Path:
        """The file of `symbol`; raises `SourceError` when there is none, `ConfigError` when there are two."""
        for stem in (f"{symbol}_1m", symbol):
            found = [path for suffix in _SUFFIXES if (path := self.folder / f"{stem}{suffix}").is_file()]
            if len(found) > 1:
                raise ConfigError(
                    f"files of {symbol}", found=" and ".join(path.name for path in found), wanted="one of them",
                    mend=f"move the other out of {self.folder}",
                )  # fmt: skip
            if found:
                return found[0]
        raise SourceError(
            f"files of {symbol}", found=f"none in {self.folder}", wanted=f"{symbol}_1m.parquet or {symbol}_1m.csv",
            mend="put the file there, or name its folder with --data",
        )  # fmt: skip

    def _read(self, symbol: str) -> pl.DataFrame:
        settings = self.universe.instrument(symbol).files
        path = self.path(symbol)
        status = path.stat()
        version = (path, status.st_mtime_ns, status.st_size)
        if version not in self._kept:
            frame = read_bars(path, settings, _MINUTE)
            self._kept.clear()
            self._kept[version] = frame
        return self._kept[version]
