from __future__ import annotations

import dagster as dg

from quant_pipeline.orchestration.partitions import fold_key, spelled, split_key, symbol_folds, symbols


def test_symbols_are_the_traded_ones(default_house):
    assert symbols(default_house).get_partition_keys() == list(default_house.universe.symbols)


def test_folds_are_symbol_times_fold(default_house):
    folds, traded = default_house.experiment.splits.fold_names, default_house.universe.symbols
    keys = symbol_folds(default_house).get_partition_keys()
    assert len(keys) == len(folds) * len(traded)
    assert set(keys) == {fold_key(symbol, fold) for symbol in traded for fold in folds}


def test_a_fold_key_is_split_again_also_when_dagster_made_it(default_house):
    assert split_key(fold_key("GC=F", "fold_00")) == ("GC=F", "fold_00")
    assert {split_key(key)[1] for key in symbol_folds(default_house).get_partition_keys()} == set(
        default_house.experiment.splits.fold_names
    )


def test_a_plain_symbol_has_no_fold():
    assert split_key("GC=F") == ("GC=F", None)


def test_the_shell_writes_the_symbol_first():
    assert spelled("GC=F") == "GC=F"
    assert spelled(fold_key("GC=F", "holdout")) == "GC=F/holdout"
    assert isinstance(fold_key("GC=F", "holdout"), dg.MultiPartitionKey)
