"""The feature registry: what each feature is called, reads, where it is computed and how far back it looks.

A family is one module of this package; importing it registers its features. To add a feature, write one
decorated function in its family, or in a new file: here, or in a folder of QUANT_PLUGINS. A family's name that
nobody had before makes a new family.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import numpy as np

from quant_pipeline import plugins
from quant_pipeline.errors import ConfigError
from quant_pipeline.features.found import new_modules
from quant_pipeline.features.kernels import FloatArray
from quant_pipeline.features.zscore import rolling_zscore

if TYPE_CHECKING:
    from quant_pipeline.config.experiment import FeatureSettings

FAMILY_MODULES = {
    "momentum": "momentum",
    "volatility": "volatility",
    "volume": "volume",
    "statistics": "statistics",
    "returns": "returns",
    "oscillators": "oscillators",
    "microstructure": "microstructure",
    "fractional": "fractional",
    "wavelets": "wavelets",
    "regime": "regime",
    "alignment": "alignment",
    "ta_vector": "ta_vector",
    "smart_money": "smart_money",
    "chart_patterns": "patterns.chart",
    "advanced_patterns": "patterns.advanced",
    "candlestick_patterns": "patterns.candlestick",
    "harmonic_patterns": "patterns.harmonic",
    "elliott_waves": "patterns.elliott",
    "cross_asset": "cross_asset",
    "calendar": "calendar",
    "macro": "macro",
    "news": "news",
    "interactions": "interactions",
    "channels": "channels",
}
"""Module of each family of the package's own, in the order of the columns."""
FAMILIES = tuple(FAMILY_MODULES)

PRIMARY = "primary"
"""In `rungs`: only on the rung that samples are made on."""
OTHERS = "others"
"""In `rungs`: once for each correlated symbol, on the primary bars; the column ends with that symbol."""
DECISION, MACRO, NEWS = "decision", "macro", "news"
"""In `rungs`: computed for each decision from the market calendar, the macro releases or the news."""
DERIVED = "derived"
"""In `rungs`: computed from other feature columns, which `inputs` names, such as `rsi_1m`."""
PER_DECISION = (DECISION, MACRO, NEWS, DERIVED)
"""Their columns have no rung in their names."""
ONE_FAMILY = {OTHERS: "cross_asset", MACRO: "macro", NEWS: "news"}
"""The family whose table brings what a feature of the marker reads."""

P = ParamSpec("P")
R = TypeVar("R")
Columns = Mapping[str, FloatArray]
Function = Callable[[Columns], FloatArray]


