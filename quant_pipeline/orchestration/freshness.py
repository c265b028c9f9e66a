"""Which assets of a partition must be made again: never made, made by other code, from other inputs, or file gone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import dagster as dg
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.definitions.events import AssetKeyPartitionKey
from dagster._core.loader import LoadingContextForTest

from quant_pipeline.errors import BundleError, DataError
from quant_pipeline.files import content_hash, read_parquet
from quant_pipeline.orchestration.house import House
from quant_pipeline.orchestration.io_managers import DIGEST
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
        fresh = resolver.get_status(key, partition) is StaleStatus.FRESH and _kept(house, resolver, graph, key, partition)
        if not fresh or found & set(graph.get(key).parent_keys):
            found.add(key)
    return [key for key in graph.toposorted_asset_keys if key in found]


def _kept(house: House, resolver: CachingStaleStatusResolver, graph: dg.AssetGraph, key: dg.AssetKey, partition: str) -> bool:
    """Whether the lake still holds the value that the record is of, and what the asset keeps beside it."""
    beside = _KEPT_BESIDE.get(key.to_user_string())
    stored = graph.get(key).metadata.get("quant/stored")
    folder = house.workplace.lake.joinpath(*key.path, *str(partition).split("|"))
    place = Path(f"{folder}.parquet") if stored == "table" else folder
    held = stored is None or _digest(place) == _recorded(resolver, key, partition)
    return held and (beside is None or beside(house, partition))


def _recorded(resolver: CachingStaleStatusResolver, key: dg.AssetKey, partition: str) -> str | None:
    """The digest of what the newest record of the partition is of."""
    record = resolver._get_latest_data_version_record(key=AssetKeyPartitionKey(key, partition))  # noqa: SLF001 - read already
    made = record.asset_materialization if record else None
    return str(made.metadata[DIGEST].value) if made and DIGEST in made.metadata else None


def _digest(place: Path) -> str:
    """That of what stands there; nothing where it cannot be read."""
    try:
        return content_hash(place)
    except OSError:
        return ""


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
