"""Group `ingest`: bars, news and macro releases as their sources told them, appended, never rewritten silently."""

import dagster as dg
import polars as pl

from quant_pipeline.ledger import DOWN, Ledger
from quant_pipeline.orchestration.assets.common import described
from quant_pipeline.orchestration.assets.outages import survived
from quant_pipeline.orchestration.house import House
from quant_pipeline.orchestration.moments import told_decisions
from quant_pipeline.orchestration.partitions import symbols
from quant_pipeline.orchestration.results import Result, ledger_metadata, table_result

OF_BARS = ("symbol.calendar", "symbol.files", "symbol.adjustments", "symbol.limits")
"""Settings of a symbol that decide which bars it has."""


def ingest_assets(house: House) -> list[dg.AssetsDefinition]:
    """`raw_bars`, and what the experiment's families read besides: `correlated_bars`, `raw_news`, `macro_series`."""
    families = house.experiment.features.families
    beside = {"cross_asset": _correlated_bars, "news": _raw_news, "macro": _macro_series}
    return [_raw_bars(house), *(make(house) for family, make in beside.items() if family in families)]


def _raw_bars(house: House) -> dg.AssetsDefinition:
    rungs = house.experiment.rungs

    @described(
        "ingest",
        house,
        reads=("primary", "history_days", *OF_BARS),
        kinds={"parquet"},
        partitions_def=symbols(house),
        pool=f"source_{house.workplace.profile}",
        description="Validated bars of each native interval. The data version covers the bars that training sees.",
    )
    def raw_bars(context: dg.AssetExecutionContext, house: dg.ResourceParam[House]) -> Result:
        return survived(context, lambda: _bars_brought(house, context.partition_key, rungs))

    return raw_bars


def _bars_brought(house: House, symbol: str, rungs: tuple[str, ...]) -> Result:
    from quant_pipeline.bars.build import check_primary, rungs_of
    from quant_pipeline.sources.ingest import ingest

    check_primary(house.source.intervals(symbol), house.experiment, symbol)
    start, cutoff = house.history_start(symbol), house.cutoff(symbol)
    ledger = ingest(house.source, house.store, symbol, house.symbol(symbol), start=start, now=house.workplace.now())
    intervals = house.store.intervals(symbol)
    absent = [rung for rung in rungs if rung not in rungs_of(intervals, rungs)]
    ledger.notes |= {"absent_rungs": absent} if absent else {}
    newest = max(last for interval in intervals if (last := house.store.last(symbol, interval)))
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


def _correlated_bars(house: House) -> dg.AssetsDefinition:
    @described(
        "ingest",
        house,
        reads=("primary", "history_days", "symbol.correlated", *OF_BARS),
        kinds={"polars"},
        stored="table",
        partitions_def=symbols(house),
        pool=f"source_{house.workplace.profile}",
        description="Primary bars of the correlated symbols up to the training cutoff; one without data is named, not invented.",
    )
    def correlated_bars(context: dg.AssetExecutionContext, house: dg.ResourceParam[House]) -> Result:
        from quant_pipeline.bars.schema import RUNG_SCHEMA
        from quant_pipeline.inference.context import primary_bars
        from quant_pipeline.orchestration.library import ingest_correlated

        symbol = context.partition_key
        missing, down = ingest_correlated(house, symbol)
        judged = not told_decisions(context)  # what training would refuse stops no decision
        span = house.history_start(symbol), house.cutoff(symbol)
        bars = {name: primary_bars(house.desk(), name, *span, judged=judged) for name in house.symbol(symbol).correlated}
        frame = pl.concat([_named("", pl.DataFrame(schema=RUNG_SCHEMA)), *(_named(name, part) for name, part in bars.items())])
        counts = {name: part.height for name, part in bars.items()}
        ledger = Ledger(frame.height, notes={DOWN: down} if down else {})
        return table_result(frame, time="known_at", ledger=ledger, extra={"bars": counts, "missing": missing})

    return correlated_bars


def _raw_news(house: House) -> dg.AssetsDefinition:
    @described(
        "ingest",
        house,
        reads=("news", "history_days"),
        kinds={"parquet"},
        partitions_def=symbols(house),
        pool="source_news",
        description="Headlines with the moment each could first be read; an article that arrives late is known late.",
    )
    def raw_news(context: dg.AssetExecutionContext, house: dg.ResourceParam[House]) -> Result:
        return survived(context, lambda: _news_brought(house, context.partition_key))

    return raw_news


def _news_brought(house: House, symbol: str) -> Result:
    from quant_pipeline.orchestration.library import articles, collect_news

    cutoff = house.cutoff(symbol)
    ledger = collect_news(house, symbol)
    stored = articles(house)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(f"{stored.fingerprint(symbol, cutoff)[:16]}@{cutoff:%Y-%m-%d}"),
        metadata={**ledger_metadata(ledger), "articles": stored.read(symbol).height},
    )


def _macro_series(house: House) -> dg.AssetsDefinition:
    @described(
        "ingest",
        house,
        reads=("macro", "history_days"),
        kinds={"parquet"},
        pool="source_macro",
        description="Macro observations by release date, revisions included: what was known when, not what is known now.",
    )
    def macro_series(context: dg.AssetExecutionContext, house: dg.ResourceParam[House]) -> Result:
        return survived(context, lambda: _releases_brought(house))

    return macro_series


def _releases_brought(house: House) -> Result:
    from quant_pipeline.config.workplace import training_cutoff
    from quant_pipeline.orchestration.library import collect_macro, releases

    ledger = collect_macro(house)
    cutoff = training_cutoff(house.workplace.now())
    return dg.MaterializeResult(
        data_version=dg.DataVersion(f"{releases(house).fingerprint(cutoff)[:16]}@{cutoff:%Y-%m-%d}"),
        metadata=ledger_metadata(ledger),
    )


def _named(other: str, bars: pl.DataFrame) -> pl.DataFrame:
    return bars.with_columns(other=pl.lit(other))
