"""The feature registry: what each feature is called, reads, where it is computed and how far back it looks.

A family is one module of this package; importing it registers its features. To add a feature, write one
decorated function in its family; to add a family, write its module and name it in `FAMILIES`.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from quant_pipeline.errors import ConfigError
from quant_pipeline.features.kernels import FloatArray
from quant_pipeline.features.zscore import rolling_zscore

if TYPE_CHECKING:
    from quant_pipeline.config.experiment import FeatureSettings

FAMILIES = ("momentum", "volatility", "volume", "statistics", "returns", "calendar")
PRIMARY = "primary"
"""In `rungs`: only on the rung that samples are made on."""
DECISION = "decision"
"""In `rungs`: computed from the decision time itself, not from a rung's bars; the column has no rung in its name."""

Columns = Mapping[str, FloatArray]
Function = Callable[[Columns], FloatArray]


@dataclass(frozen=True)
class FeatureSpec:
    """One registered feature.

    Attributes:
        inputs: columns that `function` reads: open high low close volume session_open (microseconds), or, for
            `DECISION`, the columns that `calendar.decision_columns` makes.
        lookback: bars, the newest included, that decide the value; older ones change no bit of it. A number, or a
            function of the rung for features anchored to the session.
        rungs: None for every rung of the ladder, else names of rungs, `PRIMARY` or `DECISION`.
        zscore: whether the rolling z-score is applied on the feature's own rung.
        needs_volume: left out where a symbol has no volume.
    """

    name: str
    family: str
    inputs: tuple[str, ...]
    lookback: int | Callable[[str], int]
    rungs: tuple[str, ...] | None
    zscore: bool
    needs_volume: bool
    function: Function

    def on(self, rung: str, primary: str) -> bool:
        """Whether the feature is computed on the bars of `rung`."""
        return self.rungs is None or rung in self.rungs or (PRIMARY in self.rungs and rung == primary)

    @property
    def on_decision(self) -> bool:
        """Whether the feature is computed from the decision time."""
        return self.rungs == (DECISION,)

    def column(self, rung: str) -> str:
        """Name of its column: `rsi_1h`, or the bare name for a feature of the decision time."""
        return self.name if self.on_decision else f"{self.name}_{rung}"

    def bars_needed(self, rung: str, settings: FeatureSettings) -> int:
        """Bars that decide one final value, z-score window included."""
        own = self.lookback if isinstance(self.lookback, int) else self.lookback(rung)
        return own + (settings.zscore_window - 1 if self.zscore else 0)

    def compute(self, columns: Columns, settings: FeatureSettings) -> FloatArray:
        """(n,) values of the feature over (n,) columns; NaN only while too few bars came before."""
        if not next(iter(columns.values())).size:
            return np.empty(0)
        values = self.function(columns)
        return rolling_zscore(values, settings.zscore_window, settings.zscore_min_periods) if self.zscore else values


_REGISTERED: dict[str, FeatureSpec] = {}


def feature(
    name: str,
    family: str,
    inputs: tuple[str, ...],
    lookback: int | Callable[[str], int],
    *,
    rungs: tuple[str, ...] | None = None,
    zscore: bool = False,
    needs_volume: bool = False,
) -> Callable[[Function], Function]:
    """Register a pure function from columns to one value per bar; the arguments are those of `FeatureSpec`."""

    def register(function: Function) -> Function:
        known = _REGISTERED.get(name)
        if known is not None and known.function.__module__ != function.__module__:
            raise ConfigError(
                f"feature {name!r}",
                found=f"a second one in {function.__module__}",
                wanted=f"one name per feature (taken by {known.function.__module__})",
                mend="rename one of them",
            )
        _REGISTERED[name] = FeatureSpec(name, family, inputs, lookback, rungs, zscore, needs_volume, function)
        return function

    return register


def specs(families: Sequence[str] = FAMILIES) -> tuple[FeatureSpec, ...]:
    """The features of `families`, in the order of those and of their modules; raises `ConfigError` for an unknown one."""
    for family in families:
        if family not in FAMILIES:
            near = difflib.get_close_matches(family, FAMILIES, n=1, cutoff=0.4)
            raise ConfigError(
                f"features.families: {family!r}",
                found="no such family",
                wanted=f"some of {', '.join(FAMILIES)}",
                mend=f"write {near[0]!r}" if near else "remove it",
            )
        importlib.import_module(f"quant_pipeline.features.{family}")
    return tuple(spec for family in dict.fromkeys(families) for spec in _REGISTERED.values() if spec.family == family)


def names() -> tuple[str, ...]:
    """Names of all features, in column order."""
    return tuple(spec.name for spec in specs())


def families() -> dict[str, tuple[str, ...]]:
    """Names of the features of each family."""
    return {family: tuple(spec.name for spec in specs((family,))) for family in FAMILIES}


def columns(settings: FeatureSettings, ladder: Sequence[str], primary: str) -> tuple[str, ...]:
    """Every column that `build_features` makes for a symbol with volume, in its order."""
    chosen = specs(settings.families)
    return tuple(
        spec.column(rung)
        for spec in chosen
        for rung in (("",) if spec.on_decision else ladder)
        if spec.on_decision or spec.on(rung, primary)
    )
