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
import stat
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from quant_pipeline.errors import DamagedError, StorageError

T = TypeVar("T")
TEMPORARY = ".partial-"
_SEAL, _DIGITS = b"quant-sha256:", 64
BLANK_SEAL = (_SEAL + b"0" * _DIGITS).decode()
"""What a file must hold once for `seal` to fill in."""
_WAY_OUT = "restore it from a backup, or move away what stands there, then run the same command again"
_REFUSALS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
_IN_THE_WAY = {errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}
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
        raise refusal(path, error) from error
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
        raise refusal(path, error) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def refusal(path: Path, error: Exception) -> StorageError:
    """What the disk, or SQLite for it, said of `path`, with the way out: room and permissions, or what stands in the way."""
    standing = next((place for place in (path, *path.parents) if os.path.lexists(place)), path)
    code = getattr(error, "errno", None)
    wrong = (path.is_dir() or not path.exists()) if standing == path else not standing.is_dir()
    blocked = code in _IN_THE_WAY or (wrong and code not in _REFUSALS)
    way_out = f"move {standing} away" if blocked else f"free space or fix permissions under {path.parent}"
    return StorageError(
        str(path), found=f"{type(error).__name__}: {error}",
        wanted="files and folders as this pipeline makes them" if blocked else "a writable disk with room",
        mend=f"{way_out}, then run the same command again",
    )  # fmt: skip


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
        if isinstance(error, OSError) and error.filename and error.errno in _REFUSALS | _IN_THE_WAY:
            return refusal(Path(os.fsdecode(error.filename)), error)
        if sqlite or (isinstance(error, OSError) and error.errno in _REFUSALS):
            return StorageError(
                "the run history", found=f"{type(error).__name__}: {error}", wanted="a writable disk with room",
                mend="free space or fix permissions, then run the same command again",
            )  # fmt: skip
        error = error.__cause__ or error.__context__
    return None


def _swap(temporary: Path, path: Path) -> None:
    settle(temporary)
    if not temporary.is_dir() and not path.is_dir():
        temporary.replace(path)
        sync(path.parent)
        return
    old = _beside(path)
    if os.path.lexists(path):
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
    found = list(folder.rglob(f"{TEMPORARY}*"))
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


def stands(path: Path) -> bool:
    """Whether anything stands at `path`: what cannot be read there is then damage, a link to nothing or a folder as well.

    Raises `DamagedError` where a file or a link to nothing is in the place of a folder above it.
    """
    for place in (path, *path.parents):
        try:
            place.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise damaged(place, str(error), _WAY_OUT) from error
        if place != path and not place.is_dir():
            raise damaged(place, "no folder, though its place is that of one", _WAY_OUT)
        return place == path
    return False


def listed(folder: Path, pattern: str) -> list[Path]:
    """What matches `pattern` in `folder`, sorted, nothing where it is absent; raises `DamagedError` for one that is no folder.

    Links to nothing are listed too, as long as the last part of `pattern` has a wildcard.
    """
    stands(folder / pattern)
    return sorted(folder.glob(pattern))


def create(path: Path, content: bytes) -> bool:
    """Write a file that must not exist yet, whole or not at all; False when it exists."""
    temporary = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        sync(temporary)
        # a link appears whole and, unlike a rename, never takes the place of what another run wrote meanwhile
        os.link(temporary, path)
        sync(path.parent)
    except OSError as error:
        if isinstance(error, FileExistsError) and error.filename2 is not None:
            return False
        raise refusal(path, error) from error
    finally:
        remove(temporary)
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


