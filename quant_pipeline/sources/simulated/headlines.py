"""Simulated headlines: when they appear, and what tone they carry into the drift of the minutes that follow."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from quant_pipeline.bars.moments import Int64s, moments
from quant_pipeline.sources.base import HEADLINES_SCHEMA
from quant_pipeline.sources.simulated.noise import MINUTE, Floats, month_minutes, month_start, stream
from quant_pipeline.sources.simulated.wording import CAUSES, SHARES, SOURCES, TEMPLATES, TONES
from quant_pipeline.sources.simulated.world import asset

if TYPE_CHECKING:
    from datetime import datetime

PER_DAY = 6.0  # mean number of headlines a symbol gets on one day
_BUSY = (12, 21)  # UTC hours in which news is three times as frequent
_BUSY_FACTOR = 3.0
TONE_VARIANCE = float(np.sum(np.square(TONES) * SHARES))


@dataclass(frozen=True)
class News:
    """Headlines of one symbol and month: publication (microseconds UTC), tone bucket, and the choice of words."""

    published: Int64s
    bucket: Int64s
    words: Int64s

    @property
    def tone(self) -> Floats:
        """Tone in [-1, 1] of each headline."""
        return np.asarray(TONES)[self.bucket]


@lru_cache(maxsize=256)
def month_news(seed: int, symbol: str, month: int) -> News:
    """Headlines of `symbol` published in `month`; at most one a minute."""
    random, size = stream(seed, f"news {symbol}", month), month_minutes(month)
    hour = np.arange(size) // 60 % 24
    weight = np.where((hour >= _BUSY[0]) & (hour < _BUSY[1]), _BUSY_FACTOR, 1.0)
    minute = np.flatnonzero(random.random(size) < PER_DAY / 1_440 * weight / weight.mean())
    first = int(month_start(month).timestamp()) * 1_000_000
    return News(
        published=first + minute * MINUTE + random.integers(0, 60, len(minute)) * 1_000_000,
        bucket=random.choice(len(TONES), size=len(minute), p=SHARES),
        words=random.integers(0, 2**31, len(minute)),
    )


def headline_table(seed: int, symbol: str, months: range, start: datetime, end: datetime) -> pl.DataFrame:
    """Headlines with `start` <= published_at < `end` in HEADLINES form, and their `tone` for grading."""
    parts = [_month_table(seed, symbol, month) for month in months]
    schema = pl.Schema({**HEADLINES_SCHEMA, "tone": pl.Float64()})
    table = pl.concat(parts) if parts else pl.DataFrame(schema=schema)
    return table.filter(pl.col("published_at") >= start, pl.col("published_at") < end)


def _month_table(seed: int, symbol: str, month: int) -> pl.DataFrame:
    news = month_news(seed, symbol, month)
    published = moments(news.published, "published_at")
    titles = [_title(symbol, bucket, words) for bucket, words in zip(news.bucket.tolist(), news.words.tolist(), strict=True)]
    return pl.DataFrame(
        {
            "published_at": published,
            "known_at": published,
            "symbol": pl.repeat(symbol, len(published), dtype=pl.String(), eager=True),
            "title": pl.Series(titles, dtype=pl.String()),
            "source": pl.Series([SOURCES[words % len(SOURCES)] for words in news.words.tolist()], dtype=pl.String()),
            "tone": news.tone,
        }
    )


def _title(symbol: str, bucket: int, words: int) -> str:
    template = TEMPLATES[bucket][words // 7 % len(TEMPLATES[bucket])]
    return template.format(name=asset(symbol).name, symbol=symbol, cause=CAUSES[words // 101 % len(CAUSES)])
