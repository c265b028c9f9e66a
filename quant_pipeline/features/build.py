"""Any set of features, joined to the decision times of the primary rung.

A feature is computed on its own rung's bars, then read as of each decision: the last bar whose `known_at` is not
later. What one decision reads is a fixed number of bars per rung (`history_needed`), and no bit depends on older
ones, so an update from a tail, and a live window, give what a full recompute gives.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from quant_pipeline.bars.moments import Int64s, microseconds, require_columns, to_microseconds
from quant_pipeline.errors import DataError
from quant_pipeline.features.compute import Task, run
from quant_pipeline.features.context import ALONE, Context
from quant_pipeline.features.places import Place, pair_place, rung_place
from quant_pipeline.features.registry import (
    DECISION,
    DERIVED,
    MACRO,
    NEWS,
    OTHERS,
    FeatureSpec,
    columns,
    every_family,
    placed,
    remembered,
    specs,
)
from quant_pipeline.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from quant_pipeline.config.experiment import FeatureSettings
    from quant_pipeline.features.kernels import FloatArray

KEYS = ("timestamp", "decision_at")
TABLES = {DECISION: "calendar", MACRO: "macro", NEWS: "news"}
"""Modules that make what features of a marker read, whatever their family."""


def build_features(
    bars: Mapping[str, pl.DataFrame],
    settings: FeatureSettings,
    primary: str,
    calendar: str,
    *,
    since: datetime | None = None,
    context: Context = ALONE,
) -> tuple[pl.DataFrame, Ledger]:
    """Compute the features of `settings.families` for every primary bar.

    Args:
        bars: RUNG BARS by rung, cleaned; `primary` is among them. Rungs finer and coarser than it both serve.
        settings: families, coarse rungs and the rolling z-score.
        primary: rung whose bars are the samples; `decision_at` is their `known_at`.
        calendar: the symbol's market calendar, for the session features.
        since: only decisions later than this. Bars are read from `history_needed` before the first of them; the rows
            equal those of a call without `since`, bit for bit.
        context: other markets, news and releases. Later rows of theirs change nothing.

    Returns:
        FEATURES: timestamp, decision_at and one Float64 column per feature and place, named and ordered as
        `registry.columns` says; null while too few bars came before, and where another market says nothing. The ledger
        drops, as `warm_up`, the rows without a value from any bar; `notes["left_out"]` names the columns that cannot be
        made (a rung without volume, a table that is absent), `notes["missing"]` the correlated symbols without a bar, and
        `notes["empty"]` the columns without any value (a series that was never told, a history that is too short).

    Raises:
        DataError: no primary rung, missing columns, prices that are not positive and finite, unsorted `known_at`.
        ConfigError: an unknown family.
    """
    decisions = _decisions(bars, primary, since)
    wanted = placed(settings, tuple(bars), primary, tuple(context.others))
    inputs = _inputs_of_derived(settings, tuple(bars), primary)
    places = _places(bars, settings, primary, microseconds(decisions["decision_at"]), context)
    tasks = [Task(spec, places[place]) for spec, place in dict.fromkeys((*wanted, *inputs)) if place in places]
    values = run([task for task in tasks if task.place.has_volume or not task.spec.needs_volume], settings)
    rows = _rows_with_values(values, decisions.height)
    values |= _per_decision(settings, decisions, calendar, context, values)
    names = columns(settings, tuple(bars), primary, tuple(context.others))
    missing = [symbol for symbol, frame in context.others.items() if frame.is_empty()]
    ledger = Ledger(
        rows_in=decisions.height,
        notes={"left_out": [name for name in names if name not in values], **({"missing": missing} if missing else {})},
    )
    ledger.drop("warm_up", decisions.height - decisions[rows].height)
    series = [pl.Series(name, values.pop(name)[rows], nan_to_null=True) for name in names if name in values]
    ledger.notes["empty"] = [column.name for column in series if column.null_count() == len(column)]
    return decisions[rows].select(KEYS).hstack(series), ledger


def history_needed(settings: FeatureSettings, ladder: Sequence[str], primary: str) -> dict[str, int]:
    """Bars of each rung that decide the features of one decision: the one known then, and those before it.

    Example:
        >>> history_needed(FeatureSettings(families=("momentum",)), ["1m", "1h"], "1h")
        {'1m': 770, '1h': 770}
    """
    return dict(_history_needed(settings, tuple(ladder), primary))


@remembered
def _history_needed(settings: FeatureSettings, ladder: tuple[str, ...], primary: str) -> tuple[tuple[str, int], ...]:
    pairs = [(spec, primary if spec.marker == OTHERS else place) for spec, place in placed(settings, ladder, primary, ("",))]
    needed = dict.fromkeys(ladder, 0)
    for spec, rung in (*pairs, *_inputs_of_derived(settings, ladder, primary)):
        if rung:
            needed[rung] = max(needed[rung], spec.bars_needed(rung, settings))
    return tuple(needed.items())


@remembered
def _inputs_of_derived(settings: FeatureSettings, ladder: tuple[str, ...], primary: str) -> list[tuple[FeatureSpec, str]]:
    """Features, and their rungs, that derived ones of the settings read, whether or not they are wanted themselves."""
    read = {name for spec in specs(settings.families) if spec.marker == DERIVED for name in spec.inputs}
    if not read:
        return []
    known = placed(settings.model_copy(update={"families": every_family()}), ladder, primary)
    return [(spec, rung) for spec, rung in known if spec.on_bars and spec.column(rung) in read]


def _decisions(bars: Mapping[str, pl.DataFrame], primary: str, since: datetime | None) -> pl.DataFrame:
    if primary not in bars:
        raise DataError(
            "features", found=f"rungs {', '.join(bars)}", wanted=f"the primary rung {primary} too", mend="build its bars first"
        )
    require_columns(bars[primary], ("timestamp", "known_at", "session_open", "session_close"), f"bars/{primary}")
    decisions = bars[primary].select("timestamp", pl.col("known_at").alias("decision_at"), "session_open", "session_close")
    if since is None:
        return decisions
    at = microseconds(decisions["decision_at"])
    return decisions.slice(int(np.searchsorted(at, to_microseconds(since, "since"), side="right")))


def _places(
    bars: Mapping[str, pl.DataFrame], settings: FeatureSettings, primary: str, at: Int64s, context: Context
) -> dict[str, Place]:
    need = history_needed(settings, tuple(bars), primary)
    rungs = {name: rung_place(name, frame, at, need[name]) for name, frame in bars.items()}
    if not any(spec.marker == OTHERS for spec in specs(settings.families)):
        return rungs
    own, age = rungs[primary], settings.others_max_age
    return rungs | {symbol: pair_place(symbol, frame, own, age) for symbol, frame in context.others.items()}


def _per_decision(
    settings: FeatureSettings, decisions: pl.DataFrame, calendar: str, context: Context, values: Mapping[str, FloatArray]
) -> dict[str, FloatArray]:
    """Features of the calendar, the releases, the news and other features; those whose input is absent are left out."""
    tables: dict[str | None, Mapping[str, FloatArray]] = {DERIVED: values}
    out = {}
    for spec in specs(settings.families):
        if spec.on_bars or spec.marker == OTHERS:
            continue
        if spec.marker not in tables:
            tables[spec.marker] = _table(spec, decisions, calendar, context)
        read = tables[spec.marker]
        if all(name in read for name in spec.inputs):
            out[spec.name] = spec.compute({name: read[name] for name in spec.inputs}, settings)
    return out


def _table(spec: FeatureSpec, decisions: pl.DataFrame, calendar: str, context: Context) -> Mapping[str, FloatArray]:
    module = importlib.import_module(f"quant_pipeline.features.{TABLES[str(spec.marker)]}")
    if spec.marker == DECISION:
        made: Mapping[str, FloatArray] = module.decision_columns(decisions, calendar)
        return made
    table = {MACRO: context.releases, NEWS: context.news}[str(spec.marker)]
    return {} if table is None else module.columns(decisions, table)


def _rows_with_values(values: Mapping[str, FloatArray], rows: int) -> slice | Int64s:
    """Rows where any of `values` is there; a slice when only leading rows are without, so that nothing is copied."""
    empty = np.arange(rows if values else 0)
    for column in values.values():
        empty = empty[np.isnan(column[empty])]
    if empty.size == 0 or empty[-1] == empty.size - 1:
        return slice(empty.size, None)
    return np.delete(np.arange(rows), empty)
