"""Which assets of a partition must be made again: never made, made by other code, from other inputs, or file gone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import dagster as dg
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from quant_pipeline.errors import BundleError, DataError
from quant_pipeline.files import read_parquet, verify
from quant_pipeline.orchestration.house import House
from quant_pipeline.orchestration.remaking import retrain

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
    """Whether the lake still holds the value, and what the asset keeps beside it."""
    beside = _KEPT_BESIDE.get(key.to_user_string())
    stored = graph.get(key).metadata.get("quant/stored")
    folder = house.workplace.lake.joinpath(*key.path, *str(partition).split("|"))
    held = _whole(Path(f"{folder}.parquet")) if stored == "table" else stored is None or folder.is_dir()
    return held and (beside is None or beside(house, partition))


def _whole(table: Path) -> bool:
    """Whether the table is there as it was written: a damaged one is made again before anything reads it."""
    try:
        verify(table, "none")
    except DataError:
        return False
    return True


def _sealed(house: House, symbol: str) -> bool:
    """Whether the bundle that the table of forecasts is about stands where it was put, every byte of it."""
    from quant_pipeline.inference.bundle import verify_bundle

    try:
        path = house.workplace.lake / "bundle" / f"{symbol}.parquet"
        forecasts = read_parquet(path, retrain(symbol), columns=["bundle"])
        verify_bundle(house.workplace.bundles / symbol / forecasts["bundle"][0])
    except (BundleError, DataError):
        return False
    return True


def _crowned(house: House, symbol: str) -> bool:
    return bool(house.champions.events(symbol))


_KEPT_BESIDE: dict[str, Callable[[House, str], bool]] = {"bundle": _sealed, "champion": _crowned}
