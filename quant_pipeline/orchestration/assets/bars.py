"""Group `bars`: the rungs of the ladder, one subsettable multi-asset."""

from collections.abc import Iterator

import dagster as dg
import polars as pl

from quant_pipeline.orchestration.assets.common import OWNERS, at_work
from quant_pipeline.orchestration.house import House
from quant_pipeline.orchestration.partitions import symbols
from quant_pipeline.orchestration.remaking import missing_upstream
from quant_pipeline.orchestration.results import Result, table_result
from quant_pipeline.orchestration.row_ledger import keep_ledger
from quant_pipeline.orchestration.versions import code_version


def rung_key(rung: str) -> list[str]:
    """Asset key of a rung: `bars/1h`."""
    return ["bars", rung]


READS = ("history_days", "primary", "splits", "symbol.calendar", "symbol.adjustments", "symbol.limits")


def bars_assets(house: House) -> list[dg.AssetsDefinition]:
    """`bars/1m` … `bars/1h`, and the coarse rungs of `features.coarse`."""
    rungs = house.experiment.rungs

    def bars(context: dg.AssetExecutionContext, house: dg.ResourceParam[House]) -> Iterator[Result]:
        from quant_pipeline.bars.build import build_bars
        from quant_pipeline.bars.schema import RUNG_SCHEMA
        from quant_pipeline.inference.window import read_raw
        from quant_pipeline.validation.splits import check_history

        symbol = context.partition_key
        cutoff, start = house.cutoff(symbol), house.history_start(symbol)
        if not house.store.intervals(symbol):
            raise missing_upstream(dg.AssetKey("raw_bars"), symbol)
        raw = read_raw(house.store, symbol, start, cutoff)
        rules = house.universe.cleaning(symbol, judged=True)
        made, ledger = build_bars(raw, house.symbol(symbol).calendar, rungs, as_of=cutoff, rules=rules)
        keep_ledger(house, symbol, ledger)
        if dg.AssetKey(rung_key(house.experiment.primary)) in context.selected_asset_keys:
            check_history(made[house.experiment.primary]["known_at"], house.experiment.splits)  # before any feature
        for rung in rungs:
            if dg.AssetKey(rung_key(rung)) in context.selected_asset_keys:
                frame = made.get(rung, pl.DataFrame(schema=RUNG_SCHEMA))
                yield table_result(frame, key=rung_key(rung), ledger=ledger if rung == "1m" else None, time="timestamp")

    version = code_version(bars, house, READS)
    specs = [
        dg.AssetSpec(
            rung_key(rung),
            group_name="bars",
            owners=OWNERS,
            kinds={"python", "polars"},
            code_version=version,
            skippable=True,
            description=f"Cleaned {rung} bars anchored to the session open, with n_source, complete and known_at.",
            metadata={"quant/stored": "table"},
        )
        for rung in rungs
    ]
    define = dg.multi_asset(
        outs={f"bars_{spec.key.path[-1]}": dg.AssetOut.from_spec(spec, dagster_type=dg.Any, is_required=False) for spec in specs},
        deps=["raw_bars"],
        partitions_def=symbols(house),
        can_subset=True,
        name="bars",
    )
    return [define(at_work(bars, READS))]
