from __future__ import annotations

import errno
import os
from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest

from quant_pipeline.errors import DataError, StorageError
from quant_pipeline.validation.holdout_log import read_test_uses, record_test_use

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)


def test_uses_are_appended_and_read_back(tmp_path):
    record = tmp_path / "lake" / "test_uses.jsonl"
    assert read_test_uses(record).is_empty()
    record_test_use(record, "run 1", NOW, 'skill report of "GC=F"')
    first = record.read_bytes()
    record_test_use(record, "run 2", (NOW + timedelta(days=1)).astimezone(timezone(timedelta(hours=-5))), "again\nafter a change")
    assert record.read_bytes().startswith(first)
    uses = read_test_uses(record)
    assert uses.schema == {"when": pl.Datetime("us", "UTC"), "who": pl.String, "why": pl.String}
    assert uses.rows() == [
        (NOW, "run 1", 'skill report of "GC=F"'),
        (NOW + timedelta(days=1), "run 2", "again\nafter a change"),
    ]


def test_a_full_disk_leaves_the_record_as_it_was(tmp_path, monkeypatch):
    record = tmp_path / "test_uses.jsonl"
    record_test_use(record, "run 1", NOW, "report")
    before = record.read_bytes()
    write = os.write
    answers = iter([lambda file, line: write(file, line[:10]), None])

    def full(file, line):
        answer = next(answers)
        if answer is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return answer(file, line)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StorageError, match="No space left"):
        record_test_use(record, "run 2", NOW, "report")
    assert record.read_bytes() == before


@pytest.mark.parametrize("line", ["not json", '{"who": "x"}', "[1]", '"text"'])
def test_a_line_that_is_no_record_is_named(tmp_path, line):
    record = tmp_path / "test_uses.jsonl"
    record_test_use(record, "run 1", NOW, "report")
    with record.open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(DataError, match="line 2"):
        read_test_uses(record)
