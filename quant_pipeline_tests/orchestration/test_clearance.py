"""Features may be learned from if those that are there are those that were audited, whatever other symbols do meanwhile."""

from collections.abc import Callable, Iterator

import dagster as dg
import polars as pl
import pytest

from quant_pipeline.errors import LeakageError
from quant_pipeline.orchestration.clearance import require_cleared

SYMBOLS = dg.StaticPartitionsDefinition(["SPY", "QQQ"])
CLEAN = pl.DataFrame()


@dg.asset(partitions_def=SYMBOLS, config_schema={"version": str}, io_manager_key="kept")
def features(context: dg.AssetExecutionContext) -> dg.MaterializeResult[str]:
    version = context.op_execution_context.op_config["version"]
    return dg.MaterializeResult(value=version, data_version=dg.DataVersion(version))


@dg.asset(partitions_def=SYMBOLS, io_manager_key="kept")
def feature_audit(features: str) -> str:
    return features


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def make(instance, tmp_path) -> Callable[[str, str], None]:
    """Make one asset of one symbol; features are of the version that stands after a colon."""
    kept = dg.FilesystemIOManager(base_dir=str(tmp_path))

    def made(told: str, symbol: str) -> None:
        name, _, version = told.partition(":")
        config = {"ops": {"features": {"config": {"version": version}}}} if version else {}
        dg.materialize(
            [features, feature_audit], selection=[name], partition_key=symbol, instance=instance,
            resources={"kept": kept}, run_config=config,
        )  # fmt: skip

    return made


def test_audited_features_are_cleared_though_another_symbol_was_made_between(instance, make):
    for told, symbol in (("features:1", "SPY"), ("features:2", "QQQ"), ("feature_audit", "SPY"), ("feature_audit", "QQQ")):
        make(told, symbol)
    require_cleared(instance, "SPY", CLEAN)
    require_cleared(instance, "QQQ", CLEAN)


def test_features_made_again_as_they_were_stay_cleared(instance, make):
    for told in ("features:1", "feature_audit", "features:1"):
        make(told, "SPY")
    require_cleared(instance, "SPY", CLEAN)


@pytest.mark.parametrize("history", [[], ["features:1"], ["features:1", "feature_audit", "features:2"]])
def test_features_that_nobody_audited_are_refused(instance, make, history):
    for told in history:
        make(told, "SPY")
    with pytest.raises(LeakageError, match=r"features of SPY: found made anew since their audit.*feature_audit"):
        require_cleared(instance, "SPY", CLEAN)
