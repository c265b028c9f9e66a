"""The code behind an asset: its own body, what the body names, and every file of the package that those import.

Read from the sources, not from a list that somebody keeps, so that an edit of anything that can touch a value counts.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

from quant_pipeline.errors import StorageError
from quant_pipeline.files import write_text

PACKAGE = Path(__file__).parents[1]
HOUSE = "orchestration/house.py"
"""Its methods import nearly everything; of it, a body is behind only the methods that it calls."""
_DATA = (".yaml", ".html")
Opened = Mapping[str, tuple[str, ...]]


def code_digest(body: Callable[..., Any], opened: Opened | None = None) -> str:
    """Hex digest over `code_behind(body, opened)`, remembered on disk for as long as no file of the package changes."""
    code = inspect.unwrap(body).__code__
    place = Path(code.co_filename).resolve().relative_to(PACKAGE).as_posix()
    key = f"{place}:{code.co_firstlineno}:{code.co_name}:{sorted((opened or {}).items())}"
    known = _remembered()
    if key not in known:
        known[key] = hashlib.sha256(repr(code_behind(body, opened)).encode()).hexdigest()
        with suppress(StorageError):  # an installation that may not be written to computes it again
            write_text(_memory(), json.dumps(known))
    return known[key]


@cache
def _remembered() -> dict[str, str]:
    with suppress(OSError, ValueError):
        return dict(json.loads(_memory().read_text(encoding="utf-8")))
    return {}


@cache
def _memory() -> Path:
    """Where digests are remembered, by the contents of all files that can be behind a body."""
    digest = hashlib.sha256()
    for path in sorted(path for suffix in (".py", *_DATA) for path in PACKAGE.rglob(f"*{suffix}")):
        digest.update(path.relative_to(PACKAGE).as_posix().encode() + path.read_bytes())
    return PACKAGE / "__pycache__" / f"code-{digest.hexdigest()[:12]}.json"


class Source(NamedTuple):
    """One file of the package: its tree, its own names by definition, and the files that its imports bind, by name."""

    path: Path
    tree: ast.Module
    defined: dict[str, ast.stmt]
    imported: dict[str, Path]


def code_behind(body: Callable[..., Any], opened: Opened | None = None) -> tuple[tuple[str, bytes], ...]:
    """Names and SHA-256 of all code that the function `body` can reach, sorted by name.

    Args:
        body: a function of this package, decorated or not.
        opened: for a file that imports by computed names, such as a registry, the files (relative to the package) that
            are behind this body; by default all files of its folder are.
    """
    return _code_behind(inspect.unwrap(body).__code__, tuple(sorted((opened or {}).items())))


@cache
def _code_behind(code: CodeType, opened: tuple[tuple[str, tuple[str, ...]], ...]) -> tuple[tuple[str, bytes], ...]:
    own = source(Path(code.co_filename).resolve())
    pieces, roots = _reach(own, _definition(own.tree, code))
    files = {path.relative_to(PACKAGE).as_posix(): _content(path) for path in _closure(roots, dict(opened))}
    return (*sorted(pieces.items()), *sorted(files.items()))


@cache
def _content(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


@cache
def source(path: Path) -> Source:
    """The file at `path`, parsed once a process."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    defined: dict[str, ast.stmt] = {}
    for statement in tree.body:
        defined |= dict.fromkeys(_names(statement), statement)
    return Source(path, tree, defined, dict(_bound(_statements(tree))))


def _names(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return [node.id for target in targets if target for node in ast.walk(target) if isinstance(node, ast.Name)]


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Every node below, without the imports that only annotations need."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")):
            yield from _statements(child)


def _bound(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, Path]]:
    """(name, file) of each import of this package among `nodes`."""
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                if path := _file(alias.name):
                    yield alias.asname or alias.name, path
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                if path := _file(f"{node.module}.{alias.name}") or _file(node.module):
                    yield alias.asname or alias.name, path


def _file(module: str) -> Path | None:
    room, *parts = module.split(".")
    place = PACKAGE.joinpath(*parts)
    found = place.with_suffix(".py") if place.with_suffix(".py").is_file() else place / "__init__.py"
    return found if room == PACKAGE.name and parts and found.is_file() else None


