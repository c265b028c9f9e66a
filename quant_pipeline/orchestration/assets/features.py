"""Group `features`: every enabled feature on the primary bars, with its ledger, and the channels."""

from collections.abc import Mapping

import dagster as dg
import polars as pl

from quant_pipeline.config.experiment import FeatureSettings
from quant_pipeline.config.timeframes import minutes
from quant_pipeline.features.context import Context
from quant_pipeline.features.groups import APART, families_of, narrowed
from quant_pipeline.features.registry import columns
from quant_pipeline.ledger import Ledger
from quant_pipeline.orchestration.assets.bars import rung_key
from quant_pipeline.orchestration.assets.common import described
from quant_pipeline.orchestration.house import House
from quant_pipeline.orchestration.partitions import symbols
from quant_pipeline.orchestration.results import Result, table_result

CHANNEL_RUNGS = ("1h", "15m")
MEANINGS = {
    "pattern_features": "Chart, candlestick, harmonic and Elliott patterns, smart-money structure; known at their confirmation.",
    "macro_features": "Macro series as first released and revised by each decision; never by the period they describe.",
    "news_features": "Tone and number of the headlines known in the day before each decision.",
}  # fmt: skip


def feature_assets(house: House) -> list[dg.AssetsDefinition]:
    """`features`, the tables it joins, and `channels/<rung>`."""
    apart = [name for name in APART if families_of(name, house.experiment.features)]
    rungs = [rung for rung in CHANNEL_RUNGS if rung in house.experiment.ladder]
    return [*(_apart(house, name) for name in apart), _features(house, apart), *(_channels(house, rung) for rung in rungs)]


def _features(house: House, apart: list[str]) -> dg.AssetsDefinition:
    experiment = house.experiment
    beside = [*apart, *(["foundation_embeddings"] if experiment.foundation.model else [])]
    correlated = "cross_asset" in experiment.features.families
    settings = narrowed(experiment.features, families_of("features", experiment.features))
    ins = {**_rung_inputs(house), **{name: dg.AssetIn() for name in beside}}

    @described(
        "features",
        house,
        reads=("primary", "symbol.calendar", "symbol.correlated"),
        kinds={"polars"},
        stored="table",
        ins={**ins, **({"correlated_bars": dg.AssetIn()} if correlated else {})},
        partitions_def=symbols(house),
        description="All enabled features at each decision time, joined as-of from every rung, with the tables beside them.",
    )
    def features(context: dg.AssetExecutionContext, house: dg.ResourceParam[House], **given: pl.DataFrame) -> Result:
        from quant_pipeline.features.groups import joined
        from quant_pipeline.orchestration.figures import counts

        others = by_symbol(given["correlated_bars"], house, context.partition_key) if correlated else {}
        frame, ledger = _build(house, context.partition_key, settings, given, Context(others))
        whole = joined(frame, (given[name] for name in beside))
        return table_result(
            whole, ledger=ledger, time="decision_at", figure=counts(_families(whole), "feature columns by prefix")
        )

    return features


def _apart(house: House, name: str) -> dg.AssetsDefinition:
    """A table of families that are kept apart: patterns, macro or news."""
    settings = narrowed(house.experiment.features, families_of(name, house.experiment.features))
    primary = {f"bars_{house.experiment.primary}": dg.AssetIn(key=rung_key(house.experiment.primary))}
    deps = {"macro_features": ["macro_series"], "news_features": ["news_embeddings"]}.get(name, [])
    deps_read = ("news",) if name == "news_features" else ()

    @described(
        "features",
        house,
        reads=("primary", "history_days", "symbol.calendar", "symbol.correlated", *deps_read),
        kinds={"polars"},
        stored="table",
        name=name,
        ins=primary,
        deps=deps,
        partitions_def=symbols(house),
        description=MEANINGS[name],
    )
    def table(context: dg.AssetExecutionContext, house: dg.ResourceParam[House], **given: pl.DataFrame) -> Result:
        from quant_pipeline.orchestration.figures import counts

        symbol = context.partition_key
        frame, ledger = _build(house, symbol, settings, given, house.context(symbol, settings))
        shares = {column: float((frame[column].fill_null(0.0) != 0).mean() or 0.0) for column in frame.columns[2:]}  # type: ignore[arg-type]
        most = dict(sorted(shares.items(), key=lambda item: -item[1])[:25])
        return table_result(
            frame,
            ledger=ledger,
            time="decision_at",
            figure=counts(most, "share of decisions at which it says something"),
        )

    return table


def _channels(house: House, rung: str) -> dg.AssetsDefinition:
    settings = narrowed(house.experiment.features, ("channels",))

    @described(
        "features",
        house,
        reads=("symbol.calendar",),
        kinds={"polars"},
        stored="table",
        key=["channels", rung],
        ins={f"bars_{rung}": dg.AssetIn(key=rung_key(rung))},
        partitions_def=symbols(house),
        description=f"The 47 price and 3 volume channels of each {rung} bar, z-scored, which sequence models window.",
    )
    def channels(context: dg.AssetExecutionContext, house: dg.ResourceParam[House], **given: pl.DataFrame) -> Result:
        from quant_pipeline.features.build import build_features

        frame, ledger = build_features(_rungs(given), settings, rung, house.symbol(context.partition_key).calendar)
        return table_result(frame, ledger=ledger, time="decision_at")

    return channels


def _build(
    house: House, symbol: str, settings: FeatureSettings, given: Mapping[str, pl.DataFrame], context: Context
) -> tuple[pl.DataFrame, Ledger]:
    """FEATURES of these settings, and their ledger, with the rungs that the symbol's bars are too long for."""
    from quant_pipeline.bars.build import rungs_of
    from quant_pipeline.features.build import build_features

    whole, primary = _rungs(given), house.experiment.primary
    rungs = {rung: whole[rung] for rung in rungs_of(house.store.intervals(symbol), tuple(whole))}
    frame, ledger = build_features(rungs, settings, primary, house.symbol(symbol).calendar, context=context)
    if len(rungs) < len(whole):
        wanted, made = (columns(settings, tuple(each), primary, tuple(context.others)) for each in (whole, rungs))
        ledger.notes |= {
            "absent_rungs": [rung for rung in whole if rung not in rungs],
            "left_out_with_them": [name for name in wanted if name not in made],
        }
    return frame, ledger


def by_symbol(bars: pl.DataFrame, house: House, symbol: str) -> dict[str, pl.DataFrame]:
    """Bars of each correlated symbol of `symbol`, without rows where there are none."""
    return {name: bars.filter(pl.col("other") == name).drop("other") for name in house.symbol(symbol).correlated}


def _rung_inputs(house: House) -> dict[str, dg.AssetIn]:
    return {f"bars_{rung}": dg.AssetIn(key=rung_key(rung)) for rung in house.experiment.rungs}


def _rungs(given: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    rungs = {name.removeprefix("bars_"): frame for name, frame in given.items() if name.startswith("bars_")}
    return {rung: rungs[rung] for rung in sorted(rungs, key=minutes)}


def _families(frame: pl.DataFrame) -> dict[str, float]:
    prefixes = pl.Series([name.rsplit("_", 1)[0] for name in frame.columns[2:]])
    return dict(prefixes.value_counts(sort=True).head(20).iter_rows())
