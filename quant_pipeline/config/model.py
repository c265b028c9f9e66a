"""The base of every configuration object, and the translation of pydantic's complaints into ours."""

from __future__ import annotations

import difflib
import types
import typing
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Self

import pydantic
import yaml

from quant_pipeline.config.timeframes import duration, minutes
from quant_pipeline.errors import ConfigError


def _timeframe(value: str) -> str:
    minutes(value)
    return value


def _duration(value: object) -> object:
    return duration(value) if isinstance(value, str) and value[-1:] in "mhdw" else value


Timeframe = Annotated[str, pydantic.AfterValidator(_timeframe)]
"""A rung's name, such as 15m."""
Duration = Annotated[timedelta, pydantic.BeforeValidator(_duration)]
"""A span, written 30m, 5h, 2d or 1w."""


class Settings(pydantic.BaseModel):
    """Frozen, no unknown keys, every default validated."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @classmethod
    def parse(cls, value: dict[str, Any], where: str) -> Self:
        """Validate `value`; `where` names the file or object in errors. Raises `ConfigError`."""
        try:
            return cls.model_validate(value)
        except pydantic.ValidationError as error:
            raise _translate(cls, error, where) from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping; raises `ConfigError` for a missing, unreadable or non-mapping file."""
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        told = " ".join(str(error).split())
        raise ConfigError(
            str(path), found=told, wanted="a readable YAML file", mend="check the path and the indentation"
        ) from None
    if not isinstance(value, dict):
        raise ConfigError(
            str(path),
            found=type(value).__name__,
            wanted="a mapping of keys to values",
            mend="see quant_pipeline/config for examples",
        )
    return value


def _translate(cls: type[Settings], error: pydantic.ValidationError, where: str) -> ConfigError:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = sorted(_fields_at(cls, first["loc"][:-1]))
        near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1, cutoff=0.4)
        hint = f"write {near[0]!r} instead" if near else f"remove it; the keys here are {', '.join(known)}"
        return ConfigError(f"{where}: {place}", found="an unknown key", wanted=f"one of {', '.join(known)}", mend=hint)
    if first["type"] == "missing":
        return ConfigError(f"{where}: {place}", found="nothing", wanted="a value", mend=f"add the key {first['loc'][-1]!r}")
    wanted = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if not place:
        return ConfigError(where, found="settings that contradict each other", wanted=wanted, mend=f"edit {where}")
    return ConfigError(f"{where}: {place}", found=repr(first["input"]), wanted=wanted, mend=f"edit {where}")


def _fields_at(cls: type[Settings], location: tuple[int | str, ...]) -> set[str]:
    """Field names of the settings object that `location` points into (dict keys and list indices are skipped)."""
    annotation: Any = cls
    for part in location:
        model = _settings_in(annotation)
        if model is not None and part in model.model_fields:
            annotation = model.model_fields[str(part)].annotation
    model = _settings_in(annotation)
    return set(model.model_fields) if model else set()


def _settings_in(annotation: Any) -> type[Settings] | None:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias) and issubclass(annotation, Settings):
        return annotation
    return next((found for arg in typing.get_args(annotation) if (found := _settings_in(arg))), None)
