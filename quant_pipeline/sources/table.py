"""One file to a table of what it says: encoding, packing, header line; text stays text, with the line it stands on."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import polars as pl

from quant_pipeline.config.universe import FileFormat
from quant_pipeline.errors import DataError

SUFFIXES = (".parquet", ".csv", ".csv.gz")
"""Endings of the files that are read, in any case."""
_SEPARATORS = ",;\t|"
_ABSENT_TEXT = ["", "NA", "N/A", "null", "NULL", "None"]
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff")
_HEAD = 65_536
_TITLE_LINES = 10
_BARS_COLUMNS = {"open", "high", "low", "close"}


class Table(NamedTuple):
    """What a file says: its columns under their own names, and the line of each row (CSV) or its number + 1 (Parquet)."""

    frame: pl.DataFrame
    lines: pl.Series
    text: bool


def read_table(path: Path, settings: FileFormat) -> Table:
    """The file as it is; a CSV's values are text, its blank lines left out.

    Columns of one name are told apart by polars' `_duplicated_N`; without a header, columns are named by position from 1.

    Raises:
        DataError: a file that is damaged, empty, no text, or whose first line is no header.
    """
    try:
        if path.suffix.lower() == ".parquet":
            frame = pl.read_parquet(path)
            return Table(frame, pl.int_range(2, frame.height + 2, eager=True), text=False)
        return _read_csv(_text(path), path.name, settings)
    except pl.exceptions.NoDataError:
        raise DataError(str(path), found="an empty file", wanted="a header and bars", mend="check how it was exported") from None
    except (OSError, EOFError, zlib.error, pl.exceptions.PolarsError) as error:
        raise DataError(
            str(path), found=(str(error).splitlines() or [""])[0], wanted=f"a whole {_kind(path)} file",
            mend="copy or export the file again",
        ) from error  # fmt: skip


def _kind(path: Path) -> str:
    return next((suffix[1:] for suffix in reversed(SUFFIXES) if path.name.lower().endswith(suffix)), "csv")


def _text(path: Path) -> bytes:
    """The file's bytes as UTF-8 without a mark; UTF-16 says itself that it is."""
    raw = path.read_bytes()
    raw = gzip.decompress(raw) if path.suffix.lower() == ".gz" else raw
    try:
        if raw.startswith(_WIDE_MARKS):
            return _lines(raw.decode("utf-16").encode())
        text = raw.decode("utf-8-sig").encode() if b"\0" not in raw[:_HEAD] else _no_text(path, "zero bytes, as UTF-16 has")
        return _lines(text)
    except UnicodeDecodeError as error:
        return _no_text(path, f"byte {error.object[error.start]:#04x} at position {error.start}")


def _lines(text: bytes) -> bytes:
    """With lines that end in a line feed, where they all end in a carriage return."""
    return text if b"\n" in text else text.replace(b"\r", b"\n")


def _no_text(path: Path, found: str) -> bytes:
    raise DataError(
        str(path), found=found, wanted=f"a whole {_kind(path)} file in UTF-8, or in UTF-16 with its mark",
        mend="save it as CSV UTF-8, or copy it again if it is damaged",
    )  # fmt: skip


def _read_csv(text: bytes, name: str, settings: FileFormat) -> Table:
    body = text.split(b"\n", settings.skip_lines)[-1] if settings.skip_lines else text
    head = [line.rstrip("\r") for line in body[:_HEAD].decode(errors="replace").split("\n")]
    separator = max(_SEPARATORS, key=head[0].count)
    if settings.header:
        _check_header(head, name, settings)
    check_end(body, name)
    try:
        frame = pl.read_csv(
            body, separator=separator, infer_schema=False, null_values=_ABSENT_TEXT, has_header=settings.header,
            raise_if_empty=True,
        )  # fmt: skip
    except pl.exceptions.ComputeError:
        _check_widths(body, separator, name, settings)
        raise
    if not settings.header:
        frame = frame.rename({column: str(position) for position, column in enumerate(frame.columns, 1)})
    first = settings.skip_lines + settings.header + 1
    said = pl.all().str.strip_chars().fill_null("")
    blank = frame.select(pl.all_horizontal(said == "")).to_series()
    return Table(frame.filter(~blank), pl.int_range(first, first + frame.height, eager=True).filter(~blank), text=True)


