"""What can be said of each column of a FEATURES table without looking at its values: the words of the dictionary page."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from quant_pipeline.config.experiment import Experiment
from quant_pipeline.features.build import KEYS
from quant_pipeline.features.foundation import QUANTILES
from quant_pipeline.features.groups import PATTERNS
from quant_pipeline.features.listing import PlacedColumn, every_column
from quant_pipeline.features.registry import DECISION, DERIVED, MACRO, NEWS, OTHERS, PER_DECISION, FeatureSpec

FOUNDATION = "foundation_"
KNOWN = {
    DECISION: "the decision itself, from the market calendar",
    MACRO: "release: what was first told, then each revision from its own release on",
    NEWS: "publication, and the experiment's delay after it",
    OTHERS: "close of the other market's newest bar",
    DERIVED: "close of the newest bars of what it is made of",
}
"""When a feature of each marker is known; of bars it is their close, of patterns the close that confirms them."""


class Entry(NamedTuple):
    """One column in words.

    Attributes:
        column: its name in FEATURES.
        feature: its name in the registry, `family` the family there.
        place: rung or other symbol; empty for a column of the decision.
        meaning: one line with the formula; `detail` what else its docstring tells, its source among it.
        inputs: what it is computed from.
        lookback: bars that decide the value; None where bars do not.
        known: from when on it is known.
    """

    column: str
    feature: str
    family: str
    place: str
    meaning: str
    detail: str
    inputs: tuple[str, ...]
    lookback: int | None
    known: str


def entries(experiment: Experiment, names: Iterable[str], others: Sequence[str]) -> list[Entry]:
    """An entry for each column of `names`, in the registry's order; a column that no feature makes any more says so.

    Args:
        experiment: rungs, z-score window and foundation model.
        names: columns of a FEATURES table; its keys are passed over.
        others: correlated symbols.
    """
    told = dict.fromkeys(name for name in names if name not in KEYS)
    known = {column.name: column for column in every_column(experiment, others) if column.name in told}
    rest = [name for name in told if name not in known]
    return [*(_entry(column, experiment) for column in known.values()), *(_unregistered(name, experiment) for name in rest)]


def _entry(column: PlacedColumn, experiment: Experiment) -> Entry:
    spec = column.spec
    rung = column.place if spec.on_bars else experiment.primary
    bars = None if spec.marker in PER_DECISION else spec.bars_needed(rung, experiment.features)
    scored = spec.zscore and "z-score" not in spec.meaning
    meaning = spec.meaning + (" Then its rolling z-score." if scored else "")
    return Entry(column.name, spec.name, spec.family, column.place, meaning, _detail(spec), spec.inputs, bars, _known(spec))


def _known(spec: FeatureSpec) -> str:
    if spec.family in PATTERNS:
        return "close of the bar that confirms it"
    return KNOWN.get(spec.marker or "", "close of the newest bar of its rung")


def _detail(spec: FeatureSpec) -> str:
    return inspect.cleandoc(spec.function.__doc__ or "").partition("\n")[2].strip()


def _unregistered(name: str, experiment: Experiment) -> Entry:
    if not name.startswith(FOUNDATION):
        return Entry(name, name, "unregistered", "", "No feature of this name is registered any more.", "", (), None, "unknown")
    model, kind = experiment.foundation, name.removeprefix(FOUNDATION)
    meaning = (
        f"Quantile {QUANTILES[kind]:g} of the return to the close {model.horizon} bars ahead, as {model.model} forecasts it."
        if kind in QUANTILES
        else f"One dimension of what {model.model} makes of the last {model.context} closes."
    )
    known = f"close of the newest {experiment.primary} bar"
    return Entry(name, name, "foundation", experiment.primary, meaning, "", ("close",), model.context, known)
