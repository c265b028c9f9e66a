"""Groups `labels` and `splits`: tuned barriers, triple-barrier labels, sample weights, fold boundaries."""

import dagster as dg
import polars as pl

from quant_pipeline.orchestration.assets.bars import rung_key
from quant_pipeline.orchestration.assets.common import described
from quant_pipeline.orchestration.house import House
from quant_pipeline.orchestration.partitions import symbols
from quant_pipeline.orchestration.results import Result, table_result


def label_assets(house: House) -> list[dg.AssetsDefinition]:
    """`barriers`, `labels`, `sample_weights` and `splits`."""
    return [_barriers(house), _labels(house), _weights(house), _splits(house)]


def _rungs(house: House) -> dict[str, dg.AssetIn]:
    return {f"bars_{rung}": dg.AssetIn(key=rung_key(rung)) for rung in house.experiment.ladder}


def _barriers(house: House) -> dg.AssetsDefinition:
    @described(
        "labels",
        house,
        reads=("labels", "splits", "seed", "primary", "symbol.costs"),
        kinds={"optuna"},
        stored="table",
        ins=_rungs(house),
        partitions_def=symbols(house),
        description="The barriers that labels use: tuned on the first training span only, or as the experiment says.",
    )
    def barriers(context: dg.AssetExecutionContext, house: dg.ResourceParam[House], **bars: pl.DataFrame) -> Result:
        from quant_pipeline.bars.build import finest_path
        from quant_pipeline.labels.tuning import tune_barriers
        from quant_pipeline.validation.splits import first_training_end

        rungs, experiment = _by_rung(bars), house.experiment
        primary = rungs[experiment.primary]
        until = first_training_end(primary["known_at"], experiment.splits)
        costs = house.symbol(context.partition_key).costs
        tuned = tune_barriers(primary, finest_path(rungs), experiment.labels, costs, until=until, seed=experiment.seed)
        return table_result(pl.DataFrame([tuned.model_dump()]), extra={"tuned_until": str(until)})

    return barriers


def _labels(house: House) -> dg.AssetsDefinition:
    @described(
        "labels",
        house,
        reads=("primary", "symbol.costs"),
        kinds={"numba"},
        stored="table",
        ins={**_rungs(house), "barriers": dg.AssetIn(), "features": dg.AssetIn()},
        partitions_def=symbols(house),
        description="Triple-barrier labels on net profit, resolved on 1m bars, of every decision that has features.",
    )
    def labels(
        context: dg.AssetExecutionContext,
        house: dg.ResourceParam[House],
        barriers: pl.DataFrame,
        features: pl.DataFrame,
        **bars: pl.DataFrame,
    ) -> Result:
        from quant_pipeline.bars.build import finest_path
        from quant_pipeline.config.experiment import LabelSettings
        from quant_pipeline.labels.triple_barrier import label_bars
        from quant_pipeline.orchestration.figures import counts

        rungs = _by_rung(bars)
        settings = LabelSettings.parse(barriers.row(0, named=True), "barriers")
        frame, ledger = label_bars(
            rungs[house.experiment.primary], finest_path(rungs), settings, house.symbol(context.partition_key).costs
        )
        kept = frame.join(features, on="decision_at", how="semi")
        ledger.drop("no_features", frame.height - kept.height)
        shares = {
            name: kept.filter(pl.col("label") == value).height / max(kept.height, 1)
            for name, value in (("short", -1), ("neutral", 0), ("long", 1))
        }
        return table_result(kept, ledger=ledger, time="decision_at", figure=counts(shares, "share of each label"))

    return labels


def _weights(house: House) -> dg.AssetsDefinition:
    @described(
        "labels",
        house,
        reads=("weights",),
        kinds={"numba"},
        stored="table",
        ins={**_rungs(house), "labels": dg.AssetIn()},
        partitions_def=symbols(house),
        description="Label quality (0.5 to 1.5) times average uniqueness, raw; each fit sets the scale on its own rows.",
    )
    def sample_weights(
        context: dg.AssetExecutionContext, house: dg.ResourceParam[House], labels: pl.DataFrame, **bars: pl.DataFrame
    ) -> Result:
        from quant_pipeline.bars.build import finest_path
        from quant_pipeline.labels.weights import sample_weights as weigh
        from quant_pipeline.orchestration.figures import lines

        frame = weigh(labels, house.experiment.weights, finest_path(_by_rung(bars)))
        return table_result(
            frame, time="decision_at", figure=lines(frame, "decision_at", ["weight"], f"sample weight, {context.partition_key}")
        )

    return sample_weights


def _splits(house: House) -> dg.AssetsDefinition:
    @described(
        "splits",
        house,
        reads=("splits",),
        kinds={"numpy"},
        stored="table",
        partitions_def=symbols(house),
        description="Fold boundaries with purge and embargo, as rows one can read; the holdout is the final test span.",
    )
    def splits(context: dg.AssetExecutionContext, house: dg.ResourceParam[House], labels: pl.DataFrame) -> Result:
        from quant_pipeline.orchestration.figures import timeline
        from quant_pipeline.validation.splits import make_splits

        frame = make_splits(labels, house.experiment.splits)
        return table_result(frame, figure=timeline(frame, f"folds of {context.partition_key}"))

    return splits


def _by_rung(bars: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    return {name.removeprefix("bars_"): frame for name, frame in bars.items()}
