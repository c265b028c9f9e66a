from __future__ import annotations

import errno
import json
import os
import sqlite3
import subprocess
import sys
from functools import partial
from pathlib import Path

import duckdb
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_pipeline.errors import DamagedError, DataError, StorageError
from quant_pipeline.files import (
    BLANK_SEAL,
    TEMPORARY,
    aware,
    create,
    frame_hash,
    listed,
    locked,
    read_json,
    read_parquet,
    read_records,
    read_state,
    refused_by_disk,
    remove,
    replacing,
    seal,
    sha256,
    stands,
    sweep,
    write_json,
    write_parquet,
    write_state,
    write_text,
)

FRAME = pl.DataFrame({"a": [1, 2, None], "b": [0.5, float("nan"), -0.0], "c": ["x", None, "z"]})


class StopError(Exception):
    pass


def leftovers(folder: Path) -> list[Path]:
    return list(folder.rglob(f"{TEMPORARY}*"))


def write_half(target: Path, error: type[BaseException]) -> None:
    with replacing(target) as temporary:
        temporary.write_text("half")
        raise error


def write_half_a_folder(target: Path) -> None:
    with replacing(target) as temporary:
        temporary.mkdir()
        (temporary / "weights").write_text("half")
        raise StopError


def dead_process() -> int:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def test_a_file_appears_whole_and_leaves_nothing_beside_it(tmp_path):
    target = tmp_path / "deep" / "file.txt"
    with replacing(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
        assert temporary.parent == target.parent
    assert target.read_text() == "new"
    assert not leftovers(tmp_path)


@pytest.fixture
def told(monkeypatch) -> list[tuple[str, int]]:
    """What the disk was asked for, in order: ("sync" or "name", inode)."""
    asked: list[tuple[str, int]] = []

    def spy(place: object, name: str) -> None:
        real = getattr(place, name)

        def call(what: int | Path, *rest: object) -> object:
            asked.append(("sync", os.fstat(what).st_ino) if isinstance(what, int) else ("name", what.stat().st_ino))
            return real(what, *rest)

        monkeypatch.setattr(place, name, call)

    for place, name in ((os, "fsync"), (Path, "rename"), (Path, "replace")):
        spy(place, name)
    return asked


def test_the_disk_has_a_file_before_its_name_and_the_name_before_we_go_on(tmp_path, told):
    write_text(tmp_path / "file", "new")
    file, folder = ((tmp_path / name).stat().st_ino for name in ("file", "."))
    assert told == [("sync", file), ("name", file), ("sync", folder)]


def test_the_disk_has_all_of_a_folder_before_its_name(tmp_path, told):
    with replacing(tmp_path / "model") as temporary:
        (temporary / "deep").mkdir(parents=True)
        (temporary / "deep" / "weights").write_text("new")
    inside = {path.stat().st_ino for path in (tmp_path / "model", *(tmp_path / "model").rglob("*"))}
    assert {inode for kind, inode in told[:3] if kind == "sync"} == inside
    assert told[3:] == [("name", (tmp_path / "model").stat().st_ino), ("sync", tmp_path.stat().st_ino)]


@pytest.mark.parametrize("error", [StopError, KeyboardInterrupt])
def test_a_failed_or_interrupted_write_keeps_the_old_file(tmp_path, error):
    target = tmp_path / "file.txt"
    target.write_text("old")
    with pytest.raises(error):
        write_half(target, error)
    assert target.read_text() == "old"
    assert not leftovers(tmp_path)


def test_a_folder_is_swapped_whole(tmp_path):
    target = tmp_path / "model"
    for name in ("first", "second"):
        with replacing(target) as temporary:
            temporary.mkdir()
            (temporary / name).write_text(name)
    assert [path.name for path in target.iterdir()] == ["second"]
    assert not leftovers(tmp_path)


def test_a_failed_folder_keeps_the_old_one(tmp_path):
    target = tmp_path / "model"
    target.mkdir()
    (target / "weights").write_text("old")
    with pytest.raises(StopError):
        write_half_a_folder(target)
    assert (target / "weights").read_text() == "old"
    assert not leftovers(tmp_path)


def test_a_block_that_wrote_nothing_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match="FileNotFoundError"), replacing(tmp_path / "file"):
        pass


def test_the_error_of_a_refusing_disk_names_path_and_mend(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"To mend: move .*/file away") as caught:
        write_text(tmp_path / "file" / "below.txt", "x")
    assert "below.txt" in str(caught.value)


