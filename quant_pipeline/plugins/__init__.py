"""Modules of a user's own: each `*.py` of the folders of QUANT_PLUGINS can be imported as `quant_pipeline.plugins.<name>`.

Here is where they are and how they are imported. What they register, the registries of features and of models know.
"""

from __future__ import annotations

import importlib
import os
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from quant_pipeline.errors import ConfigError, QuantError

VARIABLE = "QUANT_PLUGINS"
"""The variable that names the folders, separated as in PATH."""


def _named() -> tuple[str, ...]:
    return tuple(place for place in os.environ.get(VARIABLE, "").split(os.pathsep) if place)


__path__ = [*_named()]  # so that another process can import a plugin by its name alone


def settle() -> None:
    """Make the folders of the environment absolute: they are meant from here, and a command may go elsewhere."""
    if _named():
        os.environ[VARIABLE] = os.pathsep.join(str(Path(place).expanduser().absolute()) for place in _named())


def folders() -> tuple[Path, ...]:
    """The folders of plugins; raises `ConfigError` for one that is none."""
    return _folders(_named())


@cache
def _folders(named: tuple[str, ...]) -> tuple[Path, ...]:
    found = tuple(dict.fromkeys(Path(place).expanduser().absolute() for place in named))
    for folder in found:
        if not folder.is_dir():
            raise ConfigError(
                VARIABLE, found=f"{folder}, {'a file' if folder.exists() else 'no such folder'}",
                wanted=f"folders of Python files, separated by {os.pathsep!r}", mend=f"create it, or set or unset {VARIABLE}",
            )  # fmt: skip
    return found


def modules() -> Mapping[str, Path]:
    """Full name and file of every plugin, in the order of folders and names; from now on they can be imported.

    Raises:
        ConfigError: a folder that is none, or two files of one name.
    """
    __path__[:] = map(str, folders())
    return _modules(folders())


@cache
def _modules(places: tuple[Path, ...]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in (path for folder in places for path in sorted(folder.glob("*.py")) if path.stem != "__init__"):
        name = f"{__name__}.{path.stem}"
        if name in found:
            raise ConfigError(
                f"plugin {path.stem!r}", found=f"{found[name]} and {path}", wanted="one file of a name", mend="rename one of them"
            )
        found[name] = path
    importlib.invalidate_caches()
    return found


def load() -> None:
    """Import every plugin; raises `ConfigError` naming the one that cannot be imported."""
    load_all(modules())


def load_all(told: Mapping[str, Path]) -> None:
    """Import modules by full name and file; raises `ConfigError` naming the one that cannot be imported."""
    for name, file in told.items():
        with _refused(file):
            importlib.import_module(name)


@contextmanager
def _refused(file: Path) -> Iterator[None]:
    try:
        yield
    except QuantError:
        raise
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
        raise ConfigError(
            f"{file}, line {lines[-1]}" if lines else str(file), found=f"{type(error).__name__}: {error}",
            wanted="a module that can be imported", mend=_mend(error),
        ) from error  # fmt: skip


def _mend(error: BaseException) -> str:
    beside = f"{__name__}.{error.name}" if isinstance(error, ModuleNotFoundError) else None
    return f"write: from {__name__} import {error.name}" if beside in modules() else "mend it, or take it out of its folder"  # type: ignore[attr-defined]


def told(module: str) -> dict[str, str]:
    """What a listing tells of where a thing of `module` comes from: nothing while there are no plugins."""
    path = modules().get(module)
    return {"plugin": path.name if path else ""} if modules() else {}
