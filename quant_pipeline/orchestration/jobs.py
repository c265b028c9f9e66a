"""Jobs: the whole training of a symbol, its hourly inference, and its daily drift report."""

from typing import TypeAlias

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from quant_pipeline.orchestration.house import House
from quant_pipeline.orchestration.partitions import symbols
from quant_pipeline.orchestration.slots import DRIFT, INFERENCE, TRAINING

AnyJob: TypeAlias = dg.JobDefinition | UnresolvedAssetJobDefinition


class TrainConfig(dg.Config):
    """`reason` says why a retraining was asked for; a reason also lets it see bars newer than last Monday."""

    reason: str = ""


def build_jobs(house: House) -> dict[str, AnyJob]:
    """All jobs by name."""
    return {
        TRAINING: _train_job(symbols(house)),
        INFERENCE: dg.define_asset_job(
            INFERENCE,
            selection=[*live_inputs(house), "signals"],
            description="The newest bars of one symbol, and its signal for each decision of the tag quant/decision.",
        ),
        DRIFT: dg.define_asset_job(
            DRIFT,
            selection=[*live_inputs(house), "drift_report"],
            description="Recent features of one symbol against those its champion was trained on.",
        ),
    }


def live_inputs(house: House) -> list[str]:
    """Assets that bring what a decision looks at up to date."""
    beside = {"cross_asset": ["correlated_bars"], "news": ["raw_news", "news_embeddings"], "macro": ["macro_series"]}
    families = house.experiment.features.families
    return ["raw_bars", *(name for family, names in beside.items() if family in families for name in names)]


def _train_job(partitions: dg.StaticPartitionsDefinition) -> dg.JobDefinition:
    @dg.op(description="Makes everything stale of one symbol, from raw bars to a signal: what `quant run` does.")
    def train(context: dg.OpExecutionContext, config: TrainConfig, house: dg.ResourceParam[House]) -> None:
        from quant_pipeline.definitions import build_defs
        from quant_pipeline.orchestration.origins import origin_tag
        from quant_pipeline.orchestration.runner import Runner, StageEvent
        from quant_pipeline.orchestration.worker import beside

        def listen(event: StageEvent) -> None:
            context.log.info("%s %s", event.stage.name, "ended" if event.done else "begins")

        with beside(house) as worker:
            runner = Runner(build_defs(house), context.instance, house, listen, worker, asked=origin_tag(context.run))
            summary = runner.run(context.partition_key, reason=config.reason)
        context.log.info("made %d, reused %d", len(summary.made), len(summary.reused))

    @dg.job(
        partitions_def=partitions,
        description="From raw bars to a deployed bundle and a signal, for one symbol; reuses what is fresh.",
    )
    def train_symbol() -> None:
        train()

    return train_symbol
