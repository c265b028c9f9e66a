"""The short way to name an asset partition in the shell: `meta_learner/GC=F`, `models/lightgbm/GC=F/fold_00`."""

from __future__ import annotations

import difflib

import dagster as dg

from quant_pipeline.errors import ConfigError
from quant_pipeline.orchestration.house import House
from quant_pipeline.orchestration.partitions import fold_key


def parse_target(target: str, graph: dg.AssetGraph, house: House) -> tuple[dg.AssetKey, str]:
    """(asset key, partition key) of a target; raises `ConfigError` naming the nearest asset, symbol or fold."""
    parts = target.split("/")
    key, rest = next(
        (
            (dg.AssetKey(parts[:count]), parts[count:])
            for count in range(len(parts), 0, -1)
            if graph.has(dg.AssetKey(parts[:count]))
        ),
        (None, []),
    )
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


def _nearest(target: str, graph: dg.AssetGraph) -> str:
    known = [key.to_user_string() for key in graph.get_all_asset_keys()]
    near = difflib.get_close_matches(target.rsplit("/", maxsplit=1)[0], known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"the assets are {', '.join(sorted(known))}"
