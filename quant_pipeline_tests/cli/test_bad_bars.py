"""Bars that cannot be used end in one clear line, with everything kept; bars that can be mended come with a ledger."""

from __future__ import annotations

import io
from dataclasses import replace

import dagster as dg
import polars as pl
import pytest

from quant_pipeline.errors import DataError, SourceError
from quant_pipeline.sources.store import RawStore

SYMBOL = "BTC-USD"
ROW = pl.int_range(pl.len())
TEXT = pl.col("timestamp").dt.to_string("%Y-%m-%d %H:%M:%S")


def half_of(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()[: buffer.tell() // 2]


def changed_at(column: str, row: int, value: object) -> pl.Expr:
    return pl.when(row == ROW).then(pl.lit(value)).otherwise(pl.col(column)).alias(column)


def zoned(early: str, late: str) -> pl.Expr:
    """Times as text, with one ending before row 50 and another from there on."""
    return TEXT + pl.when(ROW < 50).then(pl.lit(early)).otherwise(pl.lit(late))


def texted(bars: pl.DataFrame, **changed: pl.Expr) -> pl.DataFrame:
    """The bars as a CSV would tell them, in UTC."""
    return bars.with_columns(**{"timestamp": TEXT + "Z", **changed})


HALTED = pl.when(ROW == 100).then(pl.lit("halted")).otherwise(pl.col("close").cast(pl.String))
NOON = pl.when(ROW == 3).then(pl.lit("noon")).otherwise(TEXT + "Z")
NAIVE = pl.col("timestamp").dt.replace_time_zone(None)
PARQUET = {
    "missing column": (lambda bars: bars.drop("close"), ("column 'close'", "files.columns")),
    "wrong dtype": (lambda bars: bars.with_columns(close=pl.lit("high")), ("column 'close'", "dtype String", "'high'")),
    "naive timestamps": (lambda bars: bars.with_columns(NAIVE), ("without a time zone", "files.timezone")),
    "null timestamp": (lambda bars: bars.with_columns(changed_at("timestamp", 7, None)), ("timestamp", "nothing")),
    "no rows": (lambda bars: bars.clear(), ("no rows",)),
    "truncated": (half_of, ("a whole parquet file",)),
    "no bytes": (lambda _: b"", ("a whole parquet file",)),
    "no parquet": (lambda _: b"PK\x03\x04 something else entirely", ("a whole parquet file",)),
}
CSV = {
    "mixed zones": (lambda bars: texted(bars, timestamp=zoned("+00:00", "-05:00")), ("mixed time zones",)),
    "zone on some rows": (lambda bars: texted(bars, timestamp=zoned("+00:00", "")), ("mixed time zones", "has none")),
    "naive text": (lambda bars: texted(bars, timestamp=TEXT), ("without a time zone", "files.timezone")),
    "text in a price": (lambda bars: texted(bars, close=HALTED), ("line 102", "'halted'", "a number")),
    "text in a time": (lambda bars: texted(bars, timestamp=NOON), ("line 5", "'noon'")),
    "no bytes": (lambda _: b"", ("an empty file",)),
    "header only": (lambda _: b"timestamp,open,high,low,close,volume\n", ("no rows",)),
    "missing column": (lambda bars: texted(bars).drop("open"), ("column 'open'",)),
}
CASES = [pytest.param("parquet", *case, id=f"parquet {name}") for name, case in PARQUET.items()]
CASES += [pytest.param("csv", *case, id=f"csv {name}") for name, case in CSV.items()]


@pytest.fixture(scope="module")
def fed(home_of_nothing, minutes, tmp_path_factory):
    """A home that took in good bars before."""
    home = home_of_nothing.copy(tmp_path_factory.mktemp("fed") / "home")
    folder = tmp_path_factory.mktemp("good")
    minutes.head(20 * 1_440).write_parquet(folder / f"{SYMBOL}_1m.parquet")
    house = home.house()
    with home.runner(replace(house, workplace=replace(house.workplace, profile="files", bars_folder=folder))) as runner:
        runner.materialize([dg.AssetKey("raw_bars")], SYMBOL)
        runner.materialize([dg.AssetKey(["bars", "1m"])], SYMBOL)
    return home


@pytest.mark.parametrize(("kind", "spoil", "words"), CASES)
def test_a_file_that_cannot_be_used_is_refused_and_nothing_is_lost(quant, refused, fed, own_bars, minutes, kind, spoil, words):
    own_bars.put(spoil(minutes), kind)
    before = fed.contents()
    assert before
    refused(quant(fed, "materialize", f"raw_bars/{SYMBOL}", *own_bars.arguments), DataError, f"{SYMBOL}_1m.{kind}", *words)
    assert fed.contents() == before


def test_no_file_at_all_is_refused(quant, refused, fed, own_bars):
    before = fed.contents()
    refused(quant(fed, "materialize", f"raw_bars/{SYMBOL}", *own_bars.arguments), SourceError, "BTC-USD_1m.parquet")
    assert fed.contents() == before


def test_a_file_too_short_to_train_on_is_refused(quant, refused, bare_home, own_bars, minutes):
    own_bars.put(minutes.head(8 * 1_440))
    refused(quant(bare_home, "run", SYMBOL, *own_bars.arguments), DataError, "history")


def with_files(home, own_bars):
    """The house of the user's own files."""
    house = home.house()
    return replace(house, workplace=replace(house.workplace, profile="files", bars_folder=own_bars.path))


def mended(quant, home, own_bars, frame: pl.DataFrame) -> tuple[dict, pl.DataFrame, pl.DataFrame]:
    """Ledger of the minutes, the minutes, and the raw bars, after a file was taken in."""
    own_bars.put(frame)
    for target in ("raw_bars", "bars/1m"):
        assert quant(home, "materialize", f"{target}/{SYMBOL}", *own_bars.arguments).exit_code == 0
    files = with_files(home, own_bars)
    with home.open(files) as instance:
        made = instance.fetch_materializations(dg.AssetRecordsFilter(asset_key=dg.AssetKey(["bars", "1m"])), limit=1).records[0]
    lake = files.workplace.lake
    raw = RawStore(files.workplace.raw).read(SYMBOL, "1m")
    ledger = made.asset_materialization.metadata["ledger"].value
    return ledger, pl.read_parquet(lake / "bars" / "1m" / f"{SYMBOL}.parquet"), raw


def test_duplicated_and_unsorted_rows_are_mended(quant, bare_home, own_bars, minutes):
    shuffled = pl.concat([minutes, minutes[20:25]]).sample(fraction=1, shuffle=True, seed=1)
    _, bars, raw = mended(quant, bare_home, own_bars, shuffled)
    assert raw.equals(minutes)
    assert bars.select("timestamp", "close").equals(minutes.select("timestamp", "close").head(bars.height))
    assert bars.height == 21 * 1_440


def test_a_bar_told_twice_with_other_prices_is_the_last_one_told_and_counted(quant, bare_home, own_bars, minutes):
    second = minutes[20:21].with_columns(close=pl.lit(101.0), high=pl.lit(1e6))
    _, bars, raw = mended(quant, bare_home, own_bars, pl.concat([minutes, second]))
    assert raw.equals(pl.concat([minutes[:20], second, minutes[21:]]))
    assert bars["close"][20] == 101.0
    with bare_home.open(with_files(bare_home, own_bars)) as instance:
        asked = dg.AssetRecordsFilter(asset_key=dg.AssetKey(["raw_bars"]))
        made = instance.fetch_materializations(asked, limit=1).records[0]
    assert made.asset_materialization.metadata["ledger"].value["dropped"] == {"conflicting": 1}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("close", float("nan")),
        ("high", float("inf")),
        ("low", float("-inf")),
        ("open", None),
        ("volume", -1.0),
        ("low", -3.0),
        ("high", 1.0),
    ],
)
def test_a_bar_that_cannot_be_is_dropped_named_and_kept_as_it_came(quant, bare_home, own_bars, minutes, column, value):
    spoiled = minutes.with_columns(changed_at(column, 10, value))
    ledger, bars, raw = mended(quant, bare_home, own_bars, spoiled)
    assert raw.equals(spoiled, null_equal=True)
    assert sum(ledger["dropped"].values()) == 1, ledger
    assert ledger["rows_in"] - 1 == ledger["rows_out"] == bars.height
    assert minutes["timestamp"][10] not in bars["timestamp"]
