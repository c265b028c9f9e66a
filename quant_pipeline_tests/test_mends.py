"""Every mend named in an error is a thing that exists: what messages cite is looked up where it would be found.

Texts are read from the source, all that is no docstring; parts of a text that are only known when it is made are blanks.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pydantic
import pytest
import typer

import quant_pipeline
from quant_pipeline.cli import app
from quant_pipeline.config.experiment import Experiment
from quant_pipeline.config.universe import Universe
from quant_pipeline.errors import QuantError

ROOT = Path(quant_pipeline.__file__).parents[1]
PACKAGE = ROOT / "quant_pipeline"
BLANK = "\N{WHITE SQUARE}"
OTHER_PROGRAMS = re.compile(rf"(?:\bhf|\bpip|\bgit|(?<=`){BLANK}) [^`]*")  # their flags are not ours
FILES = {
    "yaml",
    "parquet",
    "csv",
    "json",
    "jsonl",
    "py",
    "html",
    "png",
    "sqlite",
    "h5",
    "toml",
    "safetensors",
    "md",
    "com",
    "org",
}
MAY_BE_SET = ("in the experiment", "of the experiment", "of the symbol", "in universe.yaml")


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def text(node: ast.AST) -> str | None:
    """The text that an expression makes, its unknown parts blank; None for what makes none."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join((text(part) or BLANK) if isinstance(part, ast.Constant) else BLANK for part in node.values)
    return None


def texts(path: Path) -> Iterator[str]:
    """Every text of a module but its docstrings and names of one word."""
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and node.body and isinstance(node.body[0], ast.Expr)
    }
    inner = {id(part) for node in ast.walk(tree(path)) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)} - {
        id(node) for node in ast.walk(tree(path)) if isinstance(node, ast.JoinedStr)
    }
    for node in ast.walk(tree(path)):
        found = None if id(node) in docs | inner else text(node)
        if found:
            yield found


def mends(path: Path) -> Iterator[str]:
    """The texts that may stand in a `mend`, those chosen by a condition or by name too."""
    bound = {}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Assign):
            bound |= {name.id: node.value for name in node.targets if isinstance(name, ast.Name)}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.keyword) and node.arg == "mend":
            value = bound.get(node.value.id, node.value) if isinstance(node.value, ast.Name) else node.value
            yield from (found for part in ast.walk(value) if (found := text(part)))


@cache
def flags() -> frozenset[str]:
    command = typer.main.get_command(app)
    parameters = [parameter for one in (command, *command.commands.values()) for parameter in one.params]  # type: ignore[attr-defined]
    return frozenset(option for parameter in parameters for option in parameter.opts if option.startswith("--")) | {"--help"}


