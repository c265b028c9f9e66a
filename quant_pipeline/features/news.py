"""News as numbers: how much was written about a symbol, how good it was, and how long ago.

What a decision reads are the articles known at that time, those of 24 hours for most features and of 31 days for the
attention. Where the table exists and no article is near, that is an answer, not a gap: counts and sentiments are 0.
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl

from quant_pipeline.bars.asof import asof_index
from quant_pipeline.bars.moments import NEVER, Int64s, microseconds, require_columns
from quant_pipeline.errors import DataError
from quant_pipeline.features.context import NEWS_SCHEMA
from quant_pipeline.features.kernels import FloatArray
from quant_pipeline.features.registry import NEWS, Columns, feature
from quant_pipeline.jit import compiled

REACH = timedelta(days=31)
"""Articles known longer before a decision than this change none of its features: how far back a table must go."""
HALF_LIFE_HOURS = 6.0
ATTENTION_DAYS = 30
AGE_CAP = 1_440.0
"""Minutes; news a day old or older is no news."""
ATTENTION_CAP = 10.0
_MINUTE = 60_000_000
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR


def news_table(articles: pl.DataFrame, sentiment: FloatArray) -> pl.DataFrame:
    """NEWS_SCHEMA from articles (`known_at`, `published_at`) and their (n,) sentiment, sorted by `known_at`."""
    require_columns(articles, ("known_at", "published_at"), "articles")
    table = articles.select("known_at", "published_at").with_columns(sentiment=pl.Series(sentiment, dtype=pl.Float64()))
    return table.sort("known_at", maintain_order=True).match_to_schema(NEWS_SCHEMA)


def columns(decisions: pl.DataFrame, table: pl.DataFrame) -> dict[str, FloatArray]:
    """What the features below read.

    Args:
        decisions: `decision_at`.
        table: NEWS_SCHEMA, sorted by `known_at`; articles known after a decision are not read for it. With those of
            `REACH` before a decision it gives the same bits as with all older ones.

    Returns:
        (n,) arrays over the articles known at the decision: `articles_1h`, `articles_24h` (numbers); `usual_24h` and
        `spread_24h` (mean and variance of that number on the 30 days before); `decayed` (mean sentiment of 24 hours, an
        article's weight halving every 6 hours since its publication); `newest` (sentiment of the last one in 24 hours);
        `total_6h` (sum); `deviation` (of the sentiments of 24 hours); `age` (minutes since the newest was published, 1440
        where there is none in 24 hours).

    Raises:
        DataError: missing columns, unsorted `known_at`, a sentiment that is null or outside [-1, 1], or a null `published_at`.
    """
    require_columns(table, tuple(NEWS_SCHEMA), "news table")
    at = microseconds(decisions["decision_at"])
    known, published = microseconds(table["known_at"]), microseconds(table["published_at"])
    tone = table["sentiment"].to_numpy()
    _check(tone, published)
    last = asof_index(at, known)
    days = np.stack([_number(known, at - day * _DAY, _DAY) for day in range(ATTENTION_DAYS + 1)])  # (days, n), today first
    total, squares = days[1:].sum(axis=0), (days[1:] ** 2).sum(axis=0)  # whole numbers: exact in any order of summing
    decayed, newest, recent, deviation, age = _windows(at, last, known, published, tone)
    return {
        "articles_1h": _number(known, at, _HOUR),
        "articles_24h": days[0],
        "usual_24h": total / ATTENTION_DAYS,
        "spread_24h": (ATTENTION_DAYS * squares - total**2) / ATTENTION_DAYS**2,
        "decayed": decayed,
        "newest": newest,
        "total_6h": recent,
        "deviation": deviation,
        "age": age,
    }


def _check(tone: FloatArray, published: Int64s) -> None:
    wrong = ~(np.abs(tone) <= 1.0) | (published == NEVER)
    if wrong.any():
        raise DataError(
            f"news table, row {wrong.argmax()}", found=f"sentiment {tone[wrong.argmax()]}",
            wanted="a sentiment in [-1, 1] and a time of publication",
            mend="make the table with news_table from the sentiment of an encoder",
        )  # fmt: skip


def _number(known: Int64s, until: Int64s, width: int) -> FloatArray:
    """Articles with until - width < known_at <= until."""
    return (asof_index(until, known) - asof_index(until - width, known)).astype(np.float64)


@compiled
def _windows(
    at: Int64s, last: Int64s, known: Int64s, published: Int64s, tone: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]:
    """Decayed mean, newest, sum of 6 hours, deviation and age for each decision; its own sums, so that no bit depends on
    where the table starts.
    """
    n = at.size
    decayed, newest, total, deviation = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n)
    age = np.full(n, AGE_CAP)
    for i in range(n):
        row = last[i]
        if row < 0 or known[row] <= at[i] - _DAY:
            continue
        newest[i] = tone[row]
        age[i] = min(max((at[i] - published[row]) / _MINUTE, 0.0), AGE_CAP)
        weights, weighted, count, mean, squares = 0.0, 0.0, 0, 0.0, 0.0
        while row >= 0 and known[row] > at[i] - _DAY:
            hours = max((at[i] - published[row]) / _HOUR, 0.0)
            weight = 0.5 ** (hours / HALF_LIFE_HOURS)
            weights += weight
            weighted += weight * tone[row]
            if known[row] > at[i] - 6 * _HOUR:
                total[i] += tone[row]
            count += 1
            gap = tone[row] - mean
            mean += gap / count
            squares += gap * (tone[row] - mean)
            row -= 1
        decayed[i] = weighted / weights if weights > 0.0 else 0.0
        deviation[i] = np.sqrt(squares / count)
    return decayed, newest, total, deviation, age


@feature("news_count_1h", "news", ("articles_1h",), 1, rungs=(NEWS,))
def news_count_1h(columns: Columns) -> FloatArray:
    """Articles that became known in the last hour."""
    return columns["articles_1h"]


@feature("news_count_24h", "news", ("articles_24h",), 1, rungs=(NEWS,))
def news_count_24h(columns: Columns) -> FloatArray:
    """Articles that became known in the last 24 hours."""
    return columns["articles_24h"]


@feature("news_attention", "news", ("articles_24h", "usual_24h", "spread_24h"), 1, rungs=(NEWS,))
def news_attention(columns: Columns) -> FloatArray:
    """Articles of 24 hours against the 30 days before: (number - mean) / sqrt(variance + 1), -10 to 10.

    The one under the root keeps it defined, and quiet, where next to nothing is ever written.
    """
    gap = columns["articles_24h"] - columns["usual_24h"]
    return np.clip(gap / np.sqrt(columns["spread_24h"] + 1.0), -ATTENTION_CAP, ATTENTION_CAP)


@feature("news_sentiment_mean_24h", "news", ("decayed",), 1, rungs=(NEWS,))
def news_sentiment_mean_24h(columns: Columns) -> FloatArray:
    """Mean sentiment of the articles of 24 hours, weights halving every 6 hours of age; -1 to 1, 0 without articles."""
    return columns["decayed"]


@feature("news_sentiment_newest", "news", ("newest",), 1, rungs=(NEWS,))
def news_sentiment_newest(columns: Columns) -> FloatArray:
    """Sentiment of the newest article of 24 hours; -1 to 1, 0 without articles."""
    return columns["newest"]


@feature("news_sentiment_sum_6h", "news", ("total_6h",), 1, rungs=(NEWS,))
def news_sentiment_sum_6h(columns: Columns) -> FloatArray:
    """Sum of the sentiments of the articles of 6 hours: how good and how much at once; 0 without articles."""
    return columns["total_6h"]


@feature("news_sentiment_dispersion", "news", ("deviation",), 1, rungs=(NEWS,))
def news_sentiment_dispersion(columns: Columns) -> FloatArray:
    """Standard deviation of the sentiments of 24 hours: 0 (agreed, or fewer than two articles) to 1 (divided)."""
    return columns["deviation"]


@feature("news_age", "news", ("age",), 1, rungs=(NEWS,))
def news_age(columns: Columns) -> FloatArray:
    """Minutes since the newest known article was published, at most 1440: what stands there without one in 24 hours."""
    return columns["age"]
