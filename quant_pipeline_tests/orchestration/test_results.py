from __future__ import annotations

from datetime import UTC, datetime

import polars as pl

from quant_pipeline.ledger import Ledger
from quant_pipeline.orchestration.figures import MAX_POINTS, counts, lines, timeline
from quant_pipeline.orchestration.results import markdown_table, pictures, table_result

START = datetime(2026, 1, 1, tzinfo=UTC)
FRAME = pl.DataFrame(
    {"at": pl.datetime_range(START, START.replace(hour=9), "1h", eager=True), "x": [float(i) for i in range(10)]}
)


def test_a_table_tells_rows_span_hash_and_preview():
    metadata = table_result(FRAME, time="at").metadata
    assert (metadata["dagster/row_count"], metadata["columns"]) == (10, 2)
    assert metadata["first"].startswith("2026-01-01 00:00")
    assert metadata["last"].startswith("2026-01-01 09:00")
    assert "| 9 |" in metadata["preview"].value


def test_equal_tables_have_one_data_version_and_others_another():
    versions = [table_result(frame).data_version for frame in (FRAME, FRAME.clone(), FRAME.reverse(), FRAME.head(9))]
    assert versions[0] == versions[1]
    assert len({version.value for version in versions}) == 3


def test_a_ledger_tells_what_was_dropped():
    ledger = Ledger(rows_in=12)
    ledger.drop("duplicate", 2)
    metadata = table_result(FRAME, ledger=ledger).metadata
    assert (metadata["rows_in"], metadata["rows_dropped"]) == (12, 2)
    assert metadata["ledger"].value["dropped"] == {"duplicate": 2}


def test_a_table_without_rows_is_told_too():
    metadata = table_result(FRAME.clear(), time="at").metadata
    assert metadata["dagster/row_count"] == 0
    assert "first" not in metadata


def test_markdown_has_a_line_per_row_and_cuts_columns():
    wide = pl.DataFrame({f"c{i}": [i] for i in range(20)})
    text = markdown_table(wide, columns=3).splitlines()
    assert text == ["| c0 | c1 | c2 |", "|---|---|---|", "| 0 | 1 | 2 |"]


def test_cells_are_no_python():
    text = markdown_table(pl.DataFrame({"at": [START], "ok": [True], "why": [["a", "b"]], "none": [None]})).splitlines()
    assert text[2] == "| 2026-01-01 00:00 | yes | a, b |  |"


def test_a_cell_cannot_break_its_table():
    text = markdown_table(pl.DataFrame({"reason": ["a | b\nc"]})).splitlines()
    assert text[2] == "| a \\| b c |"


def test_pictures_are_png_inside_the_page():
    splits = pl.DataFrame(
        {"fold": ["fold_00", "fold_00"], "role": ["train", "oof"], "start": [START, START], "end": [START.replace(day=2)] * 2}
    )
    for figure in (lines(FRAME, "at", ["x"], "x"), counts({"a": 1.0, "b": 0.5}, "n"), timeline(splits, "folds")):
        told = pictures(figure)
        assert told["picture_in_full"].value.startswith("![picture](data:image/png;base64,iVBOR")
        assert "data:image/svg+xml" in told["picture"].value


def test_long_lines_are_thinned():
    long = pl.DataFrame({"at": range(9_999), "x": range(9_999)})
    drawn = lines(long, "at", ["x"], "x").axes[0].lines[0]
    assert len(drawn.get_xdata()) <= MAX_POINTS * 2