@cache
def commands() -> frozenset[str]:
    return frozenset(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


@cache
def sections() -> dict[str, frozenset[str]]:
    """Keys of each settings object by the key it stands under; "" holds the keys of the experiment and the universe."""
    found: dict[str, set[str]] = {"": set()}

    def models(annotation: object) -> Iterator[type[pydantic.BaseModel]]:
        if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
            yield annotation
        for part in getattr(annotation, "__args__", ()):
            yield from models(part)

    def visit(name: str, model: type[pydantic.BaseModel]) -> None:
        found.setdefault(name, set()).update(model.model_fields)
        for key, field in model.model_fields.items():
            for one in models(field.annotation):
                visit(key, one)

    for root in (Experiment, Universe):
        visit("", root)
    return {name: frozenset(keys) for name, keys in found.items()}


@cache
def words() -> frozenset[str]:
    """Every name and every text of one word in the package: columns, settings, functions, assets."""
    known = set()
    for path in sources():
        for node in ast.walk(tree(path)):
            for attribute in ("id", "attr", "arg", "name"):
                known.add(getattr(node, attribute, None))
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                known.update(node.value.split())
        known.add(path.stem)
    return frozenset(word for word in known if isinstance(word, str))


@cache
def variables() -> frozenset[str]:
    """Names of environment variables that stand alone in the source, as where they are read."""
    alone = {node.value for path in sources() for node in ast.walk(tree(path)) if isinstance(node, ast.Constant)}
    return frozenset(name for name in alone if isinstance(name, str) and re.fullmatch(r"[A-Z_]+", name))


@cache
def targets() -> frozenset[str]:
    return frozenset(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@cache
def headings() -> frozenset[str]:
    """Titles of the README's sections, and the bold beginnings of its paragraphs."""
    found = re.findall(r"^#+ (.*)$|^\*\*(.*?)\.?\*\*", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    return frozenset("".join(pair) for pair in found)


def wrong(told: str) -> list[str]:
    """What a text names and does not exist."""
    ours = OTHER_PROGRAMS.sub("", told)
    lost = [flag for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]+", ours) if flag not in flags()]
    lost += [f"quant {word}" for word in re.findall(r"(?:run: |`|run )quant ([a-z]+)", ours) if word not in commands()]
    lost += [name for name in re.findall(r"\b(?:QUANT|DAGSTER|FRED)_[A-Z_]+\b", told) if name not in variables()]
    lost += [f"make {word}" for word in re.findall(r"(?:run: |`)make ([a-z-]+)", told) if word not in targets()]
    lost += [title for title in re.findall(r"README, '([^']+)'", told) if title not in headings()]
    lost += [path for path in re.findall(r"\bquant_pipeline/[\w/.]*\w", told) if not (ROOT / path).exists()]
    lost += re.findall(r"(?<![\w.])_[A-Z]\w+", told) if " " in told else []  # alone it is an annotation
    for section, key in re.findall(r"(?<![\w./])([a-z_]+)\.([a-z_]+)\b(?!\()", told):
        if section in sections() and key not in FILES and key not in sections()[section]:
            lost.append(f"{section}.{key}")
    return lost


def unknown_words(mend: str) -> list[str]:
    """Words of a mend that only a program would use and that no program here does; keys that are to be set and are no keys."""
    keys = sections()[""] | {key for each in sections().values() for key in each}
    lost = [word for word in re.findall(r"(?<![\w/.'-])[a-z]+(?:_[a-z]+)+(?![\w/.-])", mend) if word not in words()]
    if any(place in mend for place in MAY_BE_SET) or "set `" in mend:
        named = re.findall(r"`([a-z_]+)(?::[^`]*)?`", mend)
        lost += [key for key in named if key not in keys]
    return lost


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_a_message_names_exists(path: Path) -> None:
    found = {told: lost for told in texts(path) if (lost := wrong(told))}
    found |= {told: lost for told in mends(path) if (lost := unknown_words(told))}
    assert not found


def test_the_name_of_an_error_is_public() -> None:
    """It is printed before the message, by the shell and by Dagster."""
    for module in pkgutil.walk_packages([str(PACKAGE)], "quant_pipeline."):
        if any(isinstance(node, ast.ClassDef) for node in ast.walk(tree_of(module))):
            importlib.import_module(module.name)
    kinds, waiting = set(), [QuantError]
    while waiting:
        kind = waiting.pop()
        kinds.add(kind.__name__)
        waiting += kind.__subclasses__()
    assert {"SourceError", "TrySoonError"} <= kinds
    assert not {name for name in kinds if name.startswith("_")}


def tree_of(module: pkgutil.ModuleInfo) -> ast.Module:
    place = ROOT / Path(*module.name.split("."))
    return tree(place / "__init__.py" if module.ispkg else place.with_suffix(".py"))


@pytest.mark.parametrize(
    ("told", "lost"),
    [
        ("create it, or name it with --data", ["--data"]),
        ("create it, or name it with --bars", []),
        ("run `hf download ProsusAI/finbert --local-dir x`, or pass --profile", []),
        ("run: quant retrain GC=F", ["quant retrain"]),
        ("run: quant train \N{WHITE SQUARE}", []),
        ("set QUANT_FOLDER", ["QUANT_FOLDER"]),
        ("set QUANT_BARS", []),
        ("see splits.fold of the experiment", ["splits.fold"]),
        ("see splits.folds, files.timezone and feeds.yaml", []),
        ("set news.zone", ["news.zone"]),
        ("set news.timezone", []),
        ("`make all` does it", ["make all"]),
        ("(README, 'Adding a symbol')", ["Adding a symbol"]),
        ("(README, 'Make it yours')", []),
        ("copy quant_pipeline/config/universe.yml", ["quant_pipeline/config/universe.yml"]),
        ("found _Loose, wanted text", ["_Loose"]),
    ],
)
def test_the_walker_sees_what_does_not_exist(told: str, lost: list[str]) -> None:
    assert wrong(told) == lost


def test_the_walker_sees_words_and_keys_that_nothing_has() -> None:
    assert unknown_words("run clean_bras first") == ["clean_bras"]
    assert unknown_words("run clean_bars first") == []
    assert unknown_words("set `zone` of the symbol in universe.yaml") == ["zone"]
    assert unknown_words("set `timezone` of the symbol in universe.yaml") == []
