from __future__ import annotations

import errno
import json
import os
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import polars as pl
import pytest

from quant_pipeline.errors import DamagedError, DataError, StorageError
from quant_pipeline.validation.holdout_log import count_uses, read_test_uses, record_test_use

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)


def of(bundle: str, day: int = 0) -> dict[str, Any]:
    """A use by `bundle` of the week that begins `day` days after `NOW`."""
    return {"bundle": bundle, "span": week(day)}


def week(day: int) -> tuple[datetime, datetime]:
    return NOW + timedelta(days=day), NOW + timedelta(days=day + 7)


def test_only_another_bundle_on_overlapping_decisions_is_another_use(tmp_path):
    record = tmp_path / "test_uses.jsonl"
    assert count_uses(read_test_uses(record), week(0)) == 0
    for run, (bundle, day) in enumerate([("a", 0), ("a", 0), ("b", 3), ("c", 7), ("d", 8), ("b", 30)]):
        record_test_use(record, f"run {run}", NOW, f"bundle {bundle} of experiment default: skill", **of(bundle, day))
    uses = read_test_uses(record)
    assert count_uses(uses, week(0)) == 3  # a twice, b, and c that shares one decision; d begins a day later
    assert count_uses(uses, week(8)) == 3  # b, c, d
    assert count_uses(uses, week(30)) == 1
    assert count_uses(uses, week(60)) == 0


def test_a_use_recorded_before_spans_were_counts_everywhere_and_its_bundle_once(tmp_path):
    record = tmp_path / "test_uses.jsonl"
    why = "bundle a of experiment default: skill and champion rule"
    old = {"when": NOW.isoformat(), "who": "run 1", "why": why}
    record.write_text("".join(json.dumps(line) + "\n" for line in (old, old | {"why": "looked by hand"})))
    record_test_use(record, "run 2", NOW, why, **of("a"))
    uses = read_test_uses(record)
    assert uses["bundle"].to_list() == [None, None, "a"]
    assert count_uses(uses, week(0)) == 2
    assert count_uses(uses, week(60)) == 2


def test_uses_are_appended_and_read_back(tmp_path):
    record = tmp_path / "lake" / "test_uses.jsonl"
    assert read_test_uses(record).is_empty()
    record_test_use(record, "run 1", NOW, 'skill report of "GC=F"', **of("a"))
    first = record.read_bytes()
    later = (NOW + timedelta(days=1)).astimezone(timezone(timedelta(hours=-5)))
    record_test_use(record, "run 2", later, "again\nafter a change", **of("b", 9))
    assert record.read_bytes().startswith(first)
    uses = read_test_uses(record)
    moment = pl.Datetime("us", "UTC")
    texts, times = dict.fromkeys(("who", "why", "bundle"), pl.String), dict.fromkeys(("when", "start", "end"), moment)
    assert dict(uses.schema) == texts | times
    assert uses.rows() == [
        (NOW, "run 1", 'skill report of "GC=F"', "a", NOW, NOW + timedelta(days=7)),
        (NOW + timedelta(days=1), "run 2", "again\nafter a change", "b", NOW + timedelta(days=9), NOW + timedelta(days=16)),
    ]


def test_a_full_disk_leaves_the_record_as_it_was(tmp_path, monkeypatch):
    record = tmp_path / "test_uses.jsonl"
    record_test_use(record, "run 1", NOW, "report", **of("a"))
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
        record_test_use(record, "run 2", NOW, "report", **of("b"))
    assert record.read_bytes() == before


WHOLE = {"when": NOW.isoformat(), "who": "x", "why": "y"}
BAD = [
    *({"bundle": value} for value in ({"a": 1}, 5, None, ["a"])), {"who": 5}, {"when": "2024-13-01"}, {"start": 5},
    {"when": "2024-05-01T12:00:00"},
]  # fmt: skip


@pytest.mark.parametrize("content", ["", "folder", "dead link"])
def test_a_record_that_holds_nothing_is_damage(tmp_path, content):
    record = tmp_path / "test_uses.jsonl"
    if content == "folder":
        record.mkdir()
    elif content:
        record.symlink_to(tmp_path / "nowhere")
    else:
        record.write_text("")
    with pytest.raises(DamagedError, match="restore the record"):
        read_test_uses(record)
    with pytest.raises(DamagedError, match="restore the record"):
        record_test_use(record, "run 1", NOW, "report", **of("a"))


@pytest.mark.parametrize(
    "line", ["not json", '{"who": "x"}', "[1]", '"text"', "[" * 100_000, *(json.dumps(WHOLE | bad) for bad in BAD)]
)
def test_a_line_that_is_no_record_is_named(tmp_path, line):
    record = tmp_path / "test_uses.jsonl"
    record_test_use(record, "run 1", NOW, "report", **of("a"))
    with record.open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(DataError, match="line 2"):
        read_test_uses(record)
