"""What feature code opens while it is imported and while it runs: files, databases, connections, other programs.

A table that a feature opens by itself has no `known_at`, and neither the prefix audit nor a replay can tell that it came
from the future: it is there in both. Python tells of most openings by its audit events. What a library opens in native code
is heard in two ways, in this process only: a file whose name a feature hands to any library counts as read (a fitted model,
too), and the readers of libraries that take SQL, or are native through and through, are wrapped.
"""

from __future__ import annotations

import _collections_abc
import _posixsubprocess
import functools
import importlib
import inspect
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, NamedTuple

from quant_pipeline.inference import outside

CALLS = {
    "sqlite3.connect", "socket.connect", "socket.getaddrinfo", "urllib.Request", "subprocess.Popen", "os.system",
    "os.posix_spawn", "os.exec", "os.fork", "os.forkpty",
}  # fmt: skip
FOREIGN = {"ctypes.dlopen", "ctypes.dlsym", "mmap.__new__"}
"""Through these anything can be opened; libraries are made of them."""
_READING_VARIABLES = ("<frozen os>", "<frozen _collections_abc>", os.__file__, _collections_abc.__file__)
"""What lies between `os.environ` and who asks it."""
NATIVE = {
    "polars", "duckdb", "pyarrow", "h5py", "pandas", "deltalake", "tables", "netCDF4", "zarr", "xarray", "connectorx",
    "safetensors",
}  # fmt: skip
READER = re.compile(
    r"(read_|scan_|open_|parquet_|load_)\w+|from_(csv|parquet|arrow|query|file|uri|path|json)\w*|connect|sql|query|query_df|execute"
    r"|executemany|execute_global|table_function|memory_map|OSFile|File|ParquetFile|ParquetDataset|dataset|open|input_stream|safe_open"
    r"|SQLContext|DuckDBPyConnection|DuckDBPyRelation|DeltaTable|Dataset|HDFStore|ExcelFile|\w*FileSystem"
)
BY_NAME = re.compile(r"\w*(from|read|load|open|scan|map)_?(file|path|csv|parquet|arrow|ipc|json|npy|model)\w*")
"""Functions of native code, of which no argument can be seen, that say by their names what they do."""
FILE_IN_SQL = re.compile(r"(read|scan)_\w+\s*\(|'[^']*[./][^']*'|\battach\b", re.IGNORECASE)
BY_NEW = {"safe_open", "OSFile"}
"""Native classes without an `__init__` to wrap, which nobody asks for as types."""
SQL = {"sql", "query", "query_df", "execute", "executemany", "execute_global"}
_IMMUTABLE = 1 << 8
"""Flag of a class of native code that takes no new methods (`Py_TPFLAGS_IMMUTABLETYPE`)."""


class Access(NamedTuple):
    """One opening: the feature (or function) that did it, its file and line, and what was opened."""

    who: str
    file: str
    what: str