@pytest.mark.parametrize("wrong", ["folder", "dead link", "loop"])
def test_what_stands_in_the_place_of_a_lock_is_named_with_its_mend(tmp_path, wrong):
    lock = tmp_path / "raw" / ".lock"
    lock.parent.mkdir()
    misplace(lock, wrong)
    if wrong == "dead link":  # opening it would make a file elsewhere, in a folder that is not there
        assert not lock.exists()
    with pytest.raises(StorageError, match=r"To mend: move .*/raw/\.lock away"), locked(lock):
        pass


def misplace(path: Path, wrong: str) -> None:
    """Put what does not belong there in the place of `path`."""
    if wrong == "folder":
        path.mkdir()
    elif wrong == "file":
        path.write_text("x")
    else:
        path.symlink_to(path if wrong == "loop" else path.parent / "no" / "where")


READERS = [read_parquet, partial(read_state, make=dict), read_json, partial(read_records, make=dict, wanted="x")]


@pytest.mark.parametrize("wrong", ["folder", "dead link", "loop"])
@pytest.mark.parametrize("read", READERS)
def test_what_stands_in_the_place_of_a_file_is_damage_and_not_absence(tmp_path, read, wrong):
    misplace(tmp_path / "x", wrong)
    assert stands(tmp_path / "x")
    with pytest.raises(DamagedError, match="restore it"):
        read(tmp_path / "x", "restore it")
    assert not stands(tmp_path / "y" / "z")


