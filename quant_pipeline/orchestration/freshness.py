"""Which assets of a partition must be made again: never made, made by other code, from other inputs, or file gone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import dagster as dg
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from quant_pipeline.orchestration.house import House

# The resolver is Dagster's own (the UI's "unsynced" badge), but it has no public entry point in 1.13.


def stale(
    house: House, instance: dg.DagsterInstance, graph: dg.AssetGraph, keys: Iterable[dg.AssetKey], partition: str
) -> list[dg.AssetKey]:
    """Those of `keys` that are not fresh in `partition`, and everything among `keys` that depends on them."""
    resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
    chosen = set(keys)
    found: set[dg.AssetKey] = set()
    for key in graph.toposorted_asset_keys:
        if key not in chosen:
            continue
        fresh = resolver.get_status(key, partition) is StaleStatus.FRESH and _kept(house, graph, key, partition)
        if not fresh or found & set(graph.get(key).parent_keys):
            found.add(key)
    return [key for key in graph.toposorted_asset_keys if key in found]


def _kept(house: House, graph: dg.AssetGraph, key: dg.AssetKey, partition: str) -> bool:
    """Whether the lake still holds the value; assets without one answer by their own file, if they name it."""
    stored = graph.get(key).metadata.get("quant/stored")
    if stored is None:
        return True
    folder = house.workplace.lake.joinpath(*key.path, *str(partition).split("|"))
    return folder.is_dir() if stored == "folder" else Path(f"{folder}.parquet").is_file()
