"""Files that are either whole or absent, and as they were written: a temporary name, then a rename; a checksum inside.

A power cut keeps to that, too: the disk has the bytes before they get their name, and the name before we go on.

A sealed file (Parquet, HDF5, JSON of state) holds the SHA-256 of its own bytes, taken with the digest's place blank, so
that one flipped bit anywhere is found by whoever reads it, and other tools open the file as any other of its kind.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import sqlite3
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import polars as pl

from quant_pipeline.errors import DataError, StorageError

TEMPORARY = ".partial-"
_SEAL, _DIGITS = b"quant-sha256:", 64
BLANK_SEAL = (_SEAL + b"0" * _DIGITS).decode()
"""What a file must hold once for `seal` to fill in."""
_REFUSALS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
_SQLITE_DAMAGE = ("not a database", "malformed", "file is encrypted", "no such table")
_SQLITE_REFUSALS = ("disk is full", "disk i/o error", "readonly database", "unable to open database")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; when the block ends well, rename it onto `path`.

    Works for a file and for a folder. On any error, the temporary is removed and `path` stays as it was.
    Raises `StorageError` when the disk refuses (full, read-only).
    """
    temporary = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _swap(temporary, path)
    except OSError as error:
        raise StorageError(
            str(path),
            found=f"{type(error).__name__}: {error}",
            wanted="a writable disk with room",
            mend=f"free space or fix permissions under {path.parent}, then run the same command again",
        ) from error
    finally:
        remove(temporary)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`: wait until no other process does; the kernel frees the lock of a killed one.

    Raises `StorageError` when the disk refuses the file.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("w")
    except OSError as error:
        raise StorageError(
            str(path), found=error, wanted="a writable disk with room", mend=f"free space or fix permissions under {path.parent}"
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def refused_by_disk(error: BaseException | None) -> StorageError | None:
    """The refusal of the disk (full, read-only, broken) that `error` comes from, in our words; None for another error.

    For what others write: Dagster's run history is SQLite, which tells a full disk in its own way.
    """
    seen: set[int] = set()  # a cause may lead back to itself
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        told = str(error).lower()
        sqlite = isinstance(error, sqlite3.OperationalError) and any(text in told for text in _SQLITE_REFUSALS)
        if isinstance(error, sqlite3.DatabaseError) and any(text in told for text in _SQLITE_DAMAGE):
            return StorageError(
                "the run history of Dagster", found=f"{type(error).__name__}: {error}", wanted="a database as Dagster wrote it",
                mend="restore the folder data/dagster/history from a backup, or delete it: runs are then forgotten, and the next "
                "`quant run` makes all tables of the experiment again",
            )  # fmt: skip
        if sqlite or (isinstance(error, OSError) and error.errno in _REFUSALS):
            return StorageError(
                str(getattr(error, "filename", None) or "the run history"),
                found=f"{type(error).__name__}: {error}",
                wanted="a writable disk with room",
                mend="free space or fix permissions, then run the same command again",
            )
        error = error.__cause__ or error.__context__
    return None


def _swap(temporary: Path, path: Path) -> None:
    settle(temporary)
    if not temporary.is_dir() and not path.is_dir():
        temporary.replace(path)
        sync(path.parent)
        return
    old = _beside(path)
    if path.exists():
        path.rename(old)
    temporary.rename(path)
    sync(path.parent)
    remove(old)


def settle(path: Path) -> None:
    """Let the disk have a file, or a folder with all that is in it, before it gets its name."""
    for inner in path.rglob("*") if path.is_dir() else ():
        sync(inner)
    sync(path)


def sync(path: Path) -> None:
    """Let the disk have the bytes of a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _beside(path: Path) -> Path:
    """A temporary name that tells which process it belongs to."""
    return path.with_name(f"{TEMPORARY}{os.getpid()}-{uuid.uuid4().hex[:8]}-{path.name}")


def remove(path: Path) -> None:
    """Remove a file or a folder; a missing one is fine."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(NotADirectoryError):
        path.unlink(missing_ok=True)


def sweep(folder: Path) -> int:
    """Remove temporaries under `folder` whose process is gone; return how many."""
    found = list(folder.rglob(f"{TEMPORARY}*")) if folder.exists() else []
    leftovers = [path for path in found if not running(path.name.removeprefix(TEMPORARY).partition("-")[0])]
    for leftover in leftovers:
        remove(leftover)
    return len(leftovers)


def running(pid: str) -> bool:
    """Whether a process of this id is there."""
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically (UTF-8)."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as stable, sorted, indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def write_state(path: Path, value: dict[str, Any]) -> None:
    """Write what a step must remember as sealed JSON, atomically; `read_state` is the way back."""
    with replacing(path) as temporary:
        text = json.dumps(value | {"seal": BLANK_SEAL}, indent=2, sort_keys=True, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")
        seal(temporary)


def read_state(path: Path, mend: str) -> dict[str, Any]:
    """What `write_state` wrote; raises `DataError` for a damaged file, with `mend` as the way out."""
    verify(path, mend)
    state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {name: value for name, value in state.items() if name != "seal"}


def write_parquet(path: Path, frame: pl.DataFrame) -> None:
    """Write `frame` as sealed zstd Parquet, atomically."""
    with replacing(path) as temporary:
        _polars(partial(frame.write_parquet, metadata={"seal": BLANK_SEAL}), temporary)
        seal(temporary)


def read_parquet(path: Path, mend: str, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Read a table, or some of its columns, that `write_parquet` wrote; one that is not as written never comes back.

    Raises `DataError` for a damaged file, with `mend` as the way out.
    """
    verify(path, mend)
    try:
        return pl.read_parquet(path, columns=None if columns is None else list(columns))
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise damaged(path, str(error), mend) from error


def seal(path: Path) -> None:
    """Fill the place of `BLANK_SEAL` in the file with the SHA-256 of its bytes."""
    content = path.read_bytes()
    with path.open("r+b") as stream:
        stream.seek(content.rindex(BLANK_SEAL.encode()) + len(_SEAL))
        stream.write(hashlib.sha256(content).hexdigest().encode())


def verify(path: Path, mend: str) -> None:
    """Raise `DataError` unless the file is as `seal` left it; every version of a file is hashed once a process."""
    try:
        status = path.stat()
        whole = _is_sealed(path, (status.st_mtime_ns, status.st_size, status.st_ino))
    except OSError as error:
        raise damaged(path, str(error), mend) from error
    if not whole:
        raise damaged(path, "its bytes are not those of its checksum, or it has none", mend)


@lru_cache(maxsize=16_384)
def _is_sealed(path: Path, version: tuple[int, int, int]) -> bool:  # noqa: ARG001 - a new version is a new question
    content = path.read_bytes()
    place = content.rfind(_SEAL) + len(_SEAL)
    digest = hashlib.sha256(memoryview(content)[:place])
    digest.update(b"0" * _DIGITS)
    digest.update(memoryview(content)[place + _DIGITS :])
    return content[place : place + _DIGITS] == digest.hexdigest().encode()


def damaged(path: Path, found: str, mend: str) -> DataError:
    """The error for a stored file that does not open as it was written."""
    return DataError(str(path), found=f"a damaged file ({found})", wanted="a file as this pipeline wrote it", mend=mend)


def _polars(write: Callable[..., Any], target: Path) -> None:
    # polars reports a full disk as its own ComputeError on some paths
    try:
        write(target, compression="zstd")
    except pl.exceptions.PolarsError as error:
        raise OSError(str(error)) from error


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def frame_hash(frame: pl.DataFrame) -> str:
    """Hex digest of a frame's columns, dtypes and values; equal frames give equal digests."""
    digest = hashlib.sha256(str(list(zip(frame.columns, map(str, frame.dtypes), strict=True))).encode())
    for column in frame.columns:
        digest.update(frame[column].hash(seed=0).to_numpy().tobytes())
    return digest.hexdigest()