@pytest.mark.parametrize("read", READERS)
def test_what_may_never_end_is_not_read(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zeros").symlink_to("/dev/zero")
    for name in ("pipe", "zeros"):
        with pytest.raises(DamagedError, match=r"a pipe, a socket or a device.*restore it"):
            read(tmp_path / name, "restore it")


@pytest.mark.parametrize("wrong", ["file", "dead link", "loop"])
def test_what_stands_in_the_place_of_a_folder_is_damage_and_not_absence(tmp_path, wrong):
    misplace(tmp_path / "x", wrong)
    below = tmp_path / "x" / "y"
    for look in (lambda: stands(below / "z"), lambda: listed(below.parent, "*"), lambda: listed(below, "*")):
        with pytest.raises(DamagedError, match="move away what stands there"):
            look()
    assert listed(tmp_path / "absent", "*") == []


@pytest.mark.parametrize("content", ["[" * 100_000, "{", "", "\xff"])
def test_json_that_is_none_is_damage(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(DamagedError, match="restore it"):
        read_json(path, "restore it")
    with pytest.raises(DamagedError, match="restore it"):
        read_records(path, "restore it", dict, "an object")


@pytest.mark.parametrize("state", [[1], None, "x"])
def test_a_sealed_state_that_is_no_object_is_damage(tmp_path, state):
    path = tmp_path / "x.json"
    path.write_text(json.dumps([state, BLANK_SEAL]))
    seal(path)
    with pytest.raises(DamagedError, match="list instead of names"):
        read_state(path, "restore it", dict)


@pytest.mark.parametrize("told", [{}, {"at": None}, {"at": 5}, {"at": []}, {"at": "2026-13-01"}, {"at": "2026-11-16T00:00:00"}])
def test_a_sealed_state_of_other_names_or_kinds_is_damage(tmp_path, told):
    write_state(tmp_path / "x.json", told)
    with pytest.raises(DamagedError, match=r"damaged file \((KeyError|TypeError|ValueError).*restore it"):
        read_state(tmp_path / "x.json", "restore it", lambda state: aware(state["at"]))


def test_records_come_back_and_a_bad_line_is_named(tmp_path):
    path = tmp_path / "x.jsonl"
    assert read_records(path, "restore it", dict, "an object") == []
    path.write_text('{"a": 1}\n{"a": 2}\n')
    assert read_records(path, "restore it", lambda told: told["a"], "an object") == [1, 2]
    path.write_text('{"a": 1}\n{"b": 2}\n')
    with pytest.raises(DamagedError, match=r"line 2.*wanted an object"):
        read_records(path, "restore it", lambda told: told["a"], "an object")


def test_a_file_is_created_once(tmp_path):
    path = tmp_path / "deep" / "x"
    assert create(path, b"one")
    assert not create(path, b"two")
    assert path.read_bytes() == b"one"
    with pytest.raises(StorageError, match=r"move .*x away"):
        create(path / "below", b"three")


def test_sweep_removes_what_dead_processes_left_and_nothing_else(tmp_path):
    dead = dead_process()
    folder = tmp_path / "a" / f"{TEMPORARY}{dead}-12345678-model"
    (folder / "inside").mkdir(parents=True)
    (tmp_path / f"{TEMPORARY}{dead}-12345678-x.parquet").write_text("half")
    (tmp_path / f"{TEMPORARY}nonsense").write_text("half")
    alive = tmp_path / f"{TEMPORARY}{os.getpid()}-12345678-y.parquet"
    alive.write_text("being written")
    kept = tmp_path / "kept.parquet"
    kept.write_text("whole")
    assert sweep(tmp_path) == 3
    assert sorted(tmp_path.rglob("*.parquet")) == sorted([alive, kept])
    assert not folder.exists()


def test_sweep_of_a_folder_that_is_not_there_is_fine(tmp_path):
    assert sweep(tmp_path / "nowhere") == 0


def test_remove_takes_files_folders_and_nothing(tmp_path):
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    (tmp_path / "file").write_text("x")
    for name in ("folder", "file", "nothing"):
        remove(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_json_is_stable_sorted_and_refuses_nan(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"b": 1, "a": [1.5, None]})
    assert path.read_text() == '{\n  "a": [\n    1.5,\n    null\n  ],\n  "b": 1\n}\n'
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text())["b"] == 1


def test_parquet_comes_back_equal(tmp_path):
    write_parquet(tmp_path / "x.parquet", FRAME)
    assert pl.read_parquet(tmp_path / "x.parquet").equals(FRAME, null_equal=True)


def test_a_stored_table_opens_in_other_tools(tmp_path):
    write_parquet(tmp_path / "x.parquet", FRAME)
    assert duckdb.read_parquet(str(tmp_path / "x.parquet")).select("a", "c").fetchall() == [(1, "x"), (2, None), (None, "z")]


def write_table(path: Path) -> None:
    write_parquet(path, FRAME)


def write_memory(path: Path) -> None:
    write_state(path, {"cutoff": "2026-11-16", "retry": [1, 2]})


STORED = [(write_table, read_parquet), (write_memory, partial(read_state, make=dict))]


@pytest.mark.parametrize(("write", "read"), STORED)
def test_a_flipped_bit_anywhere_in_a_stored_file_is_found(tmp_path, write, read):
    write(tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    for bit in range(len(whole) * 8):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path = tmp_path / str(bit)
        path.write_bytes(flipped)
        with pytest.raises(DataError, match=r"found a damaged file.* To mend: make it again"):
            read(path, "make it again")
        path.unlink()


@pytest.mark.parametrize(("write", "read"), STORED)
def test_a_stored_file_that_is_cut_foreign_or_gone_is_found(tmp_path, write, read):
    path = tmp_path / "x"
    write(path)
    whole = path.read_bytes()
    for content in (b"", whole[:-1], whole + b" ", whole[: len(whole) // 2], b"PAR1 and nothing else", b"{}"):
        path.write_bytes(content)
        with pytest.raises(DataError, match="damaged"):
            read(path, "make it again")
    FRAME.write_parquet(path)
    with pytest.raises(DataError, match="or it has none"):
        read(path, "make it again")
    path.unlink()
    with pytest.raises(DataError, match="No such file"):
        read(path, "make it again")


def test_a_file_that_was_read_and_then_changed_is_read_again(tmp_path):
    path = tmp_path / "x.parquet"
    for frame in (FRAME, FRAME.reverse()):
        write_parquet(path, frame)
        assert read_parquet(path, "make it again").equals(frame)
        assert read_parquet(path, "make it again", columns=["c"]).equals(frame.select("c"))


def test_state_comes_back_equal(tmp_path):
    write_memory(tmp_path / "x.json")
    assert read_state(tmp_path / "x.json", "delete it", dict) == {"cutoff": "2026-11-16", "retry": [1, 2]}


def test_a_sealed_table_of_other_columns_is_damage(tmp_path):
    path, schema = tmp_path / "x.parquet", pl.Schema({"a": pl.Int64(), "b": pl.Float64()})
    write_parquet(path, pl.DataFrame({"b": [1.0], "a": [1]}))
    assert read_parquet(path, "restore it", schema=schema).columns == ["a", "b"]
    for other in ({"a": [1]}, {"a": [1], "b": [1]}, {"a": [1], "b": [1.0], "c": [1]}):
        write_parquet(path, pl.DataFrame(other))
        with pytest.raises(DamagedError, match=r"other columns than this version writes: [bc]\).*restore it"):
            read_parquet(path, "restore it", schema=schema)


def test_sha256_is_that_of_the_bytes(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@given(st.lists(st.tuples(st.integers(-5, 5) | st.none(), st.floats(allow_nan=False) | st.none()), max_size=12), st.data())
def test_equal_frames_hash_equal_and_changed_ones_do_not(rows, data):
    frame = pl.DataFrame(rows, schema={"a": pl.Int64, "b": pl.Float64}, orient="row")
    cut = data.draw(st.integers(0, len(rows)))
    chunked = pl.concat([frame[:cut], frame[cut:]], rechunk=False)
    assert frame_hash(frame) == frame_hash(chunked)
    assert frame_hash(frame) != frame_hash(frame.rename({"a": "c"}))
    assert frame_hash(frame) != frame_hash(frame.with_columns(pl.col("a").cast(pl.Int32)))
    if rows:
        position = data.draw(st.integers(0, len(rows) - 1))
        other = frame.with_columns(a=pl.when(pl.int_range(pl.len()) == position).then(9).otherwise("a"))
        assert frame_hash(frame) != frame_hash(other)
        assert frame_hash(frame) != frame_hash(frame[:-1])


def test_row_order_counts():
    assert frame_hash(FRAME) != frame_hash(FRAME.reverse())


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES])
def test_what_the_disk_refused_is_told_as_such(code):
    found = refused_by_disk(OSError(code, os.strerror(code), "/lake/x"))
    assert isinstance(found, StorageError)
    assert "/lake/x" in str(found)


@pytest.mark.parametrize("code", [errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP])
def test_what_stands_in_the_way_is_told_with_what_to_move(tmp_path, code):
    (tmp_path / "history").write_text("x")
    found = refused_by_disk(OSError(code, os.strerror(code), str(tmp_path / "history")))
    assert f"To mend: move {tmp_path / 'history'} away" in str(found)


def test_a_full_disk_is_seen_behind_the_error_of_a_library():
    outer = RuntimeError("could not write")
    outer.__cause__ = sqlite3.OperationalError("database or disk is full")
    found = refused_by_disk(outer)
    assert found is not None
    assert "disk is full" in str(found)


@pytest.mark.parametrize(
    "error", [sqlite3.OperationalError("no such table: runs"), sqlite3.DatabaseError("database disk image is malformed")]
)
def test_a_damaged_run_history_is_told_with_its_mend(error):
    assert "data/dagster/history" in str(refused_by_disk(error))


@pytest.mark.parametrize(
    "error", [ValueError("x"), FileNotFoundError(errno.ENOENT, "no"), sqlite3.OperationalError("near x: syntax error"), None]
)
def test_other_errors_are_no_matter_of_the_disk(error):
    assert refused_by_disk(error) is None


def test_a_full_disk_keeps_the_old_file_and_leaves_no_half(small_disk):
    disk = small_disk(1)
    write_text(disk / "file.txt", "old")
    with pytest.raises(StorageError, match="No space left"):
        write_text(disk / "file.txt", "x" * 2**21)
    noise = pl.DataFrame({"a": pl.Series(range(400_000)).hash()})
    with pytest.raises(StorageError, match="No space left"):
        write_parquet(disk / "frame.parquet", noise)
    assert [path.name for path in disk.iterdir()] == ["file.txt"]
    assert (disk / "file.txt").read_text() == "old"


def test_a_cause_that_leads_back_to_itself_ends():
    first, second = ValueError("one"), ValueError("two")
    first.__cause__, second.__cause__ = second, first
    assert refused_by_disk(first) is None
    itself = ValueError("alone")
    itself.__cause__ = itself
    assert refused_by_disk(itself) is None
    second.__cause__ = OSError(errno.ENOSPC, "full", "/lake/x")
    assert refused_by_disk(first).thing == "/lake/x"


@pytest.mark.parametrize("in_its_place", ["folder", "full folder", "dead link"])
def test_what_stands_in_the_place_of_a_file_gives_way(tmp_path, in_its_place):
    path = tmp_path / "labels.parquet"
    path.symlink_to(tmp_path / "nowhere") if in_its_place == "dead link" else path.mkdir()
    if in_its_place == "full folder":
        (path / "other").write_text("x")
    write_parquet(path, pl.DataFrame({"a": [1]}))
    assert read_parquet(path, "none")["a"].to_list() == [1]
    assert [each.name for each in tmp_path.iterdir()] == ["labels.parquet"]
