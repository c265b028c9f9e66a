"""Group `reports`: skill that is too good to be true, by the column or model that shows it."""

import dagster as dg
import polars as pl

from quant_pipeline.config.experiment import HOLDOUT
from quant_pipeline.orchestration.assets.common import described
from quant_pipeline.orchestration.house import House
from quant_pipeline.orchestration.partitions import symbols
from quant_pipeline.orchestration.results import Result, markdown_table, table_result


def alarm_assets(house: House) -> list[dg.AssetsDefinition]:
    """`skill_alarm`."""
    return [_alarm(house)]


def _alarm(house: House) -> dg.AssetsDefinition:
    tables = ("features", "labels", "splits", "skill_report")

    @described(
        "reports",
        house,
        kinds={"polars"},
        stored="table",
        ins={name: dg.AssetIn() for name in tables},
        partitions_def=symbols(house),
        description="Columns and models whose rank correlation with the return is implausibly high. It stops nothing.",
        check_specs=[
            dg.AssetCheckSpec(
                "plausible_skill", asset="skill_alarm", description="No column and no model is too good to be true."
            )
        ],
    )
    def skill_alarm(features: pl.DataFrame, labels: pl.DataFrame, splits: pl.DataFrame, skill_report: pl.DataFrame) -> Result:
        from quant_pipeline.validation.plausibility import implausible_columns, implausible_models, reachable_ic

        test_start = splits.filter(pl.col("fold") == HOLDOUT, pl.col("role") == "oof")["start"][0]
        learned = labels.filter(pl.col("decision_at") < test_start)
        columns = implausible_columns(features, learned, reachable_ic(skill_report))
        found = pl.concat([columns, implausible_models(skill_report)])
        return table_result(found, checks=[_verdict(found)], extra={"rows_looked_at": learned.height})

    return skill_alarm


def _verdict(found: pl.DataFrame) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name="plausible_skill",
        passed=found.is_empty(),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"names": ", ".join(found["name"]), "alarms": dg.MetadataValue.md(markdown_table(found.head(25)))},
    )