def _definition(tree: ast.Module, code: CodeType) -> ast.stmt:
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == code.co_name)
    first = code.co_firstlineno
    return next(node for node in functions if first in {node.lineno, *(one.lineno for one in node.decorator_list)})


def _reach(own: Source, node: ast.AST) -> tuple[dict[str, bytes], set[Path]]:
    """Digests of `node` and all definitions that it names, in its file and among the methods of the house; and their imports."""
    pieces: dict[str, bytes] = {}
    roots: set[Path] = set()
    pending = [(own, node)]
    while pending:
        where, piece = pending.pop()
        name = f"{where.path.relative_to(PACKAGE).as_posix()}:{getattr(piece, 'name', ast.unparse(piece)[:40])}"
        if name in pieces:
            continue
        bare = _undecorated(piece)
        pieces[name] = hashlib.sha256(ast.unparse(bare).encode()).digest()
        nodes = list(_statements(bare))
        roots |= {path for _, path in _bound(nodes)}
        used = {one.id for one in nodes if isinstance(one, ast.Name)}
        roots |= {path for name, path in where.imported.items() if name.split(".")[0] in used}
        pending += [(where, where.defined[name]) for name in sorted(used & set(where.defined))]
        pending += [(_house(), _methods()[name]) for name in sorted(_asked_of_house(nodes, where) & set(_methods()))]
    return pieces, {path for path in roots if path != PACKAGE / HOUSE}


def _undecorated(piece: ast.AST) -> ast.AST:
    """Without decorators: those of an asset say where it stands in the graph, not what its value is."""
    if not isinstance(piece, ast.FunctionDef):
        return piece
    bare = ast.FunctionDef(**{field: getattr(piece, field, None) for field in piece._fields})  # type: ignore[arg-type]
    bare.decorator_list = []
    return ast.copy_location(bare, piece)


def _house() -> Source:
    return source(PACKAGE / HOUSE)


@cache
def _methods() -> dict[str, ast.stmt]:
    house = _house().defined["House"]
    return {node.name: node for node in getattr(house, "body", ()) if isinstance(node, ast.FunctionDef)}


def _asked_of_house(nodes: Iterable[ast.AST], where: Source) -> set[str]:
    """Attributes that are taken from something called `house`, or from `self` inside the house."""
    owners = {"house", "self"} if where.path == PACKAGE / HOUSE else {"house"}
    taken = [node for node in nodes if isinstance(node, ast.Attribute)]
    return {
        node.attr for node in taken
        if (isinstance(node.value, ast.Name) and node.value.id in owners)
        or (isinstance(node.value, ast.Attribute) and node.value.attr in owners)
    }  # fmt: skip


def _closure(roots: Iterable[Path], opened: Opened) -> set[Path]:
    found: set[Path] = set()
    pending = list(roots)
    while pending:
        path = pending.pop()
        if path in found:
            continue
        found.add(path)
        if path.suffix == ".py" and path != PACKAGE / HOUSE:
            pending += _behind(path, opened)
    return found


def _behind(path: Path, opened: Opened) -> list[Path]:
    name = path.relative_to(PACKAGE).as_posix()
    if name in opened:
        return [*_imports(path), *(PACKAGE / file for file in opened[name])]
    return [*_imports(path), *(sorted(path.parent.rglob("*.py")) if _imports_by_computed_name(path) else ())]


@cache
def _imports(path: Path) -> tuple[Path, ...]:
    """Files that the file imports anywhere in it, and data files beside it that it names."""
    nodes = list(_statements(source(path).tree))
    named = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    data = (path.with_name(name) for name in named if name.endswith(_DATA) and "/" not in name)
    return (*dict(_bound(nodes)).values(), *(file for file in data if file.is_file() and file.name not in _SETTINGS))


_SETTINGS = {"universe.yaml"}
"""Data files whose values count as settings, each for the assets that read it."""


@cache
def _imports_by_computed_name(path: Path) -> bool:
    calls = [node for node in ast.walk(source(path).tree) if isinstance(node, ast.Call)]
    return any(ast.unparse(call.func).endswith("import_module") and not isinstance(call.args[0], ast.Constant) for call in calls)
