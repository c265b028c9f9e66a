"""The base of every configuration object, and the translation of pydantic's complaints into ours."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Self

import pydantic

from quant_pipeline.config.plain_yaml import read_mapping
from quant_pipeline.config.timeframes import duration, minutes
from quant_pipeline.errors import ConfigError


def _timeframe(value: str) -> str:
    minutes(value)
    return value


def _duration(value: object) -> object:
    if isinstance(value, str) and not value.startswith(("P", "-P")):  # settings beside a model are written as ISO 8601
        if value[-1:] in "mhdw":
            return duration(value)
    elif isinstance(value, timedelta | str):
        return value
    message = "a whole number and its unit, such as 30m, 5h, 2d or 1w"
    raise ValueError(message)


Timeframe = Annotated[str, pydantic.AfterValidator(_timeframe)]
"""A rung's name, such as 15m."""
NonEmpty = Annotated[str, pydantic.Field(min_length=1)]
Duration = Annotated[timedelta, pydantic.BeforeValidator(_duration)]
"""A span, written 30m, 5h, 2d or 1w."""


class Settings(pydantic.BaseModel):
    """Frozen, no unknown keys, every default validated; numbers are finite, and true is no number."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: object, field: pydantic.ValidationInfo) -> object:
        kinds = _kinds(cls.model_fields[str(field.field_name)].annotation)
        inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else [value]
        if kinds & {int, float} and bool not in kinds and any(isinstance(each, bool) for each in inner):
            message = "a number"
            raise ValueError(message)
        return value

    @classmethod
    def parse(cls, value: dict[str, Any], where: str) -> Self:
        """Validate `value`; `where` names the file or object in errors. Raises `ConfigError`."""
        try:
            return cls.model_validate(value)
        except pydantic.ValidationError as error:
            raise _translate(cls, error, where) from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping; raises `ConfigError` for a missing, unreadable or non-mapping file, or a key that stands twice."""
    try:
        return read_mapping(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # no text is a ValueError, too
        raise ConfigError(
            str(path), found=" ".join(str(error).split()), wanted="a readable YAML file of keys and values, each key once",
            mend="check the path, that line and the indentation; see quant_pipeline/config for examples",
        ) from None  # fmt: skip


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


def _kinds(annotation: Any) -> set[type]:
    """The plain types in an annotation, those of a union or a collection too."""
    found: set[type] = set().union(*map(_kinds, typing.get_args(annotation)))
    return found or ({annotation} if isinstance(annotation, type) else set())
