"""What counts as a table of a user's: by its place and the kind of file; and the files that arguments name."""

from __future__ import annotations

import functools
import glob
import inspect
import os
import re
import sys
import sysconfig
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import CodeType

from quant_pipeline import plugins

PACKAGE = Path(__file__).parents[1]
CODE = {".py", ".pyc", ".so", ".pyd", ".dylib", ".dll"}
MACHINE_CODE = {".nbi", ".nbc"}
"""What numba keeps, wherever it may."""
LIBRARIES = tuple(
    sorted(
        {os.path.realpath(place) + os.sep for place in (*sysconfig.get_paths().values(), sys.prefix, sys.base_prefix)} - {"//"}
    )
)
STANDARD = os.path.realpath(sysconfig.get_paths()["stdlib"]) + os.sep
SYSTEM = ("/usr/share/zoneinfo/", "/etc/localtime", "/proc/", "/sys/", "/dev/")
MEMORY = "/dev/shm/"  # noqa: S108 - the one place below /dev where files of a user lie
_VARIABLES = re.compile(r"/proc/.*/environ")
WATCH = str(PACKAGE / "inference" / "watch.py")
OWN, SETTINGS = str(PACKAGE) + os.sep, str(PACKAGE / "config") + os.sep
FEATURES = str(PACKAGE / "features") + os.sep
PATH = re.compile(r"[./\\*]")
URL = re.compile(r"\w+://")
_ADDRESS = re.compile(r"(?:file:(?://)?)?([^?#]*).*", re.DOTALL)
_GLOB = re.compile(r"[*?[]")
_LONGEST = 4_096
"""Characters of a path."""
_DEEPEST, _WIDEST = 3, 64
"""Containers within containers, and members of each, among which names of files are looked for."""


@functools.cache
def of_library(file: str) -> bool:
    return os.path.realpath(file).startswith(LIBRARIES) and not ours(os.path.realpath(file))


@functools.cache
def standard(file: str) -> bool:
    """Whether it is one of the standard library."""
    return file.startswith(("<frozen", STANDARD)) and "site-packages" not in file


@functools.cache
def hands_over(caller: str, called: str) -> bool:
    """Whether code of the file `caller`, no library's, calls a library; the standard one only names files, or tells by itself.

    By names of files: it is asked at every call, and a code object's hash is that of all its constants.
    """
    return not standard(called) and caller != WATCH and not of_library(caller) and of_library(called)


@functools.cache
def arguments(code: CodeType) -> tuple[str, ...]:
    """Names of a function's arguments, those that take the others' (*args, **named) among them."""
    packed = sum(bool(code.co_flags & flag) for flag in (inspect.CO_VARARGS, inspect.CO_VARKEYWORDS))
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + packed]


def texts(value: object, depth: int = _DEEPEST) -> Iterator[str]:
    """The texts that `value` is or holds, bytes and paths among them; of each container the first, and not too deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, bytes | os.PathLike):
        place = os.fspath(value)
        if len(place) < _LONGEST:
            yield os.fsdecode(place)
    elif depth and isinstance(value, list | tuple | set | frozenset | dict):
        for one in islice(value.values() if isinstance(value, dict) else value, _WIDEST):
            yield from texts(one, depth - 1)


def of_user(file: str) -> bool:
    """Whether it is code of features: no library's, and none that runs them."""
    return not of_library(file) and not standard(file) and (file.startswith(FEATURES) or not file.startswith(OWN))


def is_file(text: str) -> bool:
    """Whether `text` names a file, as a path or as some libraries want it: file:///x.csv?format=csv."""
    paths = (text, _ADDRESS.sub(r"\1", text)) if len(text) < _LONGEST else ()
    return any(map(os.path.isfile, paths))  # that of pathlib raises for long names


def is_place(text: str) -> bool:
    """Whether `text` names something that is there: a file, a folder or files by a pattern; or anything elsewhere."""
    if URL.match(text) or is_file(text):
        return True
    if len(text) >= _LONGEST or os.sep not in text:
        return False
    return os.path.isdir(text) or (_GLOB.search(text) is not None and next(glob.iglob(text), None) is not None)  # noqa: PTH112, PTH207


def ours(place: str) -> bool:
    """Whether it lies in the package or with the plugins, which may lie among the libraries."""
    return place.startswith((OWN, *(os.path.realpath(folder) + os.sep for folder in plugins.folders())))


def reads(path: object, mode: str | None, flags: int) -> bool:
    """Whether a file is opened to be read."""
    if not isinstance(path, str | bytes | os.PathLike):
        return False
    if Path(os.fsdecode(path)).is_dir():
        return False  # a library tries whether its cache can be written
    return set(mode) & set("r+") != set() if mode else flags & os.O_ACCMODE != os.O_WRONLY


def allowed(path: object) -> bool:
    """Code, settings, libraries and what the system keeps: they hold no table of a user's."""
    place = os.path.realpath(os.fsdecode(path))  # type: ignore[arg-type]
    suffix = Path(place).suffix
    if suffix in MACHINE_CODE:
        return True
    if ours(place):  # a user's own table may lie in it
        return suffix in CODE or (suffix == ".yaml" and place.startswith(SETTINGS))
    return place.startswith((*LIBRARIES, *SYSTEM)) and not place.startswith(MEMORY) and not _VARIABLES.fullmatch(place)
