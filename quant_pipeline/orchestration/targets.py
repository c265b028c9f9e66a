"""The short way to name an asset partition in the shell: `meta_learner/GC=F`, `models/lightgbm/GC=F/fold_00`."""

from __future__ import annotations

import difflib
from itertools import product

import dagster as dg

from quant_pipeline.errors import ConfigError
from quant_pipeline.orchestration.house import House
from quant_pipeline.orchestration.partitions import fold_key

EVERY = "*"


def parse_targets(target: str, graph: dg.AssetGraph, house: House) -> tuple[dg.AssetKey, list[str]]:
    """(asset key, partition keys) of a target in which `*` may stand for every symbol or every fold.

    Dagster's own ranges of partitions want assets that make several in one run; ours make one a run.
    """
    key, rest = _asset(target.split("/"), graph)
    if key is None or EVERY not in rest:
        key, partition = parse_target(target, graph, house)
        return key, [partition]
    names = (tuple(house.universe.symbols), house.experiment.splits.fold_names)
    chosen = [every if part == EVERY else (part,) for part, every in zip(rest, names, strict=False)]
    told = ["/".join([*key.path, *one, *rest[len(chosen) :]]) for one in product(*chosen)]
    return key, [parse_target(one, graph, house)[1] for one in told]


def parse_target(target: str, graph: dg.AssetGraph, house: House) -> tuple[dg.AssetKey, str]:
    """(asset key, partition key) of a target; raises `ConfigError` naming the nearest asset, symbol or fold."""
    key, rest = _asset(target.split("/"), graph)
    if key is None:
        raise ConfigError(
            f"target {target!r}", found="no such asset", wanted="ASSET/SYMBOL or ASSET/SYMBOL/FOLD", mend=_nearest(target, graph)
        )
    folds = isinstance(graph.get(key).partitions_def, dg.MultiPartitionsDefinition)
    if len(rest) != 1 + folds:
        example = f"{key.to_user_string()}/GC=F" + ("/fold_00" if folds else "")
        raise ConfigError(
            f"target {target!r}", found=f"{len(rest)} parts after the asset", wanted=f"{1 + folds}", mend=f"write {example}"
        )
    house.symbol(rest[0])
    if not folds:
        return key, rest[0]
    names = house.experiment.splits.fold_names
    if rest[1] not in names:
        raise ConfigError(
            f"fold {rest[1]!r}",
            found="no such fold",
            wanted=f"one of {', '.join(names)}",
            mend="see splits.folds of the experiment",
        )
    return key, fold_key(rest[0], rest[1])


def _asset(parts: list[str], graph: dg.AssetGraph) -> tuple[dg.AssetKey | None, list[str]]:
    """The asset that the first parts name, and the others; None where none is named."""
    counts = range(len(parts), 0, -1)
    found = next((count for count in counts if graph.has(dg.AssetKey(parts[:count]))), None)
    return (dg.AssetKey(parts[:found]), parts[found:]) if found else (None, [])


def _nearest(target: str, graph: dg.AssetGraph) -> str:
    known = [key.to_user_string() for key in graph.get_all_asset_keys()]
    near = difflib.get_close_matches(target.rsplit("/", maxsplit=1)[0], known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"the assets are {', '.join(sorted(known))}"
