"""Files of several symbols: only one's own rows, never another's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from quant_pipeline.config.universe import FileFormat
from quant_pipeline.errors import DataError
from quant_pipeline.sources.dialect import read_bars
from quant_pipeline.sources.own_rows import own_rows
from quant_pipeline.sources.table import Table

START = datetime(2025, 7, 1, 13, 30, tzinfo=UTC)


def bars(price: float, **more: object) -> pl.DataFrame:
    stamps = [START + timedelta(minutes=minute) for minute in range(4)]
    prices = {name: [price] * 4 for name in ("open", "high", "low", "close", "volume")}
    return pl.DataFrame({"timestamp": stamps, **prices, **{name: [value] * 4 for name, value in more.items()}})


@pytest.fixture(params=["csv", "parquet"])
def read(request, tmp_path):
    def _read(frame: pl.DataFrame, of: str = "SPY", **files: object) -> list[float]:
        path = tmp_path / f"{of}_1m.{request.param}"
        frame.write_csv(path) if request.param == "csv" else frame.write_parquet(path)
        return read_bars(path, FileFormat.parse(files, "files"), of)["close"].to_list()

    return _read


@pytest.mark.parametrize("column", ["symbol", "Ticker", "<SYM>", "instrument", "Symbol "])
def test_only_the_own_rows_of_several(read, column):
    many = pl.concat([bars(1.0, **{column: "AAPL"}), bars(2.0, **{column: "SPY"}), bars(3.0, **{column: "SPY.X"})])
    assert read(many.sample(fraction=1, shuffle=True, seed=1)) == [2.0] * 4
    assert read(many, of="QQQ", symbol="AAPL") == [1.0] * 4
    with pytest.raises(DataError, match=r"found 'AAPL', 'SPY', 'SPY\.X', wanted rows of 'QQQ'.*files\.symbol"):
        read(many, of="QQQ")


def test_a_constant_column_that_names_another(read):
    assert read(bars(1.0, symbol="SPY")) == [1.0] * 4
    with pytest.raises(DataError, match=r"found 'XAUUSD', wanted rows of 'GC=F'.*files\.symbol"):
        read(bars(1.0, symbol="XAUUSD"), of="GC=F")
    assert read(bars(1.0, symbol="XAUUSD"), of="GC=F", symbol="XAUUSD") == [1.0] * 4


def test_rows_that_name_no_symbol_are_not_ones_own(read):
    assert read(pl.concat([bars(1.0, symbol="SPY"), bars(2.0, symbol=None).cast({"symbol": pl.String})])) == [1.0] * 4
    assert read(bars(1.0, symbol=None)) == [1.0] * 4, "a column without any value tells nothing"


def test_numbered_instruments(read):
    assert read(bars(1.0, instrument_id=7)) == [1.0] * 4, "one number is no doubt"
    two = pl.concat([bars(1.0, instrument_id=7), bars(2.0, instrument_id=8)])
    with pytest.raises(DataError, match=r"column 'instrument_id'.*'7', '8'.*files\.symbol"):
        read(two)
    assert read(two, symbol=8) == [2.0] * 4


def test_one_name_of_several_contracts_is_one_series(read):
    rolled = pl.concat([bars(1.0, symbol="SPY", instrument_id=7), bars(1.5, symbol="SPY", instrument_id=8)])
    assert len(read(rolled)) == 8


@pytest.mark.parametrize("symbol", [["SPY"], {"name": "SPY"}, b"SPY"], ids=["list", "struct", "binary"])
def test_a_symbol_that_is_no_text_is_refused(symbol):
    table = Table(pl.DataFrame({"symbol": [symbol], "close": [1.0]}), pl.Series([2]), text=False)
    with pytest.raises(DataError, match=r"SPY.parquet: column 'symbol': found dtype .*wanted text"):
        own_rows(table, FileFormat(), "SPY", "SPY.parquet")