class Watch:
    """Hears every opening in this process while `listening`; installed once, before any feature module is imported."""

    def __init__(self, names: Callable[[FrameType], str | None], code: Sequence[str] = ()) -> None:
        """`names` tells which feature a frame runs; `code` is where modules outside the package that register some lie."""
        self.found: dict[Access, None] = {}
        self.calls = True
        """Whether names of files handed to libraries are heard too: that looks at every call, and takes four times as long."""
        self._names, self._code, self._on = names, tuple(code), False
        self._wrapped: set[str] = set()
        for module in sorted(NATIVE & set(sys.modules)):
            self._wrap(module)
        importlib.import_module = self._importing(importlib.import_module)
        _posixsubprocess.fork_exec = self._starting(_posixsubprocess.fork_exec)
        environment = type(os.environ)
        environment.__getitem__ = self._asked(environment.__getitem__)  # type: ignore[method-assign]
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
        elif self._on and event == "open" and outside.reads(*arguments) and not self._allowed(os.fsdecode(arguments[0])):
            self._note(os.path.realpath(os.fsdecode(arguments[0])))
        elif event == "mmap.__new__" and arguments[0] == -1:
            return  # memory without a file
        elif self._on and (event in CALLS or (event in FOREIGN and _asked_by_user(inspect.currentframe()))):
            self._note(f"{event}: {_told(arguments)}")

    def _allowed(self, text: str) -> bool:
        if outside.allowed(text):
            return True
        place = os.path.realpath(text)
        return Path(place).suffix in outside.CODE and place.startswith(self._code)

    def _called(self, frame: FrameType, event: str, native: object) -> None:
        """A library that is handed the name of a file by code that is no library's reads it, in whatever way."""
        if event != "call" or not self._on:  # first of all: most events are returns, and calls of native functions
            if event == "c_call" and self._on and _names_files(native.__name__):  # type: ignore[attr-defined]
                self._call_native(frame, native)
            return
        caller, called = frame.f_back, frame.f_code
        if caller is None or not outside.hands_over(caller.f_code.co_filename, called.co_filename):
            return
        given = frame.f_locals
        for name in outside.arguments(called):
            for text in outside.texts(given.get(name)):
                if outside.is_file(text) and not self._allowed(text):
                    self._note(os.path.realpath(text))

    def _call_native(self, frame: FrameType, native: Any) -> None:
        """Nothing tells with what a native function is called: one that reads files by its name, and is no standard one, did."""
        file = frame.f_code.co_filename
        if not _of_standard(native) and file != __file__ and not outside.of_library(file):
            self._note(f"{native.__name__}{' of ' + native.__module__ if native.__module__ else ''}, a native function")

    def _importing(self, load: Callable[..., ModuleType]) -> Callable[..., ModuleType]:
        """`importlib.import_module`, which raises no event for the module itself."""

        @functools.wraps(load)
        def importing(name: str, package: str | None = None) -> ModuleType:
            self._import(name)
            return load(name, package)

        return importing

    def _starting(self, start: Callable[..., int]) -> Callable[..., int]:
        """The start of a process by multiprocessing and its like, which raises no event; nobody hears what it opens."""

        @functools.wraps(start)
        def starting(*args: Any) -> int:
            if self._on:
                self._note("another process")
            return start(*args)

        return starting

    def _asked(self, read: Callable[..., Any]) -> Callable[..., Any]:
        """Reading a variable of the environment, which may say anything and is the same in the audit."""

        @functools.wraps(read)
        def asked(environ: os._Environ[Any], name: Any) -> Any:
            frame = inspect.currentframe()
            while frame is not None and frame.f_code.co_filename in (__file__, *_READING_VARIABLES):
                frame = frame.f_back
            if self._on and frame is not None and outside.of_user(frame.f_code.co_filename):
                self._note(f"environment variable {os.fsdecode(name)}")
            return read(environ, name)

        return asked

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
            if isinstance(value, type) and name not in BY_NEW and not name.endswith("FileSystem"):
                self._wrap_class(f"{top}.{name}", value)
            elif not isinstance(value, type) or name in BY_NEW:
                setattr(module, name, made.setdefault(id(value), self._telling(f"{top}.{name}", value)))
            elif value.__flags__ & _IMMUTABLE and str(getattr(module, "__file__", None)).endswith(
                ".py"
            ):  # native modules need their own
                setattr(module, name, made.setdefault(id(value), self._telling_class(f"{top}.{name}", value)))

    def _wrap_class(self, name: str, reader: type) -> None:
        """Let constructor and queries of a class tell; one of native code may refuse, and has functions beside it."""
        for method, made in list(vars(reader).items()):
            if (method == "__init__" or READER.fullmatch(method)) and not getattr(made, "tells", False):
                with suppress(TypeError):
                    setattr(reader, method, self._telling_method(name if method == "__init__" else f"{name}.{method}", made))

    def _telling_method(self, name: str, made: Any) -> Any:
        if isinstance(made, staticmethod | classmethod):
            telling = type(made)(self._telling(name, made.__func__))
            telling.tells = True  # type: ignore[union-attr]
            return telling
        return self._telling(name, made) if callable(made) else made

    def _telling_class(self, name: str, native: type) -> type:
        """A class in the stead of one that takes no new methods: what is an instance of one is one of both."""

        class Both(type(native)):  # type: ignore[misc]
            def __instancecheck__(cls, one: object) -> bool:
                return isinstance(one, native)

            def __subclasscheck__(cls, one: type) -> bool:
                return issubclass(one, native)

        readers = {method: inspect.getattr_static(native, method) for method in dir(native) if READER.fullmatch(method)}
        telling = {method: self._telling_method(f"{name}.{method}", made) for method, made in readers.items()}
        return Both(native.__name__, (native,), {**telling, "tells": True, "__module__": native.__module__})

    def _telling(self, name: str, reader: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(reader, updated=())
        def telling(*args: Any, **named: Any) -> Any:
            if self._on:
                self._look(name, (*args, *named.values()))
            return reader(*args, **named)

        telling.tells = True  # type: ignore[attr-defined]
        return telling

    def _look(self, name: str, arguments: tuple[Any, ...]) -> None:
        """Of the texts among the arguments, the first is what is read; others may be, where they name what is there."""
        sql = name.rpartition(".")[2] in SQL
        first = None if sql else next((os.fsdecode(one) for one in arguments if isinstance(one, str | os.PathLike)), None)
        for text in outside.texts(arguments):
            if sql and FILE_IN_SQL.search(text):
                self._note(f"{name}: {text}")
            elif ((text == first and outside.PATH.search(text)) or outside.is_place(text)) and not self._allowed(text):
                self._note(text if "://" in text else os.path.realpath(text))

    def _note(self, what: str) -> None:
        self.found.setdefault(Access(*self._culprit(inspect.currentframe()), what))

    def _culprit(self, frame: FrameType | None) -> tuple[str, str]:
        """The feature that is running, and its own line; else the innermost function that is no library's."""
        nearest, place = ("an unknown thread", ""), ""
        while frame is not None:
            name = self._names(frame)
            if name is not None:
                return name, place
            file = frame.f_code.co_filename
            if file != __file__ and Path(file).suffix == ".py" and not outside.of_library(file):
                place = f"{file}:{frame.f_lineno}"
                nearest = nearest if nearest[1] else (f"{frame.f_globals.get('__name__')}.{frame.f_code.co_name}", place)
            frame = frame.f_back
        return nearest


def _of_standard(native: Any) -> bool:
    """Whether a native function is one of the standard library's; a static method does not tell whose it is."""
    owner = native.__self__ if isinstance(native.__self__, type) else type(native.__self__)
    module = native.__module__ or (owner.__module__ if native.__self__ is not None else "")
    return module.partition(".")[0] in sys.stdlib_module_names


@functools.cache
def _names_files(name: str) -> bool:
    return BY_NAME.fullmatch(name) is not None


def _asked_by_user(frame: FrameType | None) -> bool:
    """Whether code that is no library's asked for what the innermost functions of the standard library do."""
    while frame is not None and (frame.f_code.co_filename == __file__ or outside.standard(frame.f_code.co_filename)):
        frame = frame.f_back
    return frame is not None and not outside.of_library(frame.f_code.co_filename)


def _told(arguments: tuple[Any, ...]) -> str:
    return " ".join(str(one) for one in arguments if isinstance(one, str | bytes | os.PathLike | list | tuple))[:200]