@dataclass(frozen=True)
class FeatureSpec:
    """One registered feature.

    Attributes:
        inputs: columns that `function` reads: open high low close volume, session_open and timestamp (microseconds),
            anchor (`patterns/zigzag.py`); for `OTHERS` also other_open … other_volume and other_age (minutes); for
            `DECISION`, `MACRO` and `NEWS` what the `columns` function of their module makes; for `DERIVED` feature columns.
        lookback: bars, the newest included, that decide the value; older ones change no bit of it. A number, or a
            function of the rung for features anchored to the session.
        rungs: None for every rung of the ladder, else names of rungs, or one of the markers of this module.
        zscore: whether the rolling z-score is applied on the feature's own rung.
        needs_volume: left out where a symbol has no volume.
        function: from columns to values, (n,), or (k, n) where it computes k features at once.
        output: which of those k is this feature; None where there is one.
        meaning: one line for a person.
    """

    name: str
    family: str
    inputs: tuple[str, ...]
    lookback: int | Callable[[str], int]
    rungs: tuple[str, ...] | None
    zscore: bool
    needs_volume: bool
    function: Function
    output: int | None
    meaning: str

    def on(self, rung: str, primary: str, coarse: Sequence[str] = ()) -> bool:
        """Whether the feature is computed on the bars of `rung`; those of `coarse` are for features that name them."""
        if self.rungs is None:
            return rung not in coarse
        return rung in self.rungs or (PRIMARY in self.rungs and rung == primary)

    @cached_property
    def marker(self) -> str | None:
        """`OTHERS`, `DECISION`, `MACRO`, `NEWS` or `DERIVED`; None for a feature of a rung's bars."""
        alone = self.rungs[0] if self.rungs and len(self.rungs) == 1 else None
        return alone if alone in (OTHERS, *PER_DECISION) else None

    @property
    def on_bars(self) -> bool:
        """Whether the feature is computed from the bars of one rung of its own symbol."""
        return self.marker is None

    def column(self, rung: str) -> str:
        """Name of its column: `rsi_1h`, `xret_1_SPY`, or the bare name where there is one column a decision."""
        return self.name if self.marker in PER_DECISION else f"{self.name}_{rung}"

    def bars_needed(self, rung: str, settings: FeatureSettings) -> int:
        """Bars that decide one final value, z-score window included."""
        own = self.lookback if isinstance(self.lookback, int) else self.lookback(rung)
        return own + (settings.zscore_window - 1 if self.zscore else 0)

    def compute(self, columns: Columns, settings: FeatureSettings) -> FloatArray:
        """(n,) values of the feature over (n,) columns; NaN only while too few bars came before."""
        if not next(iter(columns.values())).size:
            return np.empty(0)
        return self.finish(self.raw(columns), settings)

    def raw(self, columns: Columns) -> FloatArray:
        """What `function` makes of the columns; the frame of this call tells whoever watches which feature is running."""
        return self.function(columns)

    def finish(self, values: FloatArray, settings: FeatureSettings) -> FloatArray:
        """This feature of what `function` returned, with the z-score where it wants one."""
        own = values if self.output is None else values[self.output]
        return rolling_zscore(own, settings.zscore_window, settings.zscore_min_periods) if self.zscore else own


_REGISTERED: dict[str, FeatureSpec] = {}


