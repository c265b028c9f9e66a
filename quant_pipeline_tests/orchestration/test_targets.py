from __future__ import annotations

import dagster as dg
import pytest

from quant_pipeline.definitions import build_defs
from quant_pipeline.errors import ConfigError
from quant_pipeline.orchestration.partitions import fold_key
from quant_pipeline.orchestration.remaking import remake
from quant_pipeline.orchestration.targets import parse_target, parse_targets


@pytest.fixture(scope="module")
def parse(default_house):
    graph = build_defs(default_house).resolve_asset_graph()
    return lambda target: parse_target(target, graph, default_house)


@pytest.mark.parametrize(
    ("target", "key", "partition"),
    [
        ("meta_learner/GC=F", "meta_learner", "GC=F"),
        ("bars/1h/BTC-USD", "bars/1h", "BTC-USD"),
        ("models/lightgbm/GC=F/fold_00", "models/lightgbm", fold_key("GC=F", "fold_00")),
        ("macro_series/GC=F", "macro_series", "GC=F"),
        ("selection/GC=F/fold_01", "selection", fold_key("GC=F", "fold_01")),
        ("oof_predictions/SPY/holdout", "oof_predictions", fold_key("SPY", "holdout")),
    ],
)
def test_a_target_is_an_asset_and_a_partition(parse, target, key, partition):
    found = parse(target)
    assert (found[0].to_user_string(), found[1]) == (key, partition)


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("meta_lerner/GC=F", "did you mean 'meta_learner'"),
        ("models/lightgmb/GC=F/fold_00", "did you mean 'models/lightgbm'"),
        ("zzz/GC=F", "the assets are .*barriers"),
        ("meta_learner", r"found 0 parts after the asset, wanted 1\. To mend: write meta_learner/GC=F$"),
        ("meta_learner/GC=F/fold_00", "found 2 parts after the asset, wanted 1"),
        ("models/lightgbm/GC=F", "write models/lightgbm/GC=F/fold_00"),
        ("meta_learner/GCF", "did you mean 'GC=F'"),
        ("models/lightgbm/GC=F/fold_99", "one of fold_00, .*, holdout"),
        ("", "found no such asset"),
    ],
)
def test_a_target_that_is_none_gets_the_nearest(parse, target, told):
    with pytest.raises(ConfigError, match=told):
        parse(target)


def test_every_command_that_an_error_names_can_be_typed(parse, default_house):
    """What `missing_upstream` tells is a target of the same asset and partition."""
    graph = build_defs(default_house).resolve_asset_graph()
    for key in graph.get_all_asset_keys() - {dg.AssetKey("macro_series")}:  # no asset reads its value
        for partition in graph.get(key).partitions_def.get_partition_keys():
            command = remake(key, partition)
            assert command.startswith("run: quant materialize '")
            assert parse(command.split("'")[1]) == (key, partition)


@pytest.mark.parametrize(
    ("target", "partitions"),
    [
        ("features/*", lambda house: list(house.universe.symbols)),
        ("selection/GC=F/*", lambda house: [fold_key("GC=F", fold) for fold in house.experiment.splits.fold_names]),
        ("models/lightgbm/*/holdout", lambda house: [fold_key(symbol, "holdout") for symbol in house.universe.symbols]),
        ("features/SPY", lambda _: ["SPY"]),
    ],
)
def test_a_star_is_every_symbol_or_fold(default_house, target, partitions):
    graph = build_defs(default_house).resolve_asset_graph()
    assert parse_targets(target, graph, default_house)[1] == partitions(default_house)


@pytest.mark.parametrize("target", ["features/*/fold_00", "selection/*", "nothing/*", "*"])
def test_a_star_does_not_make_a_target_of_what_is_none(default_house, target):
    with pytest.raises(ConfigError, match="target"):
        parse_targets(target, build_defs(default_house).resolve_asset_graph(), default_house)
