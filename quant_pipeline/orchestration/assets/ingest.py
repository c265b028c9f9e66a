"""Group `ingest`: raw bars as the source told them, appended, never rewritten silently."""

import dagster as dg

from quant_pipeline.orchestration.assets.common import described
from quant_pipeline.orchestration.house import House
from quant_pipeline.orchestration.partitions import symbols
from quant_pipeline.orchestration.results import Result, ledger_metadata
from quant_pipeline.orchestration.versions import code_version


def ingest_assets(house: House) -> list[dg.AssetsDefinition]:
    """The `raw_bars` asset."""
    version = code_version("sources/ingest", settings=(house.workplace.profile, house.experiment.history_days))

    @described(
        "ingest",
        version,
        kinds={"parquet"},
        partitions_def=symbols(house),
        pool=f"source_{house.workplace.profile}",
        description="Validated bars of each native interval. The data version covers the bars that training sees.",
    )
    def raw_bars(context: dg.AssetExecutionContext, house: dg.ResourceParam[House]) -> Result:
        from quant_pipeline.sources.ingest import ingest

        symbol = context.partition_key
        start, cutoff = house.history_start(symbol), house.cutoff(symbol)
        ledger = ingest(house.source, house.store, symbol, house.symbol(symbol), start=start, now=house.workplace.now())
        newest = house.store.last(symbol, "1m")
        return dg.MaterializeResult(
            data_version=dg.DataVersion(f"{house.store.fingerprint(symbol, until=cutoff)[:16]}@{cutoff:%Y-%m-%d}"),
            metadata={
                **ledger_metadata(ledger),
                "source": house.source.name,
                "simulated": house.source.simulated,
                "newest_bar": str(newest),
                "training_cutoff": str(cutoff),
            },
        )

    return [raw_bars]