def remembered(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, of hashable arguments, answering from memory for as long as the same features are registered."""

    @lru_cache(maxsize=128)
    def known(_: tuple[int, ...], *given: P.args, **named: P.kwargs) -> R:
        return function(*given, **named)

    @wraps(function)
    def asking(*given: P.args, **named: P.kwargs) -> R:
        return known(tuple(map(id, _REGISTERED.values())), *given, **named)  # type: ignore[arg-type]

    return asking


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
        _enter(FeatureSpec(name, family, inputs, lookback, rungs, zscore, needs_volume, function, None, first_line(function)))
        return function

    return register


def features(
    meanings: Mapping[str, str],
    family: str,
    inputs: tuple[str, ...],
    lookback: int | Callable[[str], int],
    *,
    rungs: tuple[str, ...] | None = None,
    zscore: bool = False,
    needs_volume: bool = False,
) -> Callable[[Function], Function]:
    """Register a pure function that computes several features at once: from columns to (k, n), a row for each of `meanings`."""

    def register(function: Function) -> Function:
        for row, (name, meaning) in enumerate(meanings.items()):
            _enter(FeatureSpec(name, family, inputs, lookback, rungs, zscore, needs_volume, function, row, meaning))
        return function

    return register


def first_line(function: Function) -> str:
    """First line of a function's docstring."""
    return inspect.cleandoc(function.__doc__ or "").partition("\n")[0]


def _enter(spec: FeatureSpec) -> None:
    known = _REGISTERED.get(spec.name)
    if known is not None and _place(known.function) != _place(spec.function):
        raise ConfigError(
            f"feature {spec.name!r}", found=f"two, in {_file(known.function)} and {_file(spec.function)}",
            wanted="one name per feature", mend="rename one of them",
        )  # fmt: skip
    if spec.family != (family := ONE_FAMILY.get(spec.marker or "", spec.family)):
        raise ConfigError(
            f"family of feature {spec.name!r}", found=f"{spec.family!r} with rungs {spec.rungs}",
            wanted=f"{family!r}, the family that brings what it reads", mend=f"write {family!r}",
        )  # fmt: skip
    _REGISTERED[spec.name] = spec


def _place(function: Function) -> tuple[str, str]:
    return function.__module__, getattr(function, "__qualname__", "")


def _file(function: Function) -> str:
    return str(getattr(sys.modules.get(function.__module__), "__file__", function.__module__))


def specs(families: Sequence[str] | None = None) -> tuple[FeatureSpec, ...]:
    """The features of `families`, by default of every one, in the order of those and of their modules.

    Raises:
        ConfigError: an unknown family, or a new module that cannot be imported.
    """
    return _specs(every_family() if families is None else tuple(families), _import_new())


def every_family() -> tuple[str, ...]:
    """The package's own families, in the order of the columns, then those that new modules made."""
    _import_new()
    return tuple(dict.fromkeys((*FAMILIES, *(spec.family for spec in _REGISTERED.values()))))


def _import_new() -> tuple[str, ...]:
    """Import the modules that no line names and tell them; the families of the package before, so that no name is taken twice."""
    told = new_modules(FAMILY_MODULES.values())
    if not sys.modules.keys() >= told.keys():
        for module in FAMILY_MODULES.values():
            importlib.import_module(f"quant_pipeline.features.{module}")
        plugins.load_all(told)
    return tuple(told)


@remembered
def _specs(families: tuple[str, ...], new: tuple[str, ...]) -> tuple[FeatureSpec, ...]:
    for family in families:
        _import_family(family)
    rank = {module: number for number, module in enumerate(new, 1)}
    ordered = sorted(_REGISTERED.values(), key=lambda spec: rank.get(spec.function.__module__, 0))
    return tuple(spec for family in dict.fromkeys(families) for spec in ordered if spec.family == family)


def _import_family(family: str) -> None:
    if family in FAMILIES:
        importlib.import_module(f"quant_pipeline.features.{FAMILY_MODULES[family]}")
    elif family not in every_family():
        near = difflib.get_close_matches(family, every_family(), n=1, cutoff=0.4)
        raise ConfigError(
            f"features.families: {family!r}",
            found="no such family",
            wanted=f"some of {', '.join(every_family())}",
            mend=f"write {near[0]!r}" if near else f"remove it, or set {plugins.VARIABLE} to the folder of its module",
        )


def names() -> tuple[str, ...]:
    """Names of all features, in column order."""
    return tuple(spec.name for spec in specs())


def families() -> dict[str, tuple[str, ...]]:
    """Names of the features of each family."""
    return {family: tuple(spec.name for spec in specs((family,))) for family in every_family()}


def columns(settings: FeatureSettings, ladder: Sequence[str], primary: str, others: Sequence[str] = ()) -> tuple[str, ...]:
    """Every column that `build_features` makes for a symbol with volume and all tables, in its order.

    Args:
        settings: families and coarse rungs.
        ladder: rungs with bars, the coarse ones included.
        primary: rung that samples are made on.
        others: correlated symbols.
    """
    return _columns(settings, tuple(ladder), primary, tuple(others))


@remembered
def _columns(settings: FeatureSettings, ladder: tuple[str, ...], primary: str, others: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(spec.column(place) for spec, place in placed(settings, ladder, primary, others))


def placed(
    settings: FeatureSettings, ladder: Sequence[str], primary: str, others: Sequence[str] = ()
) -> tuple[tuple[FeatureSpec, str], ...]:
    """Each feature of `settings.families` with each place it is computed at: a rung, another symbol, or "" for a decision."""
    return _placed(settings, tuple(ladder), primary, tuple(others))


@remembered
def _placed(
    settings: FeatureSettings, ladder: tuple[str, ...], primary: str, others: tuple[str, ...]
) -> tuple[tuple[FeatureSpec, str], ...]:
    return tuple(_each_placed(settings, ladder, primary, others))


def _each_placed(
    settings: FeatureSettings, ladder: tuple[str, ...], primary: str, others: tuple[str, ...]
) -> Iterator[tuple[FeatureSpec, str]]:
    for spec in specs(settings.families):
        if spec.on_bars:
            yield from ((spec, rung) for rung in ladder if spec.on(rung, primary, settings.coarse))
        else:
            yield from ((spec, symbol) for symbol in (others if spec.marker == OTHERS else ("",)))
