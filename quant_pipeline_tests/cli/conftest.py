"""What an error at the shell must look like, and bars of one's own in a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from quant_pipeline import errors

START = datetime(2026, 10, 26, tzinfo=UTC)
MINUTES = 22 * 1_440
# Dagster says these, at any moment, when a full disk keeps it from writing its own log
NOISE = ("Exception while writing logger call to event log", "(Background on this error at")


@pytest.fixture(scope="session")
def refused() -> Callable[..., str]:
    """Checks that a command ended with exit 1 and exactly one line of error, its last; returns that line."""
    names = tuple(name for name in vars(errors) if name.endswith("Error"))

    def check(result, kind: type[errors.QuantError], *words: str) -> str:
        assert result.exit_code == 1, result.output
        lines = [line for line in result.output.strip().splitlines() if not line.startswith(NOISE)]
        told = [line for line in lines if line.startswith(names)]
        assert told == lines[-1:], result.output
        assert issubclass(getattr(errors, told[0].partition(":")[0]), kind)
        for word in (*words, ": found ", ", wanted ", ". To mend: "):
            assert word in told[0]
        assert "Traceback" not in result.output
        return told[0]

    return check


@pytest.fixture(scope="session")
def minutes() -> pl.DataFrame:
    """Three weeks of good minutes."""
    stamps = pl.datetime_range(START, START + timedelta(minutes=MINUTES), "1m", closed="left", time_unit="us", eager=True)
    wave = (pl.int_range(MINUTES) * 0.01).sin()
    return pl.DataFrame({"timestamp": stamps}).with_columns(
        open=100 + wave, high=102 + wave, low=98 + wave, close=100.5 + wave, volume=1.0
    )


@dataclass(frozen=True)
class Folder:
    """The user's own bar files."""

    path: Path

    def put(self, frame: pl.DataFrame | bytes, kind: str = "parquet") -> None:
        """Let the symbol's file be this one."""
        for old in self.path.iterdir():
            old.unlink()
        target = self.path / f"BTC-USD_1m.{kind}"
        if isinstance(frame, bytes):
            target.write_bytes(frame)
        else:
            frame.write_parquet(target) if kind == "parquet" else frame.write_csv(target)

    @property
    def arguments(self) -> tuple[str, ...]:
        return ("--profile", "files", "--bars", str(self.path))


@pytest.fixture
def own_bars(tmp_path) -> Folder:
    (tmp_path / "bars").mkdir()
    return Folder(tmp_path / "bars")