def read_json(path: Path, mend: str) -> Any:
    """Any value of JSON; raises `DamagedError` for a file that cannot be read as such, with `mend` as the way out."""
    try:
        return json.loads(_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(path, f"{type(error).__name__}: {error}", mend) from error


def read_records(path: Path, mend: str, make: Callable[[dict[str, Any]], T], wanted: str) -> list[T]:
    """What `make` makes of the JSON object on each line; nothing where there is no file.

    Raises `DamagedError` for a line that `make` or JSON refuses, naming its number, and for a file without any: whoever
    writes records begins with one.
    """
    if not stands(path):
        return []
    try:
        lines = _text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise damaged(path, f"{type(error).__name__}: {error}", mend) from error
    if not lines:
        raise damaged(path, "an empty one", mend)
    return [_record(f"{path}, line {number}", line, mend, make, wanted) for number, line in enumerate(lines, start=1)]


def _record(where: str, line: str, mend: str, make: Callable[[dict[str, Any]], T], wanted: str) -> T:
    try:
        return make(json.loads(line))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        found = f"{line[:80]!r} ({type(error).__name__}: {error})"
        raise DamagedError(where, found=found, wanted=wanted, mend=mend) from error


def read_state(path: Path, mend: str, make: Callable[[dict[str, Any]], T]) -> T:
    """What `make` makes of what `write_state` wrote.

    Raises `DamagedError`, with `mend` as the way out, for a damaged file and for one that `make` refuses: a version of
    this package that writes other names or kinds of values seals it as well.
    """
    verify(path, mend)
    state = read_json(path, mend)
    if not isinstance(state, dict):
        raise damaged(path, f"{type(state).__name__} instead of names and values", mend)
    try:
        return make({name: value for name, value in state.items() if name != "seal"})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise damaged(path, f"{type(error).__name__}: {error}", mend) from error


def aware(text: str) -> datetime:
    """A moment as state holds it, with its zone; raises `ValueError` for one without."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment


def _text(path: Path) -> str:
    _demand_end(path.stat())
    return path.read_text(encoding="utf-8")


def _demand_end(status: os.stat_result) -> None:
    """Raise `OSError` for a pipe, a socket or a device: reading one may never end."""
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise OSError("a pipe, a socket or a device")


def write_parquet(path: Path, frame: pl.DataFrame) -> None:
    """Write `frame` as sealed zstd Parquet, atomically."""
    with replacing(path) as temporary:
        _polars(partial(frame.write_parquet, metadata={"seal": BLANK_SEAL}), temporary)
        seal(temporary)


def read_parquet(path: Path, mend: str, columns: Sequence[str] | None = None, *, schema: pl.Schema | None = None) -> pl.DataFrame:
    """Read a table, or some of its columns, that `write_parquet` wrote; one that is not as written never comes back.

    Raises `DamagedError` for a damaged file, and for one that has not just what `schema` says of the columns read, with
    `mend` as the way out: one of another version, or of another table, is sealed as well.
    """
    verify(path, mend)
    try:
        table = pl.read_parquet(path, columns=None if columns is None else list(columns))
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise damaged(path, str(error), mend) from error
    return table if schema is None else _of_schema(table, schema, path, mend)


def _of_schema(table: pl.DataFrame, schema: pl.Schema, path: Path, mend: str) -> pl.DataFrame:
    """The table with its columns in the order of `schema`; raises `DamagedError` for columns that are not of it."""
    differing = sorted({name for name, _ in {*schema.items()} ^ {*table.schema.items()}})
    if differing:
        raise damaged(path, f"other columns than this version writes: {', '.join(differing)}", mend)
    return table.select(schema.names())


def seal(path: Path) -> None:
    """Fill the place of `BLANK_SEAL` in the file with the SHA-256 of its bytes."""
    content = path.read_bytes()
    with path.open("r+b") as stream:
        stream.seek(content.rindex(BLANK_SEAL.encode()) + len(_SEAL))
        stream.write(hashlib.sha256(content).hexdigest().encode())


def verify(path: Path, mend: str) -> None:
    """Raise `DamagedError` unless the file is as `seal` left it; every version of a file is hashed once a process."""
    try:
        status = path.stat()
        _demand_end(status)
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


def damaged(path: Path, found: str, mend: str) -> DamagedError:
    """The error for a stored file that does not open as it was written."""
    return DamagedError(str(path), found=f"a damaged file ({found})", wanted="a file as this pipeline wrote it", mend=mend)


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


def content_hash(path: Path) -> str:
    """Hex digest of a file's bytes, or of the names and bytes of all files in a folder."""
    if path.is_file():
        return sha256(path)
    inner = sorted(file for file in path.rglob("*") if file.is_file())
    told = [f"{file.relative_to(path).as_posix()} {sha256(file)}" for file in inner]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def frame_hash(frame: pl.DataFrame) -> str:
    """Hex digest of a frame's columns, dtypes and values; equal frames give equal digests."""
    digest = hashlib.sha256(str(list(zip(frame.columns, map(str, frame.dtypes), strict=True))).encode())
    for column in frame.columns:
        digest.update(frame[column].hash(seed=0).to_numpy().tobytes())
    return digest.hexdigest()
