"""The user's own files: names, dialects, conventions, and every bad input with the words of its error."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from quant_pipeline.bars.schema import BARS_SCHEMA
from quant_pipeline.config.universe import Universe
from quant_pipeline.errors import ConfigError, DataError, SourceError
from quant_pipeline.sources.files import FilesSource
from quant_pipeline.sources.ingest import ingest
from quant_pipeline.sources.store import RawStore

START = datetime(2025, 7, 1, 13, 30, tzinfo=UTC)  # 09:30 in New York
EVER = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC))
COUNT = 5


def table(**columns: object):
    values = {
        "timestamp": [START + timedelta(minutes=minute) for minute in range(COUNT)],
        **{
            price: [100.0 + minute + extra for minute in range(COUNT)]
            for price, extra in (("open", 0), ("high", 1), ("low", -1), ("close", 0.5))
        },
        "volume": [10.0 * minute for minute in range(COUNT)],
    }
    return pl.DataFrame(values | columns)


GOOD = table().cast(dict(BARS_SCHEMA))


def universe(**files: object):
    risk = {"max_leverage": 1, "max_drawdown_pct": 1, "max_position_pct": 1}
    symbol = {"calendar": "24/7", "costs": {"fee_bps": 1}, "risk": risk, "files": files}
    return Universe.parse({"symbols": {"GC=F": symbol}, "auxiliary": {"^IRX": {"calendar": "NYSE"}}}, "test")


@pytest.fixture
def read(tmp_path):
    """Write text, bytes or a table under a name, read it back through the source."""

    def _read(content, name="GC=F_1m.csv", symbol="GC=F", **files: object):
        path = tmp_path / name
        if isinstance(content, pl.DataFrame):
            (content.write_parquet if path.suffix == ".parquet" else content.write_csv)(path)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return FilesSource(tmp_path, universe(**files)).fetch(symbol, "1m", *EVER).frame

    return _read


@pytest.mark.parametrize("name", ["GC=F_1m.parquet", "GC=F_1m.csv", "GC=F.parquet", "GC=F.csv"])
def test_names(read, name):
    assert read(table(), name).equals(GOOD)


def test_plain_names_only_where_there_is_no_1m(tmp_path):
    table().write_parquet(tmp_path / "GC=F_1m.parquet")
    table(open=[0.0] * COUNT).write_parquet(tmp_path / "GC=F.parquet")
    assert FilesSource(tmp_path, universe()).path("GC=F").name == "GC=F_1m.parquet"


def test_two_formats_are_refused(tmp_path):
    table().write_parquet(tmp_path / "GC=F_1m.parquet")
    table().write_csv(tmp_path / "GC=F_1m.csv")
    with pytest.raises(ConfigError, match=r"GC=F_1m\.csv and GC=F_1m\.parquet"):
        FilesSource(tmp_path, universe()).fetch("GC=F", "1m", *EVER)


def test_no_file(tmp_path):
    with pytest.raises(SourceError, match=r"none in .*wanted GC=F_1m\.parquet or \.csv, or GC=F\.parquet or \.csv.*--bars"):
        FilesSource(tmp_path, universe()).fetch("GC=F", "1m", *EVER)


def test_symbols_and_intervals(tmp_path, read):
    with pytest.raises(ConfigError, match="did you mean 'GC=F'"):
        FilesSource(tmp_path, universe()).fetch("GC=G", "1m", *EVER)
    with pytest.raises(ConfigError, match="5m"):
        FilesSource(tmp_path, universe()).fetch("GC=F", "5m", *EVER)
    assert read(table(), "^IRX_1m.parquet", "^IRX").equals(GOOD)


def test_span_and_horizon(tmp_path):
    table().write_parquet(tmp_path / "GC=F.parquet")
    source = FilesSource(tmp_path, universe())
    minute = timedelta(minutes=1)
    assert source.fetch("GC=F", "1m", START + minute, START + 3 * minute).frame.equals(GOOD[1:3])
    assert source.fetch("GC=F", "1m", START - 9 * minute, START).frame.is_empty()
    assert source.horizon("GC=F", EVER[1]) == START + COUNT * minute
    assert source.horizon("GC=F", START) == START


def test_a_changed_file_is_read_again(tmp_path):
    path = tmp_path / "GC=F.parquet"
    table().write_parquet(path)
    source = FilesSource(tmp_path, universe())
    assert source.fetch("GC=F", "1m", *EVER).frame.height == COUNT
    table()[:3].write_parquet(path)
    assert source.fetch("GC=F", "1m", *EVER).frame.height == 3


@pytest.mark.parametrize(
    "names",
    [
        ("Datetime", "Open", "High", "Low", "Close", "Volume"),
        ("date", "o", "h", "l", "c", "v"),
        ("Open time", "price_open", "price_high", "price_low", "price_close", "Vol"),
        ("<TIME>", "<OPEN>", "<HIGH>", "<LOW>", "<CLOSE>", "<VOL>"),
        ("Date Time", "Open Price", "High Price", "Low Price", "Close Price", "real_volume"),
    ],
)
def test_aliases(read, names):
    renamed = table().rename(dict(zip(BARS_SCHEMA, names, strict=True))).with_columns(comment=pl.lit("x"))
    assert read(renamed, "GC=F.parquet").equals(GOOD)


def test_columns_beat_aliases(read):
    odd = table().rename({"close": "settle", "open": "first_trade"}).with_columns(close=pl.lit(1.0))
    assert read(odd, "GC=F.parquet", columns={"settle": "close", "first_trade": "open"}).equals(GOOD)


@pytest.mark.parametrize(
    ("columns", "error", "words"),
    [
        ({"settle": "close"}, DataError, "column 'settle'.*only the columns timestamp, open"),
        ({"open": "opening"}, ConfigError, "files.columns.open.*'opening'.*one of timestamp, open"),
    ],
)
def test_columns_that_do_not_fit(read, columns, error, words):
    with pytest.raises(error, match=words):
        read(table(), "GC=F.parquet", columns=columns)


def test_two_columns_for_one_are_refused(read):
    with pytest.raises(DataError, match=r"column 'close'.*'close' \(column 5\) and 'last' \(column 7\).*files\.columns"):
        read(table().with_columns(last=pl.lit(1.0)), "GC=F.parquet")


def test_date_and_time_in_two_columns(read):
    header = "<DATE> <TIME> <OPEN> <HIGH> <LOW> <CLOSE> <TICKVOL> <VOL> <SPREAD>"
    text = f"{header}\n2025.07.01 09:30:00 1 2 0.5 1.5 7 0 3\n".replace(" ", "\t")
    frame = read(text, timezone="America/New_York", volume="tick")
    assert frame.rows() == [(START, 1.0, 2.0, 0.5, 1.5, 7.0)]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separators_and_byte_order_mark(read, separator):
    assert read("\ufeff" + table().write_csv(separator=separator)).equals(GOOD)


def test_blank_lines_are_nothing(read):
    assert read("\n".join(table().write_csv().splitlines()[:3]) + "\n\n\n").equals(GOOD[:2])


def test_volume_real_tick_absent(read):
    ticks = table().rename({"volume": "tick_volume"})
    assert read(ticks, "GC=F.parquet", volume="tick").equals(GOOD)
    assert read(table(), "GC=F.parquet", volume="tick").equals(GOOD), "a plain volume column may count ticks"
    absent = GOOD.with_columns(volume=pl.lit(None, pl.Float64))
    assert read(table(), "GC=F.parquet", volume="absent").equals(absent)
    assert read(table().drop("volume"), "GC=F.parquet", volume="absent").equals(absent)
    assert read(table(volume=[None] * COUNT), "GC=F.parquet").equals(absent)
    for wrong in (ticks, table().drop("volume")):
        with pytest.raises(DataError, match=r"column 'volume'.*files\.volume.*absent.*tick"):
            read(wrong, "GC=F.parquet")


def test_close_stamps(read):
    closes = table(timestamp=[START + timedelta(minutes=minute + 1) for minute in range(COUNT)])
    assert read(closes, "GC=F.parquet", stamp="close").equals(GOOD)
    last_moments = closes.with_columns(pl.col("timestamp") - timedelta(milliseconds=1))
    assert read(last_moments, "GC=F.parquet", stamp="close").equals(GOOD)


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_units_and_zones_of_parquet(read, unit):
    zoned = table().with_columns(pl.col("timestamp").dt.cast_time_unit(unit).dt.convert_time_zone("Asia/Tokyo"))
    assert read(zoned, "GC=F.parquet").equals(GOOD)
    naive = zoned.with_columns(pl.col("timestamp").dt.replace_time_zone(None))
    assert read(naive, "GC=F.parquet", timezone="Asia/Tokyo").equals(GOOD)


def test_nothing_is_lost_when_a_file_turns_bad(tmp_path):
    """A file that was fine and is cut short later: an error, and what was ingested is still there."""
    path, store = tmp_path / "GC=F.parquet", RawStore(tmp_path / "raw")
    table().write_parquet(path)
    world = universe()
    source = FilesSource(tmp_path, world)
    ingest(source, store, "GC=F", world.instrument("GC=F"), start=START, now=EVER[1])
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"GC=F\.parquet.*a whole parquet file"):
        ingest(source, store, "GC=F", world.instrument("GC=F"), start=START, now=EVER[1])
    assert store.read("GC=F", "1m").equals(GOOD)


HEADER = "timestamp,open,high,low,close,volume\n"
ROW = "2025-07-01T13:30:00Z,1,2,0.5,1.5,10\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "an empty file"),
        (HEADER, "no rows"),
        (
            HEADER.replace("low,", "") + ROW.replace("0.5,", ""),
            "column 'low'.*only the columns timestamp, open, high, close, volume",
        ),
        (HEADER.replace("timestamp", "when") + ROW, "column 'timestamp'.*only the columns when, open"),
        (HEADER + ROW + ROW.replace("1.5", "n.a.") + ROW, r"column 'close', data row 2 \(line 3 of a CSV\).*'n\.a\.'.*a number"),
        (HEADER + ROW + "Total,,,,,10\n", r"column 'timestamp', data row 2 \(line 3.*'Total'.*a time such as"),
        (HEADER + ROW + HEADER, r"data row 2 \(line 3.*'timestamp'"),
        (HEADER + ROW + ROW.replace("Z", ""), "mixed time zones: '2025-07-01T13:30:00' has none, others have Z"),
        (HEADER + ROW + ROW.replace("Z", "+09:00"), r"mixed time zones: Z, \+09:00"),
        (HEADER + ROW.replace("Z", ""), r"2025-07-01 13:30:00 without a time zone.*files\.timezone"),
        (HEADER + "2025-07-01T13:30:00Z,1,2,0.5,1.5,10,11,12\n", "line 2: found 8 values.*wanted 6, as line 1 has"),
        (b"PAR1\xff\xfe\x00\x00", "zero bytes.*a whole csv file"),
        (HEADER + ",1,2,0.5,1.5,10\n" + ROW, "column 'timestamp'.*nothing in row 0"),
    ],
)
def test_bad_text(read, content, words):
    with pytest.raises(DataError, match=words) as error:
        read(content)
    assert "To mend" in str(error.value)


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (table().drop("low"), "column 'low'.*only the columns timestamp, open, high, close, volume"),
        (table(open=["1"] * COUNT), "column 'open'.*dtype String, such as '1'.*a number"),
        (table(timestamp=[START.date()] * COUNT), "column 'timestamp'.*dtype Date"),
        (table(timestamp=[START.replace(tzinfo=None)] * COUNT), r"without a time zone.*files\.timezone"),
        (table(timestamp=[None, *[START] * (COUNT - 1)]), "nothing in row 0"),
        (table()[:0], "no rows"),
    ],
)
def test_bad_parquet(read, frame, words):
    with pytest.raises(DataError, match=words) as error:
        read(frame, "GC=F.parquet")
    assert "To mend" in str(error.value)


def test_not_parquet_at_all(read):
    with pytest.raises(DataError, match="a whole parquet file"):
        read(b"", "GC=F.parquet")


def test_bad_prices_pass_for_cleaning_to_judge(read):
    text = (
        HEADER
        + ROW
        + ROW.replace("1.5", "NaN")
        + ROW.replace(",2,", ",inf,")
        + ROW.replace(",10", ",-10")
        + ROW.replace("0.5", "")
    )
    frame = read(text)
    assert frame.height == 5
    assert frame["close"].is_nan().to_list() == [False, True, False, False, False]
    assert frame["high"].is_infinite().any()
    assert frame["volume"].min() == -10
    assert frame["low"].null_count() == 1
