"""Modules of features that no line names: new files in this package that register any, and the plugins."""

from __future__ import annotations

import ast
from collections.abc import Collection
from functools import cache
from pathlib import Path

from quant_pipeline import plugins

FOLDER = Path(__file__).parent
REGISTRY = "quant_pipeline.features.registry"
DECORATORS = {"feature", "features"}


def new_modules(known: Collection[str]) -> dict[str, Path]:
    """Full name and file of each module that may register features, in the order in which they are to be imported.

    Args:
        known: modules of this package that are families already, such as `patterns.chart`.
    """
    return {**_in_package(FOLDER, frozenset(known)), **plugins.modules()}


@cache
def _in_package(folder: Path, known: frozenset[str]) -> dict[str, Path]:
    files = {".".join(path.relative_to(folder).with_suffix("").parts): path for path in sorted(folder.rglob("*.py"))}
    rest = {name: path for name, path in files.items() if name not in known and path.stem != "__init__"}
    return {f"quant_pipeline.features.{name}": path for name, path in rest.items() if _registers(path)}


def _registers(path: Path) -> bool:
    """Whether a module imports a decorator of the registry, or the registry itself; where it is no Python: names it."""
    text = path.read_text(encoding="utf-8")
    if "registry" not in text:
        return False
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return True
    return any(_brings_decorators(node) for node in ast.walk(tree))


def _brings_decorators(node: ast.AST) -> bool:
    if isinstance(node, ast.Import):
        return any(alias.name == REGISTRY for alias in node.names)
    if not isinstance(node, ast.ImportFrom):
        return False
    names = {alias.name for alias in node.names}
    if (node.module or "").rpartition(".")[2] == "registry":
        return bool(names & (DECORATORS | {"*"}))
    return "registry" in names and (node.module or "").rpartition(".")[2] in {"features", ""}
