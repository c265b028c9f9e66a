"""Group `features`: what encoders make of headlines and of price windows."""

import dagster as dg
import polars as pl

from quant_pipeline.orchestration.assets.common import described
from quant_pipeline.orchestration.assets.outages import survived
from quant_pipeline.orchestration.assets.preparation import primary_bars
from quant_pipeline.orchestration.house import House
from quant_pipeline.orchestration.partitions import symbols
from quant_pipeline.orchestration.results import Result, ledger_metadata, table_result


def embedding_assets(house: House) -> list[dg.AssetsDefinition]:
    """`news_embeddings` and `foundation_embeddings`, where the experiment asks for them."""
    news = [_news_embeddings(house)] if "news" in house.experiment.features.families else []
    return [*news, *([_foundation_embeddings(house)] if house.experiment.foundation.model else [])]


def _news_embeddings(house: House) -> dg.AssetsDefinition:
    @described(
        "features",
        house,
        reads=("news",),
        kinds={"hdf5"},
        deps=["raw_news"],
        partitions_def=symbols(house),
        pool="gpu",
        description="Each headline's embedding and tone by the chosen encoder, computed once, kept in HDF5.",
    )
    def news_embeddings(context: dg.AssetExecutionContext, house: dg.ResourceParam[House]) -> Result:
        return survived(context, lambda: _headlines_embedded(house, context.partition_key))

    return news_embeddings


def _headlines_embedded(house: House, symbol: str) -> Result:
    from quant_pipeline.orchestration.library import articles, embed_news

    ledger = embed_news(house, symbol)
    known = articles(house).fingerprint(symbol, house.cutoff(symbol))
    return dg.MaterializeResult(
        data_version=dg.DataVersion(f"{house.experiment.news.encoder}:{known[:16]}"),
        metadata={**ledger_metadata(ledger), "encoder": house.experiment.news.encoder},
    )


def _foundation_embeddings(house: House) -> dg.AssetsDefinition:
    @described(
        "features",
        house,
        reads=("foundation",),
        kinds={"torch"},
        stored="table",
        ins=primary_bars(house),
        partitions_def=symbols(house),
        pool="gpu",
        description="Chronos-Bolt's embedding and quantile forecast of the closes before each decision.",
    )
    def foundation_embeddings(context: dg.AssetExecutionContext, house: dg.ResourceParam[House], bars: pl.DataFrame) -> Result:
        from quant_pipeline.inference.inputs import foundation_table

        cached = house.workplace.lake / "foundation" / context.partition_key
        frame = foundation_table(bars, house.experiment.foundation, cache_folder=cached)
        return table_result(frame, time="decision_at")

    return foundation_embeddings
