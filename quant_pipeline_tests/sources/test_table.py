"""What a file says: encodings, packing, header lines, decimal signs, names that stand twice; each with its mend."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime

import pytest

from quant_pipeline.config.universe import FileFormat, Universe
from quant_pipeline.errors import DataError, SourceError
from quant_pipeline.sources.dialect import read_bars
from quant_pipeline.sources.files import FilesSource

HEADER = "timestamp,open,high,low,close,volume"
ROWS = [f"2025-07-01 13:{minute}:00Z,100.5,101.5,99.5,100.25,{minute}" for minute in range(30, 34)]
TEXT = "\n".join([HEADER, *ROWS]) + "\n"
BY_POSITION = {1: "timestamp", 2: "open", 3: "high", 4: "low", 5: "close", 6: "volume"}


@pytest.fixture
def read(tmp_path):
    def _read(content, name="SPY_1m.csv", **files: object):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_bars(path, FileFormat.parse(files, "files"), "SPY")

    return _read


@pytest.fixture
def whole(read):
    return read(TEXT)


def universe(**files: object):
    risk = {"max_leverage": 1, "max_drawdown_pct": 1, "max_position_pct": 1}
    symbol = {"calendar": "24/7", "costs": {"fee_bps": 1}, "risk": risk, "files": files}
    return Universe.parse({"symbols": {"SPY": symbol}}, "test")


def test_the_bars(whole):
    assert whole.height == 4
    assert whole.row(0) == (datetime(2025, 7, 1, 13, 30, tzinfo=UTC), 100.5, 101.5, 99.5, 100.25, 30.0)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_encodings_and_line_endings(read, whole, encoding, ending):
    marks = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}
    assert read(marks.get(encoding, b"") + TEXT.replace("\n", ending).encode(encoding)).equals(whole)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (TEXT.encode("utf-16-le"), "zero bytes, as UTF-16 has.*CSV UTF-8"),
        (TEXT.replace("timestamp", "zeit\u00e4").encode("latin-1"), "byte 0xe4 at position 4.*CSV UTF-8"),
        (gzip.compress(TEXT.encode(), mtime=0)[:-20], "a whole csv.gz file"),
    ],
)
def test_what_is_no_text(read, content, words):
    with pytest.raises(DataError, match=words) as error:
        read(content, "SPY_1m.csv.gz" if content[:2] == b"\x1f\x8b" else "SPY_1m.csv")
    assert "Unicode" not in str(error.value)
    assert "Error:" not in str(error.value)


@pytest.mark.parametrize("name", ["SPY_1m.CSV", "SPY_1m.csv.gz", "SPY_1m.CSV.GZ", "SPY.Csv", "SPY_1m.PARQUET"])
def test_endings_of_any_case_and_packed(tmp_path, whole, name):
    (tmp_path / "SPY_1m.csv").unlink()
    content = gzip.compress(TEXT.encode(), mtime=0) if name.lower().endswith("gz") else TEXT.encode()
    if "PARQUET" in name:
        whole.write_parquet(tmp_path / name)
    else:
        (tmp_path / name).write_bytes(content)
    source = FilesSource(tmp_path, universe())
    assert source.fetch("SPY", "1m", datetime(2025, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)).frame.equals(whole)


@pytest.mark.parametrize(
    ("there", "words"),
    [
        ("SPY_1h.csv", "set `files.interval: 1h`"),
        ("SPY.xlsx", "only SPY.xlsx .*export it as Parquet or CSV"),
        ("spy_1m.csv", "only spy_1m.csv"),
        ("QQQ_1m.csv", "name its folder with --bars"),
    ],
)
def test_a_file_that_is_nearly_there_is_named(tmp_path, there, words):
    (tmp_path / there).write_text(TEXT)
    with pytest.raises(SourceError, match=words):
        FilesSource(tmp_path, universe()).path("SPY")


@pytest.mark.parametrize("count", [6, 12])
def test_no_header_line(read, whole, count):
    text = "".join(row + ",1" * (count - 6) + "\n" for row in ROWS)
    with pytest.raises(DataError, match=r"line 1.*no header line.*files\.header: false.*files\.columns.*1: timestamp, 2: open"):
        read(text)
    assert read(text, header=False, columns=BY_POSITION).equals(whole)


def test_no_header_and_date_and_time_apart(read, whole):
    text = "".join(row.replace(" ", ",").replace("-", ".").replace("Z", "") + "\n" for row in ROWS)
    columns = {1: "timestamp", 2: "timestamp", 3: "open", 4: "high", 5: "low", 6: "close", 7: "volume"}
    assert read(text, header=False, columns=columns, timezone="UTC").equals(whole)


@pytest.mark.parametrize("titles", [["SPY bars"], ["# exported, by us", "", "all, rights; reserved"]])
def test_title_lines_above_the_header(read, whole, titles):
    text = "\n".join([*titles, TEXT])
    with pytest.raises(DataError, match=rf"line 1.*a header on line {len(titles) + 1}.*files\.skip_lines: {len(titles)}`"):
        read(text)
    assert read(text, skip_lines=len(titles)).equals(whole)


def test_lines_are_counted_as_the_file_has_them(read):
    text = "\n".join(["a title", HEADER, ROWS[0], "", ROWS[1], ROWS[2].replace("100.25", "halted"), ""])
    with pytest.raises(DataError, match=r"data row 3 \(line 6 of a CSV\).*'halted'"):
        read(text, skip_lines=1)
    with pytest.raises(DataError, match=r"\(line 3 of a CSV\).*'noon'"):
        read("\n".join([HEADER, ROWS[0], ROWS[1].replace("2025-07-01 13:31:00Z", "noon"), ""]))


def test_decimal_commas(read, whole):
    text = TEXT.replace(",", ";").replace(".", ",")
    with pytest.raises(DataError, match=r"'100,5'.*files\.decimal: \",\""):
        read(text)
    assert read(text, decimal=",").equals(whole)
    with pytest.raises(DataError, match=r"'1\.100,5'.*a number"):
        read(text.replace("100,5", "1.100,5"), decimal=",")


@pytest.mark.parametrize(
    "names",
    [
        "close,close",
        "close,Close",
        "close, close",
        "<CLOSE>,close",
        "close,close.1",
        "Close,close_duplicated_0",
        "close,close,close",
    ],
)
def test_two_columns_of_one_name_are_refused_until_one_is_chosen(read, whole, names):
    more = names.count(",")
    text = "\n".join([HEADER.replace("close", names), *(row.replace("100.25", "100.25" + ",1.5" * more) for row in ROWS), ""])
    with pytest.raises(DataError, match=r"column 'close'.*\(column 5\) and .*\(column 6\).*files\.columns.*\{5: close\}"):
        read(text)
    assert read(text, columns={5: "close"}).equals(whole)
    assert read(text, columns={"6": "close"})["close"].to_list() == [1.5] * 4


def test_two_columns_of_time(read):
    text = TEXT.replace("timestamp", "time,Time").replace("Z,", "Z,2025-07-01 13:30:00Z,")
    with pytest.raises(DataError, match=r"column 'timestamp'.*'time' \(column 1\) and 'Time' \(column 2\)"):
        read(text)


def test_lines_that_end_in_carriage_returns(read, whole):
    assert read(TEXT.replace("\n", "\r")).equals(whole)


@pytest.mark.parametrize("first", ["a," * 200_000, f'"{"a" * 200_000}"', "\r,\r,"])
def test_a_header_that_is_none_is_refused(read, first):
    with pytest.raises(DataError, match="To mend"):
        read(f"{first}\n{TEXT}")


@pytest.mark.parametrize("cut", [4, 8, 12, 30])
@pytest.mark.parametrize("header", [True, False])
def test_a_last_line_that_is_cut_is_refused(read, cut, header):
    content = TEXT[:-cut] if header else TEXT.partition("\n")[2][:-cut]
    with pytest.raises(DataError, match=r"last line: found '2025-07-01 .*without an end of line.*until it is written"):
        read(content, header=header, columns={} if header else BY_POSITION)


@pytest.mark.parametrize("last", ["59502.", "59502", "59502.5,", "5"])
def test_a_last_number_that_may_be_cut_is_refused(read, last):
    """Shorter than every one before: of a line that seems whole nobody can tell whether its close was 59502 or 59502.59."""
    text = f"time,volume,open,high,low,close\n2025-07-01 13:30:00Z,1,2,60000,1,59501.5\n2025-07-01 13:31:00Z,1,2,60000,1,{last}"
    with pytest.raises(DataError, match=r"last line: found .*without an end of line.*end that line if it is whole"):
        read(text)
    if "," not in last:
        assert read(f"{text}\n")["close"].to_list() == [59501.5, float(last)]


@pytest.mark.parametrize("last", ["59502.59", "59502.5"])
def test_a_last_line_without_an_end_is_read_as_many_tools_write_it(read, last):
    text = f"time,volume,open,high,low,close\n2025-07-01 13:30:00Z,1,2,60000,1,59501.5\n2025-07-01 13:31:00Z,1,2,60000,1,{last}"
    assert read(text)["close"].to_list() == [59501.5, float(last)]


def test_lines_that_end_in_a_separator_are_named_and_the_mend_works(read, whole):
    text = TEXT.replace("\n", ",\n").replace("volume,", "volume", 1)
    with pytest.raises(DataError, match=r"SPY_1m\.csv, line 2: found 7 values.*wanted 6, as line 1 has.*a name.*such as rest"):
        read(text)
    assert read(text.replace("volume", "volume,rest", 1)).equals(whole)
    bare = text.partition("\n")[2]
    assert read(bare, header=False, columns=BY_POSITION).equals(whole)


def test_two_lines_that_are_joined_are_named(read):
    with pytest.raises(DataError, match=r"line 5: found 11 values.*wanted 6, as line 2 has.*part the line") as error:
        read("title\n" + TEXT.replace("32\n2025", "322025"), skip_lines=1)
    assert "found found" not in str(error.value)


@pytest.mark.parametrize("line", ["   ", "\t", " , ,,,, "])
def test_lines_of_spaces_are_blank(read, line):
    assert read(f"{TEXT}{line}\n").equals(read(TEXT))
