"""What feature code opens while it is imported and while it runs: files, databases, connections, other programs.

A table that a feature opens by itself has no `known_at`, and neither the prefix audit nor a replay can tell that it came
from the future: it is there in both. Python tells of most openings by its audit events. What a library opens in native code
is heard in two ways, in this process only: a file whose name a feature hands to any library counts as read (a fitted model,
too), and the readers of libraries that take SQL, or are native through and through, are wrapped.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import re
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any, NamedTuple

from quant_pipeline import plugins

PACKAGE = Path(__file__).parents[1]
CODE = {".py", ".pyc", ".so", ".pyd", ".dylib", ".dll", ".nbi", ".nbc"}
LIBRARIES = tuple(
    sorted(
        {os.path.realpath(place) + os.sep for place in (*sysconfig.get_paths().values(), sys.prefix, sys.base_prefix)} - {"//"}
    )
)
STANDARD = os.path.realpath(sysconfig.get_paths()["stdlib"]) + os.sep
SYSTEM = ("/usr/share/zoneinfo/", "/etc/localtime", "/proc/", "/sys/", "/dev/")
MEMORY = "/dev/shm/"  # noqa: S108 - the one place below /dev where files of a user lie
OWN, SETTINGS = str(PACKAGE) + os.sep, str(PACKAGE / "config") + os.sep
CALLS = {
    "sqlite3.connect", "socket.connect", "socket.getaddrinfo", "urllib.Request", "subprocess.Popen", "os.system",
    "os.posix_spawn", "os.exec",
}  # fmt: skip
NATIVE = {
    "polars", "duckdb", "pyarrow", "h5py", "pandas", "deltalake", "tables", "netCDF4", "zarr", "xarray", "connectorx",
    "safetensors",
}  # fmt: skip
READER = re.compile(
    r"(read_|scan_|open_|from_(csv|parquet|arrow|query)|parquet_|load_)\w+|connect|sql|query|query_df|execute|memory_map|OSFile|File"
    r"|ParquetFile|ParquetDataset|dataset|open|input_stream|safe_open|SQLContext|DuckDBPyConnection|DeltaTable|Dataset|HDFStore|ExcelFile"
)
PATH = re.compile(r"[./\\\\*]")
FILE_IN_SQL = re.compile(r"(read|scan)_\w+\s*\(|'[^']*[./][^']*'|\battach\b", re.IGNORECASE)
BY_NEW = {"safe_open", "OSFile"}
"""Native classes without an `__init__` to wrap, which nobody asks for as types."""
SQL = {"sql", "query", "query_df", "execute"}
_LONGEST = 4_096
"""Characters of a path."""


class Access(NamedTuple):
    """One opening: the feature (or function) that did it, its file and line, and what was opened."""

    who: str
    file: str
    what: str


class Watch:
    """Hears every opening in this process while `listening`; installed once, before any feature module is imported."""

    def __init__(self, names: Callable[[CodeType], str | None]) -> None:
        self.found: dict[Access, None] = {}
        self.calls = True
        """Whether names of files handed to libraries are heard too: that looks at every call, and takes four times as long."""
        self._names, self._on = names, False
        self._wrapped: set[str] = set()
        for module in sorted(NATIVE & set(sys.modules)):
            self._wrap(module)
        sys.addaudithook(self._hear)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """While feature code is imported or runs; what the stores read outside it does not count."""
        self._on = True
        hook = self._called if self.calls else None
        threading.setprofile(hook)
        sys.setprofile(hook)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
            self._on = False

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "import":
            self._import(arguments[0])
        elif self._on and event == "open" and _reads(*arguments) and not _allowed(arguments[0]):
            self._note(os.path.realpath(os.fsdecode(arguments[0])))
        elif self._on and event in CALLS:
            self._note(f"{event}: {_told(arguments)}")

    def _called(self, frame: FrameType, event: str, _: object) -> None:
        """A library that is handed the name of a file by code that is no library's reads it, in whatever way."""
        if event != "call" or not self._on:  # first of all: most events are returns, and calls of native functions
            return
        caller, called = frame.f_back, frame.f_code
        if caller is None or not _hands_over(caller.f_code.co_filename, called.co_filename):
            return
        for value in [frame.f_locals.get(name) for name in _arguments(called)]:
            if isinstance(value, str | os.PathLike) and _is_file(value) and not _allowed(value):
                self._note(os.path.realpath(value))

    def _import(self, name: str) -> None:
        """A native reader that is imported late is loaded here first, so that whoever asked for it gets it wrapped."""
        top = name.partition(".")[0]
        if top in NATIVE and top != "polars" and name not in self._wrapped:
            self._wrapped.add(name)
            before, self._on = self._on, False  # what a library opens to load itself is no table
            try:
                importlib.import_module(name)
            except ImportError:
                return  # whoever asked for it meets the same error
            finally:
                self._on = before
            self._wrap(top)

    def _wrap(self, top: str) -> None:
        """Replace the readers of a library, wherever it keeps them, by ones that tell."""
        self._wrapped.add(top)
        made: dict[int, Callable[..., Any]] = {}
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] == top and module is not None:
                self._wrap_module(top, module, made)

    def _wrap_module(self, top: str, module: ModuleType, made: dict[int, Callable[..., Any]]) -> None:
        for name, value in list(vars(module).items()):
            if not READER.fullmatch(name) or not callable(value) or getattr(value, "tells", False) is True:
                continue
            if isinstance(value, type) and name not in BY_NEW:
                self._wrap_class(f"{top}.{name}", value)
            else:
                setattr(module, name, made.setdefault(id(value), self._telling(f"{top}.{name}", value)))

    def _wrap_class(self, name: str, reader: type) -> None:
        """Let constructor and queries of a class tell; one of native code may refuse, and has functions beside it."""
        for method in ("__init__", *sorted(SQL)):
            made = vars(reader).get(method)
            if made is not None and not getattr(made, "tells", False):
                with suppress(TypeError):
                    setattr(reader, method, self._telling(name if method == "__init__" else f"{name}.{method}", made))

    def _telling(self, name: str, reader: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(reader, updated=())
        def telling(*args: Any, **named: Any) -> Any:
            if self._on:
                self._look(name, (*args, *named.values()))
            return reader(*args, **named)

        telling.tells = True  # type: ignore[attr-defined]
        return telling

    def _look(self, name: str, arguments: tuple[Any, ...]) -> None:
        given = next((os.fsdecode(one) for one in arguments if isinstance(one, str | os.PathLike)), None)
        if given is None:
            return
        if name.rpartition(".")[2] in SQL:
            if FILE_IN_SQL.search(given):
                self._note(f"{name}: {given}")
        elif PATH.search(given) and not _allowed(given):
            self._note(given if "://" in given else os.path.realpath(given))

    def _note(self, what: str) -> None:
        self.found.setdefault(Access(*self._culprit(inspect.currentframe()), what))

    def _culprit(self, frame: FrameType | None) -> tuple[str, str]:
        """The feature whose function is on the stack, else the innermost function that is no library's."""
        nearest = ("an unknown thread", "")
        while frame is not None:
            file = frame.f_code.co_filename
            name = self._names(frame.f_code)
            if name is not None:
                return name, f"{file}:{frame.f_lineno}"
            if not nearest[1] and file != __file__ and Path(file).suffix == ".py" and not _of_library(file):
                nearest = (f"{frame.f_globals.get('__name__')}.{frame.f_code.co_name}", f"{file}:{frame.f_lineno}")
            frame = frame.f_back
        return nearest


@functools.cache
def _of_library(file: str) -> bool:
    return os.path.realpath(file).startswith(LIBRARIES) and not _ours(os.path.realpath(file))


@functools.cache
def _hands_over(caller: str, called: str) -> bool:
    """Whether code of the file `caller`, no library's, calls a library; the standard one only names files, or tells by itself.

    By names of files: it is asked at every call, and a code object's hash is that of all its constants.
    """
    standard = called.startswith(("<frozen", STANDARD)) and "site-packages" not in called
    return not standard and caller != __file__ and not _of_library(caller) and _of_library(called)


@functools.cache
def _arguments(code: CodeType) -> tuple[str, ...]:
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def _is_file(value: str | os.PathLike[str]) -> bool:
    return len(os.fspath(value)) < _LONGEST and Path(value).is_file()


def _ours(place: str) -> bool:
    """Whether it lies in the package or with the plugins, which may lie among the libraries."""
    return place.startswith((OWN, *(os.path.realpath(folder) + os.sep for folder in plugins.folders())))


def _reads(path: object, mode: str | None, flags: int) -> bool:
    """Whether a file is opened to be read."""
    if not isinstance(path, str | bytes | os.PathLike):
        return False
    if Path(os.fsdecode(path)).is_dir():
        return False  # a library tries whether its cache can be written
    return set(mode) & set("r+") != set() if mode else flags & os.O_ACCMODE != os.O_WRONLY


def _allowed(path: object) -> bool:
    """Code, settings, libraries and what the system keeps: they hold no table of a user's."""
    place = os.path.realpath(os.fsdecode(path))  # type: ignore[arg-type]
    suffix = Path(place).suffix
    if suffix in CODE:
        return True
    if _ours(place):  # a user's own table may lie in it
        return suffix == ".yaml" and place.startswith(SETTINGS)
    return place.startswith((*LIBRARIES, *SYSTEM)) and not place.startswith(MEMORY)


def _told(arguments: tuple[Any, ...]) -> str:
    return " ".join(str(one) for one in arguments if isinstance(one, str | bytes | os.PathLike | list | tuple))[:200]
