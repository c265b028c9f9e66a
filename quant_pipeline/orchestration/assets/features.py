"""Group `features`: every enabled feature on the primary bars, with its ledger and its prefix audit, and the channels."""

from collections.abc import Mapping
from datetime import datetime

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

AUDIT_CUTS = 3
CHANNEL_RUNGS = ("1h", "15m")
MEANINGS = {
    "pattern_features": "Chart, candlestick, harmonic and Elliott patterns, smart-money structure; known at their confirmation.",
    "macro_features": "Macro series as first released and revised by each decision; never by the period they describe.",
    "news_features": "Tone and number of the headlines known in the day before each decision.",
}  # fmt: skip


def feature_assets(house: House) -> list[dg.AssetsDefinition]:
    """`features`, the tables it joins, and `channels/<rung>`. Families are validated here, before any work."""
    from quant_pipeline.features.registry import specs

    specs(house.experiment.features.families)
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
        reads=("primary", "seed", "symbol.calendar", "symbol.correlated"),
        kinds={"polars"},
        stored="table",
        ins={**ins, **({"correlated_bars": dg.AssetIn()} if correlated else {})},
        partitions_def=symbols(house),
        description="All enabled features at each decision time, joined as-of from every rung, with the tables beside them.",
        check_specs=[_audit_spec("features")],
    )
    def features(context: dg.AssetExecutionContext, house: dg.ResourceParam[House], **given: pl.DataFrame) -> Result:
        from quant_pipeline.features.groups import joined
        from quant_pipeline.orchestration.figures import counts

        others = by_symbol(given["correlated_bars"], house, context.partition_key) if correlated else {}
        work = _Work(house, context.partition_key, settings, _rungs(given), Context(others))
        frame, ledger = work.build()
        check = work.audit(frame)
        whole = joined(frame, (given[name] for name in beside))
        return table_result(
            whole, ledger=ledger, time="decision_at", checks=[check], figure=counts(_families(whole), "feature columns by prefix")
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
        reads=("primary", "history_days", "seed", "symbol.calendar", "symbol.correlated", *deps_read),
        kinds={"polars"},
        stored="table",
        name=name,
        ins=primary,
        deps=deps,
        partitions_def=symbols(house),
        description=MEANINGS[name],
        check_specs=[_audit_spec(name)],
    )
    def table(context: dg.AssetExecutionContext, house: dg.ResourceParam[House], **given: pl.DataFrame) -> Result:
        from quant_pipeline.orchestration.figures import counts

        symbol = context.partition_key
        work = _Work(house, symbol, settings, _rungs(given), house.context(symbol, settings))
        frame, ledger = work.build()
        shares = {column: float((frame[column].fill_null(0.0) != 0).mean() or 0.0) for column in frame.columns[2:]}  # type: ignore[arg-type]
        most = dict(sorted(shares.items(), key=lambda item: -item[1])[:25])
        return table_result(
            frame,
            ledger=ledger,
            time="decision_at",
            checks=[work.audit(frame)],
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


class _Work:
    """One table of features of one symbol: how it is built, and audited by building it again from its own past."""

    def __init__(
        self, house: House, symbol: str, settings: FeatureSettings, rungs: Mapping[str, pl.DataFrame], context: Context
    ) -> None:
        from quant_pipeline.bars.build import rungs_of

        there = rungs_of(house.store.intervals(symbol), tuple(rungs))
        self.house, self.context, self.settings = house, context, settings
        self.rungs, self.ladder = {rung: rungs[rung] for rung in there}, tuple(rungs)
        self.calendar = house.symbol(symbol).calendar

    def build(self, until: datetime | None = None) -> tuple[pl.DataFrame, Ledger]:
        """FEATURES and their ledger, from what was known at `until`."""
        from quant_pipeline.features import build

        rungs, context = self.rungs, self.context
        if until is not None:
            rungs = {rung: bars.filter(pl.col("known_at") <= until) for rung, bars in rungs.items()}
            context = context.until(until)
        frame, ledger = build.build_features(rungs, self.settings, self.house.experiment.primary, self.calendar, context=context)
        ledger.notes |= self._of_absent_rungs()
        return frame, ledger

    def _of_absent_rungs(self) -> dict[str, list[str]]:
        """Rungs that the symbol's bars are too long for, and the columns that are left out with them."""
        absent = [rung for rung in self.ladder if rung not in self.rungs]
        if not absent:
            return {}
        whole, made = (
            columns(self.settings, ladder, self.house.experiment.primary, tuple(self.context.others))
            for ladder in (self.ladder, tuple(self.rungs))
        )
        return {"absent_rungs": absent, "left_out_with_them": [name for name in whole if name not in made]}

    def audit(self, frame: pl.DataFrame) -> dg.AssetCheckResult:
        """Whether rows made again from their own past are equal."""
        from quant_pipeline.validation.audit import prefix_audit, random_cuts

        cuts = random_cuts(frame["decision_at"], AUDIT_CUTS, seed=self.house.experiment.seed)
        differences = prefix_audit(lambda cut: self.build(cut)[0], frame, cuts)
        return dg.AssetCheckResult(
            check_name="prefix_audit",
            passed=differences.is_empty(),
            severity=dg.AssetCheckSeverity.ERROR,
            metadata={"cuts": len(cuts), "columns": frame.width, "differences": differences.height},
        )


def by_symbol(bars: pl.DataFrame, house: House, symbol: str) -> dict[str, pl.DataFrame]:
    """Bars of each correlated symbol of `symbol`, without rows where there are none."""
    return {name: bars.filter(pl.col("other") == name).drop("other") for name in house.symbol(symbol).correlated}


def _audit_spec(asset: str) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        "prefix_audit", asset=asset, description="Rows recomputed from history up to their own time are equal."
    )


def _rung_inputs(house: House) -> dict[str, dg.AssetIn]:
    return {f"bars_{rung}": dg.AssetIn(key=rung_key(rung)) for rung in house.experiment.rungs}


def _rungs(given: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    rungs = {name.removeprefix("bars_"): frame for name, frame in given.items() if name.startswith("bars_")}
    return {rung: rungs[rung] for rung in sorted(rungs, key=minutes)}


def _families(frame: pl.DataFrame) -> dict[str, float]:
    prefixes = pl.Series([name.rsplit("_", 1)[0] for name in frame.columns[2:]])
    return dict(prefixes.value_counts(sort=True).head(20).iter_rows())
