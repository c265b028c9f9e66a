"""The registry as rows that a person reads: features, what each named set holds, and the documents' inputs against ours.

`quant features` prints these; the dictionary page tells more of the same columns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from quant_pipeline import plugins
from quant_pipeline.config.documents import DocumentInput, DocumentPart, documents
from quant_pipeline.config.experiment import Experiment
from quant_pipeline.config.feature_sets import feature_set, feature_sets
from quant_pipeline.features.groups import narrowed
from quant_pipeline.features.registry import FAMILIES, OTHERS, FeatureSpec, every_family, placed, specs


class PlacedColumn(NamedTuple):
    """One column: its name, its feature, and where it is computed (a rung, another symbol, or "" for a decision)."""

    name: str
    spec: FeatureSpec
    place: str


class Listing(NamedTuple):
    """A table for a person: what it is of, and its rows."""

    title: str
    rows: list[dict[str, Any]]


def every_column(experiment: Experiment, others: Sequence[str], family: str | None = None) -> tuple[PlacedColumn, ...]:
    """Every column that `family`, or all of them, can make on the experiment's rungs, for a symbol with volume and all tables.

    Args:
        experiment: rungs, coarse rungs and primary; its own choice of families does not count.
        others: correlated symbols.
        family: raises `ConfigError` for one that does not exist.
    """
    return _columns(experiment, others, (family,) if family else every_family())


def _columns(experiment: Experiment, others: Sequence[str], families: Sequence[str]) -> tuple[PlacedColumn, ...]:
    settings = narrowed(experiment.features, families)
    pairs = placed(settings, experiment.rungs, experiment.primary, others)
    return tuple(PlacedColumn(spec.column(place), spec, place) for spec, place in pairs)


def feature_listing(experiment: Experiment, others: Sequence[str], family: str | None = None) -> Listing:
    """Every feature of `family`, or of the experiment's families."""
    families = (family,) if family else experiment.features.families
    rows = _feature_rows(specs(families), _columns(experiment, others, families), experiment)
    new = set(every_family()) - {*FAMILIES, *families}
    return Listing(f"{sum(row['columns'] for row in rows)} columns{_left_out(new) if family is None else ''}", rows)


def set_listing(experiment: Experiment, symbol: str, others: Sequence[str], name: str, family: str | None = None) -> Listing:
    """The features of the set `name`, of one family or of all; raises `ConfigError` naming the nearest set or family."""
    columns = _members(name, every_column(experiment, others, family), experiment)
    chosen = dict.fromkeys(column.spec for column in columns)
    told = (
        f"{name} for {symbol}: {len(columns)} columns ({_by_family(columns) or 'none'}); documents: {feature_set(name).counted}"
    )
    absent = {column.spec.family for column in columns} - {*experiment.features.families, "channels"}
    return Listing(told + _left_out(absent), _feature_rows(chosen, columns, experiment))


def _left_out(families: Collection[str]) -> str:
    return f"; not made by this experiment (features.families): {', '.join(sorted(families))}" if families else ""


def sets_listing(experiment: Experiment, symbol: str, others: Sequence[str], family: str | None = None) -> Listing:
    """One row a set: what it is for, how many columns the documents give it, and how many it has here."""
    columns = every_column(experiment, others, family)
    members = {name: _members(name, columns, experiment) for name in feature_sets()}
    rows = [
        {
            "set": name,
            "columns": len(members[name]),
            "documents say": each.counted,
            "by family": _by_family(members[name]),
            "for": each.description,
        }
        for name, each in feature_sets().items()
    ]
    return Listing(f"feature sets, of {len(columns)} columns of {symbol}", rows)


def documents_listing(experiment: Experiment, symbol: str, others: Sequence[str], family: str | None = None) -> Listing:
    """Every input that the documents name, with our columns, or the reason why there are none; a list's own row is first."""
    columns = every_column(experiment, others, family)
    features = {column.name: column.spec.name for column in columns}
    rows, named = [], set[str]()
    for part in documents():
        found = [(each, each.members(features)) for each in part.inputs]
        shown = [(each, ours) for each, ours in found if ours or family is None]
        named.update(*(ours for _, ours in shown))
        if shown:
            rows += [_part_row(part, shown), *(_input_row(each, ours, part.times) for each, ours in shown)]
    beyond = _by_family([column for column in columns if column.name not in named])
    title = f"inputs that the documents name, and {len(named)} of the {len(columns)} columns of {symbol}"
    return Listing(f"{title}; named by none of them: {beyond or 'no column'}", rows)


def _members(name: str, columns: Sequence[PlacedColumn], experiment: Experiment) -> list[PlacedColumn]:
    chosen = set(feature_set(name).members([column.name for column in columns], experiment.rungs))
    return [column for column in columns if column.name in chosen]


def _by_family(columns: Iterable[PlacedColumn]) -> str:
    counted = Counter(column.spec.family for column in columns)
    return ", ".join(f"{family} {count}" for family, count in counted.items())


def _feature_rows(chosen: Iterable[FeatureSpec], columns: Sequence[PlacedColumn], experiment: Experiment) -> list[dict[str, Any]]:
    places: dict[str, list[str]] = {}
    for column in columns:
        places.setdefault(column.spec.name, []).append(column.place)
    return [_feature_row(spec, places.get(spec.name, []), experiment) for spec in chosen]


def _feature_row(spec: FeatureSpec, places: Sequence[str], experiment: Experiment) -> dict[str, Any]:
    at_rung = places[-1] if spec.on_bars and places else experiment.primary
    return {
        "feature": spec.name,
        "family": spec.family,
        "on": _where(spec, places, experiment.ladder),
        "columns": len(places),
        "bars": spec.bars_needed(at_rung, experiment.features),
        "volume": "needed" if spec.needs_volume else "",
        **plugins.told(spec.function.__module__),
        "meaning": spec.meaning,
    }


def _where(spec: FeatureSpec, places: Sequence[str], ladder: Sequence[str]) -> str:
    if spec.marker != OTHERS and not spec.on_bars:
        return spec.marker or ""
    return f"{places[0]} … {places[-1]}" if tuple(places) == tuple(ladder) else " ".join(places)


def _part_row(part: DocumentPart, found: Sequence[tuple[DocumentInput, tuple[str, ...]]]) -> dict[str, Any]:
    return {
        "document": f"{part.document}, {part.section}",
        "input": part.title,
        "they count": sum(each.count or 0 for each, _ in found) * part.times or "",
        "ours": len({column for _, ours in found for column in ours}),
        "our names": "",
        "why": part.note,
    }


def _input_row(each: DocumentInput, ours: Sequence[str], times: int) -> dict[str, Any]:
    return {
        "document": "",
        "input": f"  {each.name}",
        "they count": each.count * times if each.count else "",
        "ours": len(ours),
        "our names": " ".join(each.ours).replace(",", ", "),  # so that a narrow terminal can break it
        "why": each.note,
    }
