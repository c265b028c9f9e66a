"""What a decision may look at besides its own bars, gathered from the stores: the same for training, live and replay."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import polars as pl

from quant_pipeline.bars.build import build_bars
from quant_pipeline.bars.schema import RUNG_SCHEMA
from quant_pipeline.features.context import NEWS_SCHEMA, Context
from quant_pipeline.features.news import news_table as scored
from quant_pipeline.inference.window import read_raw

if TYPE_CHECKING:
    from quant_pipeline.features.text.embeddings import EmbeddingStore
    from quant_pipeline.inference.account import Desk
    from quant_pipeline.inference.seen import SeenBy
    from quant_pipeline.sources.macro.releases import ReleaseStore
    from quant_pipeline.sources.news.articles import ArticleStore


@dataclass(frozen=True)
class Library:
    """Where news and macro releases are kept; None for what this installation has no source of.

    Attributes:
        articles: headlines by symbol.
        embeddings: opens the embeddings of a symbol's headlines.
        releases: macro vintages.
    """

    articles: ArticleStore | None = None
    embeddings: Callable[[str], EmbeddingStore] | None = None
    releases: ReleaseStore | None = None


def gather(desk: Desk, symbol: str, start: datetime, moment: datetime, seen_by: SeenBy | None = None) -> Context:
    """The context of the decisions in [start, moment] of `symbol`, as it was known at `moment`.

    Args:
        desk: stores and settings.
        symbol: whose decisions.
        start: first moment whose bars and news count; releases count from the first on record.
        moment: nothing known later is read.
        seen_by: nothing that the stores saw later is read either; None, for training, reads what is there now.

    Returns:
        A Context with what the experiment's families read; a table without a source is None.
    """
    families, library = desk.experiment.features.families, _seen(desk.library, seen_by)
    correlated = desk.universe.symbol(symbol).correlated if "cross_asset" in families else ()
    return Context(
        others={name: primary_bars(desk, name, start, moment, seen_by.bars if seen_by else None) for name in correlated},
        news=news_table(library, symbol, start, moment, seen_by.news if seen_by else None) if "news" in families else None,
        releases=library.releases.read(moment, seen_by=seen_by.releases if seen_by else None)
        if library.releases and "macro" in families
        else None,
    )


def _seen(library: Library, seen_by: SeenBy | None) -> Library:
    """`library` without the stores that there were none of then."""
    if seen_by is None:
        return library
    articles, releases = library.articles if seen_by.news else None, library.releases if seen_by.releases else None
    return Library(articles, library.embeddings, releases)


def primary_bars(
    desk: Desk, symbol: str, start: datetime, moment: datetime, seen_by: datetime | None = None, *, judged: bool = False
) -> pl.DataFrame:
    """RUNG BARS of the primary rung of `symbol` from its raw bars in [start, moment]; no rows where no such are stored.

    `judged`, for training: bars that break the symbol's limits are refused.
    """
    raw = read_raw(desk.store, symbol, start, moment, seen_by)
    if not any(frame.height for frame in raw.values()):
        return pl.DataFrame(schema=RUNG_SCHEMA)
    primary = desk.experiment.primary
    calendar, rules = desk.universe.instrument(symbol).calendar, desk.universe.cleaning(symbol, judged=judged)
    rungs, _ = build_bars(raw, calendar, (primary,), as_of=moment, rules=rules)
    return rungs.get(primary, pl.DataFrame(schema=RUNG_SCHEMA))


def news_table(
    library: Library, symbol: str, start: datetime, moment: datetime, seen_by: datetime | None = None
) -> pl.DataFrame | None:
    """NEWS of `symbol` known in [start, moment], scored; None where none was ever collected.

    Raises:
        MissingUpstreamError: an article that was never embedded.
    """
    if library.articles is None or library.embeddings is None or library.articles.read(symbol, seen_by=seen_by).is_empty():
        return None
    articles = library.articles.read(symbol, start, moment, seen_by=seen_by)
    if articles.is_empty():
        return pl.DataFrame(schema=NEWS_SCHEMA)
    _, sentiment = library.embeddings(symbol).lookup(articles["title"].to_list())
    return scored(articles, sentiment)


def context_hash(context: Context) -> str:
    """Hex digits over every table of `context`; empty when there is none."""
    tables = {**context.others, "news": context.news, "releases": context.releases}
    digest = hashlib.sha256()
    for name, frame in sorted(tables.items()):
        for column in frame if frame is not None else ():
            digest.update(f"{name}.{column.name}:{len(column)};".encode())
            digest.update(_bytes(column))
    return digest.hexdigest() if any(frame is not None for frame in tables.values()) else ""


def _bytes(column: pl.Series) -> bytes:
    """The values, the same on every machine; nulls are NaN, or empty texts."""
    if column.dtype == pl.String:
        return "\n".join(column.fill_null("")).encode()
    return column.to_physical().cast(pl.Float64).fill_null(math.nan).to_numpy().astype("<f8").tobytes()
