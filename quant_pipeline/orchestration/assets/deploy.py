"""Group `deploy`: the bundle of a symbol, tested on the final span, and the champion that is live."""

from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from quant_pipeline.config.experiment import HOLDOUT, SplitSettings
from quant_pipeline.ensemble.meta import MetaFit
from quant_pipeline.models.preparation.preparation import Preparation
from quant_pipeline.orchestration.assets.common import described
from quant_pipeline.orchestration.assets.models import model_key
from quant_pipeline.orchestration.assets.preparation import primary_bars
from quant_pipeline.orchestration.champions import history_rows, live_version
from quant_pipeline.orchestration.clearance import require_cleared
from quant_pipeline.orchestration.house import House
from quant_pipeline.orchestration.partitions import fold_key, symbols
from quant_pipeline.orchestration.reading import EXPERIMENT
from quant_pipeline.orchestration.results import Result, markdown_table, table_result


def deploy_assets(house: House) -> list[dg.AssetsDefinition]:
    """`bundle` and `champion`."""
    return [_bundle(house), _champion(house)]


def _bundle(house: House) -> dg.AssetsDefinition:
    names = [model.name for model in house.experiment.models]

    @described(
        "deploy",
        house,
        reads=EXPERIMENT,
        kinds={"json"},
        stored="table",
        ins=_parts(house, names),
        deps=["raw_bars"],
        partitions_def=symbols(house),
        description="The holdout fold's models and the meta-learner, sealed. The table is what they say of the final test span.",
    )
    def bundle(
        context: dg.AssetExecutionContext,
        house: dg.ResourceParam[House],
        meta_learner: MetaFit,
        features: pl.DataFrame,
        feature_audit: pl.DataFrame,
        labels: pl.DataFrame,
        splits: pl.DataFrame,
        fit_audit: pl.DataFrame,
        selection: dict[str, Preparation],
        bars: pl.DataFrame,
        **models: dict[str, Any],
    ) -> Result:
        from quant_pipeline.inference.build import BundleParts, build_bundle
        from quant_pipeline.inference.fit_audit import require_sound
        from quant_pipeline.orchestration.figures import lines

        symbol = context.partition_key
        require_sound(fit_audit, symbol)
        require_cleared(context.instance, symbol, feature_audit)
        final = fold_key(symbol, HOLDOUT)
        fitted = {name: models[f"model_{name}"][final] for name in names}
        parts = BundleParts(fitted, meta_learner, selection[final], features, bars, labels, splits)
        cutoff = house.cutoff(symbol)
        folder, forecasts = build_bundle(
            house.workplace.bundles / symbol, parts, house.experiment, symbol=symbol, as_of=cutoff,
            data_fingerprint=house.store.fingerprint(symbol, until=cutoff), test_log=test_log(house, symbol),
            who=context.run.run_id, when=house.workplace.now(),
        )  # fmt: skip
        return table_result(
            forecasts,
            time="decision_at",
            extra=_told(folder, forecasts, labels, splits, house.experiment.splits),
            figure=lines(forecasts, "decision_at", ["p_short", "p_long"], f"{symbol}: the bundle on the final test span"),
        )

    return bundle


def _told(
    folder: Path, forecasts: pl.DataFrame, labels: pl.DataFrame, splits: pl.DataFrame, settings: SplitSettings
) -> dict[str, Any]:
    """Which bundle it is, and the skill of its forecasts of the final test span."""
    from quant_pipeline.orchestration.scores import of_forecasts
    from quant_pipeline.validation.splits import fold_rows

    learned = labels[fold_rows(splits, HOLDOUT, labels, settings).train]["label"]
    scores = of_forecasts(forecasts, labels, learned, "final_test_")
    return {"bundle": folder.name, "folder": dg.MetadataValue.path(str(folder)), **scores}


def _parts(house: House, names: list[str]) -> dict[str, dg.AssetIn]:
    names_of_tables = ("meta_learner", "features", "feature_audit", "labels", "splits", "fit_audit", "selection")
    tables = {name: dg.AssetIn() for name in names_of_tables}
    return {**tables, **primary_bars(house), **{f"model_{name}": dg.AssetIn(key=model_key(name)) for name in names}}


def _champion(house: House) -> dg.AssetsDefinition:
    @described(
        "deploy",
        house,
        reads=("champion",),
        kinds={"json"},
        ins={**{name: dg.AssetIn() for name in ("bundle", "features", "feature_audit", "labels")}, **primary_bars(house)},
        partitions_def=symbols(house),
        description="Which bundle is live, since when, and why; every decision stays in the history.",
    )
    def champion(
        context: dg.AssetExecutionContext,
        house: dg.ResourceParam[House],
        bundle: pl.DataFrame,
        features: pl.DataFrame,
        feature_audit: pl.DataFrame,
        labels: pl.DataFrame,
        bars: pl.DataFrame,
    ) -> Result:
        from quant_pipeline.inference.build import Evidence, judge_challenger
        from quant_pipeline.orchestration.measures import of_rule

        symbol = context.partition_key
        require_cleared(context.instance, symbol, feature_audit)
        now = house.workplace.now()
        event = judge_challenger(
            house.champions,
            house.workplace.bundles / symbol,
            bundle,
            Evidence(features, bars, labels),
            house.experiment.champion,
            symbol=symbol,
            as_of=house.cutoff(symbol),
            now=now,
        )
        holds = house.champions.promotion(symbol, now)
        history = pl.DataFrame(history_rows(house.champions.events(symbol), holds))
        return dg.MaterializeResult(
            data_version=live_version(holds),
            metadata={
                "live": holds.challenger if holds else "nothing",
                "promoted": event.promoted,
                "reason": event.reason,
                **of_rule(event),
                "history": dg.MetadataValue.md(markdown_table(history.tail(10))),
            },
        )

    return champion


def test_log(house: House, symbol: str) -> Path:
    """The record of every use of the symbol's final test span, by whichever experiment of this world."""
    return house.workplace.shared / "test_uses" / f"{symbol}.jsonl"