def _check_header(head: list[str], name: str, settings: FileFormat) -> None:
    """Refuse a first line that holds values, or a title above the header."""
    fields = _fields(head[0])
    place = f"{name}, line {settings.skip_lines + 1}"
    if sum(map(_is_number, fields)) * 2 >= max(len(fields), 2):
        raise DataError(
            place, found=f"values ({', '.join(fields[:3])} …), no header line", wanted="the names of the columns",
            mend="set `files.header: false` of the symbol in universe.yaml, and `files.columns` by position, "
            "such as {1: timestamp, 2: open, 3: high, 4: low, 5: close, 6: volume}",
        )  # fmt: skip
    below = next((row for row, line in enumerate(head[: _TITLE_LINES + 1]) if _names_bars(_fields(line))), 0)
    if below and not _names_bars(fields):
        raise DataError(
            place, found=f"{head[0][:60]!r}, and a header on line {settings.skip_lines + below + 1}",
            wanted="the names of the columns",
            mend=f"set `files.skip_lines: {settings.skip_lines + below}` of the symbol in universe.yaml",
        )  # fmt: skip


LOOKED_AT = 200
"""Lines before the last that tell how long its last value is."""


def check_end(text: bytes, name: str) -> None:
    """Refuse a last line without an end that has fewer values than others, or a last one shorter than theirs: it may be cut.

    Many tools leave the last end out; a value cut to the length of others passes, and differs in its last digits alone.
    """
    *before, rest = text.rsplit(b"\n", LOOKED_AT)
    lines = [line.rpartition(b"\n")[2] for line in before]
    told = [_size(line) for line in lines if re.search(rb"\d", line)]  # a header is as long as it likes
    found = _size(rest)
    if rest.strip() and told and (found[0] < min(told)[0] or found[1] < min(size for _, size in told)):
        raise DataError(
            f"{name}, last line", found=f"{rest[:60].decode(errors='replace')!r}, without an end of line",
            wanted="a line end, without which its last value may be cut",
            mend="wait until it is written whole, copy the file again, or end that line if it is whole",
        )  # fmt: skip


def _size(line: bytes) -> tuple[int, int]:
    """How many values a line has, and how long its last one is."""
    values = re.split(rb"[,;\t|]", line.strip(b'\r"'))
    return len(values), len(values[-1])


def _check_widths(body: bytes, separator: str, name: str, settings: FileFormat) -> None:
    """Refuse the first line that has more values than the first one."""
    lines = csv.reader(io.StringIO(body.decode(errors="replace"), newline=""), delimiter=separator)
    with suppress(csv.Error):
        width = len(next(lines))
        long = next((fields for fields in lines if len(fields) > width), None)
        if long is not None:
            line, more = settings.skip_lines + lines.line_num, len(long) - width
            ends = "give the header a name for it, such as rest" if settings.header else "remove it"
            raise DataError(
                f"{name}, line {line}", found=f"{len(long)} values, {separator.join(long)[:80]!r}",
                wanted=f"{width}, as line {settings.skip_lines + 1} has",
                mend=f"where lines end in a separator, {ends}; where two lines are joined, part them"
                if more == 1 and not long[-1] else "part the line where two are joined, or remove what is too much",
            )  # fmt: skip


def _fields(line: str) -> list[str]:
    separator = max(_SEPARATORS, key=line.count)
    try:
        return next(csv.reader([line.replace("\0", "")], delimiter=separator), [])
    except csv.Error:  # a carriage return inside the line, a field beyond csv's limit
        return line.split(separator)


def _names_bars(fields: list[str]) -> bool:
    return {field.strip().strip("<>").lower() for field in fields} >= _BARS_COLUMNS


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True
