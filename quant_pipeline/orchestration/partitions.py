"""Partitions: symbol, and symbol x fold. Model, timeframe and hour are no partitions (DESIGN section 4)."""

from __future__ import annotations

import dagster as dg

from quant_pipeline.orchestration.house import House


def symbols(house: House) -> dg.StaticPartitionsDefinition:
    """One partition per traded symbol of the universe."""
    return dg.StaticPartitionsDefinition(list(house.universe.symbols))


def symbol_folds(house: House) -> dg.MultiPartitionsDefinition:
    """One partition per symbol and fold, the final `holdout` included."""
    folds = dg.StaticPartitionsDefinition(list(house.experiment.splits.fold_names))
    return dg.MultiPartitionsDefinition({"symbol": symbols(house), "fold": folds})


def fold_key(symbol: str, fold: str) -> dg.MultiPartitionKey:
    """The partition key of a symbol's fold."""
    return dg.MultiPartitionKey({"symbol": symbol, "fold": fold})


def spelled(partition: str) -> str:
    """A partition as the shell writes it.

    Example:
        >>> spelled("fold_00|GC=F"), spelled("GC=F")
        ('GC=F/fold_00', 'GC=F')
    """
    return "/".join(reversed(partition.split("|")))


def split_key(partition_key: str | dg.MultiPartitionKey) -> tuple[str, str | None]:
    """(symbol, fold) of a partition key; fold is None where only symbols are partitions."""
    if isinstance(partition_key, dg.MultiPartitionKey):
        parts = partition_key.keys_by_dimension
        return parts["symbol"], parts["fold"]
    return partition_key, None
