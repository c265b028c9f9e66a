"""The registry: every decorated class in `models/<family>/*.py` and in the plugins, found without importing its library."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from quant_pipeline import plugins
from quant_pipeline.config.model import Settings
from quant_pipeline.errors import ConfigError
from quant_pipeline.models.base import FACTS, ThreeClassModel
from quant_pipeline.models.contract import CLASSIFIER_OUTPUTS, ModelSpec
from quant_pipeline.models.folder import unseal

M = TypeVar("M", bound=type[ThreeClassModel[Any]])

FOLDER = Path(__file__).parent
_REGISTERED: dict[str, type[ThreeClassModel[Any]]] = {}


def model(
    name: str,
    *,
    family: str,
    view: str,
    params: type[Settings],
    outputs: tuple[str, ...] = CLASSIFIER_OUTPUTS,
    needs_scaling: bool = False,
    zero_shot: bool = False,
    causal: bool = True,
) -> Callable[[M], M]:
    """Register the decorated class under `name`; the arguments are those of `ModelSpec`.

    Raises:
        ConfigError: another class has the name.
    """  # fmt: skip

    def register(cls: M) -> M:
        other = _REGISTERED.get(name)
        if other is not None and _place(other) != _place(cls):
            raise ConfigError(
                f"model {name!r}", found=f"two classes, {_told(other)} and {_told(cls)}", wanted="one", mend="rename one"
            )
        cls.spec = ModelSpec(name, family, view, params, outputs, needs_scaling, zero_shot, causal)
        _REGISTERED[name] = cls
        return cls

    return register


def _place(cls: type) -> tuple[str, str]:
    return cls.__module__, cls.__qualname__


def _told(cls: type) -> str:
    return f"{cls.__qualname__} in {getattr(sys.modules.get(cls.__module__), '__file__', cls.__module__)}"


def _scan() -> None:
    """Import every module of every family folder, and the plugins; their libraries are imported inside functions: it is cheap."""
    plugins.load_all(_in_package())
    plugins.load()


@cache
def _in_package() -> dict[str, Path]:
    files = sorted(path for path in FOLDER.glob("*/*.py") if path.stem != "__init__")
    return {f"quant_pipeline.models.{path.parent.name}.{path.stem}": path for path in files}


def names() -> tuple[str, ...]:
    """Every registered model, sorted by name."""
    _scan()
    return tuple(sorted(_REGISTERED))


def get(name: str) -> type[ThreeClassModel[Any]]:
    """The class of model `name`; raises `ConfigError` naming the nearest one."""
    _scan()
    if name in _REGISTERED:
        return _REGISTERED[name]
    near = difflib.get_close_matches(name, names(), n=1, cutoff=0.4)
    mend = (
        f"did you mean {near[0]!r}?" if near else f"write its file (models/<family>/, or a folder that {plugins.VARIABLE} names)"
    )
    raise ConfigError(f"model {name!r}", found="no such model", wanted=f"one of {', '.join(names())}", mend=mend)


def spec(name: str) -> ModelSpec:
    """What is known of model `name` without its library; raises `ConfigError` naming the nearest one."""
    return get(name).spec


def create(name: str, params: Mapping[str, Any] | None = None) -> ThreeClassModel[Any]:
    """An unfitted model; raises `ConfigError` for an unknown name, parameter or impossible value, before any training."""
    return get(name)(params)


def load_model(folder: Path) -> ThreeClassModel[Any]:
    """Load a saved model of any kind by the name in its facts; raises `BundleError` for a damaged folder."""
    return get(str(unseal(folder, FACTS).get("model"))).load(folder)
