"""The code behind an asset: its own body, what the body names, and every file of the package that those import, with the plugins.

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

from quant_pipeline import plugins
from quant_pipeline.errors import StorageError
from quant_pipeline.files import write_text

PACKAGE = Path(__file__).parents[1]
HOUSE = "orchestration/house.py"
"""Its methods import nearly everything; of it, a body is behind only the methods that it calls."""
REGISTRIES = ("features/registry.py", "models/registry.py")
"""They import the plugins."""
_IMPORTERS = ("import_module", "load_all")
_DATA = (".yaml", ".html")
Opened = Mapping[str, tuple[str, ...]]


def code_digest(body: Callable[..., Any], opened: Opened | None = None) -> str:
    """Hex digest over `code_behind(body, opened)`, remembered on disk for as long as no file of the package changes."""
    code = inspect.unwrap(body).__code__
    key = f"{_called(Path(code.co_filename).resolve())}:{code.co_firstlineno}:{code.co_name}:{sorted((opened or {}).items())}"
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
    own = sorted(path for suffix in (".py", *_DATA) for path in PACKAGE.rglob(f"*{suffix}"))
    for path in (*own, *sorted(_of_plugins())):
        digest.update(_called(path).encode() + path.read_bytes())
    return PACKAGE / "__pycache__" / f"code-{digest.hexdigest()[:12]}.json"


def _of_plugins() -> set[Path]:
    """Files of the plugins, with those outside the package that they import or name."""
    found: set[Path] = set()
    pending = [*plugins.modules().values()]
    while pending:
        path = pending.pop()
        if path not in found and not path.is_relative_to(PACKAGE):
            found.add(path)
            pending += _imports(path) if path.suffix == ".py" else ()
    return found


def _called(path: Path) -> str:
    """The file's name in the package; that of a plugin is as if its folder were there."""
    if path.is_relative_to(PACKAGE):
        return path.relative_to(PACKAGE).as_posix()
    folder = next(folder for folder in plugins.folders() if path.is_relative_to(folder))
    return f"plugins/{path.relative_to(folder).as_posix()}"


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
            are behind this body; by default all files of its folder are, and the plugins.
    """
    return _code_behind(inspect.unwrap(body).__code__, tuple(sorted((opened or {}).items())))


@cache
def _code_behind(code: CodeType, opened: tuple[tuple[str, tuple[str, ...]], ...]) -> tuple[tuple[str, bytes], ...]:
    own = source(Path(code.co_filename).resolve())
    pieces, roots = _reach(own, _definition(own.tree, code))
    files = {_called(path): _content(path) for path in _closure(roots, dict(opened))}
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
    return Source(path, tree, defined, dict(_bound(_statements(tree), path)))


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


def _bound(nodes: Iterable[ast.AST], where: Path) -> Iterator[tuple[str, Path]]:
    """(name, file) of each import of this package among `nodes`, which stand in the file `where`."""
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                if path := _file(alias.name):
                    yield alias.asname or alias.name, path
        elif isinstance(node, ast.ImportFrom):
            module = _module(node, where)
            for alias in node.names:
                if path := _file(f"{module}.{alias.name}") or _file(module):
                    yield alias.asname or alias.name, path


def _module(node: ast.ImportFrom, where: Path) -> str:
    """Full name of the module that is imported from, also where dots tell it."""
    if not node.level:
        return str(node.module)
    folder = [PACKAGE.name, *_called(where).split("/")[: -node.level]]
    return ".".join([*folder, *([node.module] if node.module else [])])


def _file(module: str) -> Path | None:
    room, *parts = module.split(".")
    if room != PACKAGE.name or not parts:
        return None
    beside = plugins.folders() if parts[0] == "plugins" and len(parts) > 1 else ()
    places = (PACKAGE.joinpath(*parts), *(folder.joinpath(*parts[1:]) for folder in beside))
    files = (path for place in places for path in (place.with_suffix(".py"), place / "__init__.py"))
    return next((path for path in files if path.is_file()), None)


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
        name = f"{_called(where.path)}:{getattr(piece, 'name', ast.unparse(piece)[:40])}"
        if name in pieces:
            continue
        bare = _undecorated(piece)
        pieces[name] = hashlib.sha256(ast.unparse(bare).encode()).digest()
        nodes = list(_statements(bare))
        roots |= {path for _, path in _bound(nodes, where.path)}
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
    name = _called(path)
    if name in opened:
        return [*_imports(path), *(_placed(file) for file in opened[name])]
    beside = sorted(path.parent.rglob("*.py")) if _imports_by_computed_name(path) else ()
    return [*_imports(path), *beside, *(_plugins_of(path) if name in REGISTRIES else ())]


def _placed(name: str) -> Path:
    """The file that `_called` gives this name."""
    module = name.removesuffix(".py").replace("/", ".")
    return plugins.modules().get(f"quant_pipeline.{module}", PACKAGE / name)


def _plugins_of(registry: Path) -> list[Path]:
    """Plugins that may register there: all but those that name only another registry."""
    others = {PACKAGE / name for name in REGISTRIES} - {registry}
    return [path for path in plugins.modules().values() if registry in _imports(path) or not others & set(_imports(path))]


@cache
def _imports(path: Path) -> tuple[Path, ...]:
    """Files that the file imports anywhere in it, and data files beside it that it names."""
    nodes = list(_statements(source(path).tree))
    named = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    data = (path.with_name(name) for name in named if name.endswith(_DATA) and "/" not in name)
    return (*dict(_bound(nodes, path)).values(), *(file for file in data if file.is_file() and file.name not in _SETTINGS))


_SETTINGS = {"universe.yaml"}
"""Data files whose values count as settings, each for the assets that read it."""


@cache
def _imports_by_computed_name(path: Path) -> bool:
    calls = [node for node in ast.walk(source(path).tree) if isinstance(node, ast.Call)]
    return any(ast.unparse(call.func).endswith(_IMPORTERS) and not isinstance(call.args[0], ast.Constant) for call in calls)
