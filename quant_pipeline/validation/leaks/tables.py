"""Planted leaks in joins: rows of another table that are read before they were known."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from quant_pipeline.bars.asof import asof_join
from quant_pipeline.bars.moments import microseconds
from quant_pipeline.features import macro, news
from quant_pipeline.features.places import Place, pair_place
from quant_pipeline.features.text.alignment import align_news
from quant_pipeline.validation.audit import asof_audit
from quant_pipeline.validation.leaks.bench import (
    HOUR,
    ROWS,
    START,
    Planted,
    bars,
    candles,
    decisions,
    labels,
    under_prefix_audit,
)

Table = Callable[[pl.DataFrame], pl.DataFrame]
DAY = timedelta(days=1)
SERIES = "claims"
WEEKS_BEFORE, WEEKS = 20, 23
"""Weeks of a macro series before the first bar, so that changes have a past; weeks in all."""
ARTICLES, MINUTES = 300, 60 * ROWS


def revised_macro(*, leak: bool) -> pl.DataFrame:
    """A daily release that is revised two days later; the leak puts the last revision at the first release."""
    released = START + DAY * pl.int_range(16).cast(pl.Int64)
    days = pl.select(pl.int_range(16).alias("period"), released.dt.cast_time_unit("us").alias("known_at"))
    vintages = pl.concat([
        days.with_columns(value=pl.col("period") * 1.0),
        days.with_columns(value=pl.col("period") + 0.5, known_at=pl.col("known_at") + timedelta(days=2)),
    ]).sort("known_at", "period")  # fmt: skip

    def compute(cut: datetime) -> pl.DataFrame:
        known = vintages.filter(pl.col("known_at") <= cut)
        latest = known.group_by("period").agg(pl.col("value").last(), pl.col("known_at").first()).sort("known_at")
        return asof_join(bars().filter(pl.col("decision_at") <= cut), latest if leak else known)

    return under_prefix_audit(compute)


def releases() -> pl.DataFrame:
    """A weekly series: `period` starts a week that is told five days after its start and revised a week later."""
    period = pl.Series("period", [START.date() + timedelta(weeks=week - WEEKS_BEFORE) for week in range(WEEKS)])
    random = np.random.default_rng(7)
    first, revised = random.normal(200.0, 10.0, (2, WEEKS))
    told = pl.DataFrame(period).with_columns(
        series=pl.lit(macro.SERIES[SERIES]), known_at=_midnight("period") + 5 * DAY, value=pl.Series(first)
    )
    again = told.with_columns(known_at=pl.col("known_at") + 7 * DAY, value=pl.Series(revised))
    return pl.concat([told, again]).sort("known_at", "period")


def macro_joined(wrong: Table) -> Planted:
    """Macro columns of releases as they were told, or of those that `wrong` makes of them, under the prefix audit."""

    def find(*, leak: bool) -> pl.DataFrame:
        every = releases()

        def compute(cut: datetime) -> pl.DataFrame:
            told = every.filter(pl.col("known_at") <= cut)
            made = macro.columns(decisions(cut), wrong(told) if leak else told)
            return decisions(cut).with_columns(**{name: made[name] for name in made if name.startswith(SERIES)})

        return under_prefix_audit(compute)

    return find


def newest_vintage_by_period(told: pl.DataFrame) -> pl.DataFrame:
    """One value a period, the last revision, on the period's date: what FRED's `get_series` gives."""
    return told.group_by("series", "period", maintain_order=True).agg(pl.col("value").last()).pipe(_by_period)


def first_vintage_by_period(told: pl.DataFrame) -> pl.DataFrame:
    """First releases, but on the date of what they describe."""
    return told.group_by("series", "period", maintain_order=True).agg(pl.col("value").first()).pipe(_by_period)


def articles() -> pl.DataFrame:
    """NEWS table of articles that are known five minutes to six hours after they were published."""
    random = np.random.default_rng(8)
    published = pl.Series(np.sort(random.integers(-MINUTES, MINUTES, ARTICLES)))
    table = pl.DataFrame({
        "published_at": published, "delay": random.integers(5, 360, ARTICLES), "sentiment": random.uniform(-1.0, 1.0, ARTICLES),
    })  # fmt: skip
    moment = pl.lit(START).dt.cast_time_unit("us") + pl.duration(minutes="published_at")
    timed = table.select("sentiment", published_at=moment, known_at=moment + pl.duration(minutes="delay"))
    return timed.sort("known_at")


def news_of_the_day(*, leak: bool) -> pl.DataFrame:
    """News features; the leak joins articles on their day, and so reads those of the day's rest."""
    every = articles()

    def compute(cut: datetime) -> pl.DataFrame:
        known = every.filter(pl.col("known_at") <= cut)
        if leak:
            known = known.with_columns(known_at=pl.col("published_at").dt.truncate("1d")).sort("known_at")
        return decisions(cut).with_columns(**news.columns(decisions(cut), known))

    return under_prefix_audit(compute)


def news_when_published(*, leak: bool) -> pl.DataFrame:
    """Mean sentiment of the aligned articles; the leak aligns them by publication, before the pipeline had them."""
    every = articles()

    def compute(cut: datetime) -> pl.DataFrame:
        known = every.filter(pl.col("known_at") <= cut)
        if leak:
            known = known.with_columns(known_at="published_at").sort("known_at")
        rows, mask = align_news(microseconds(decisions(cut)["decision_at"]), microseconds(known["known_at"]))
        tone = np.where(mask, np.append(known["sentiment"].to_numpy(), 0.0)[rows], 0.0)
        return decisions(cut).with_columns(sentiment=tone.sum(axis=1) / np.maximum(mask.sum(axis=1), 1))

    return under_prefix_audit(compute)


def other_market_at_its_open(*, leak: bool) -> pl.DataFrame:
    """Close of another symbol's newest bar; the leak joins it by the time it opens, an hour before its close is known."""
    own, other = candles(0), candles(1)

    def compute(cut: datetime) -> pl.DataFrame:
        mine, its = (frame.filter(pl.col("known_at") <= cut) for frame in (own, other))
        place = Place("1h", {}, microseconds(mine["known_at"]), np.arange(mine.height), has_volume=True)
        read = its.with_columns(known_at="timestamp") if leak else its
        pair = pair_place("other", read, place, max_age=DAY)
        return decisions(cut).with_columns(close=pair.columns["other_close"])

    return under_prefix_audit(compute)


def bar_known_at_its_open(*, leak: bool) -> pl.DataFrame:
    """Four-hour bars stamped by their open (`label="left"`); the leak takes that stamp for the time they are known."""
    wide = bars().group_by_dynamic("timestamp", every="4h").agg(pl.col("close").last().alias("wide_close"))
    wide = wide.with_columns(closed_at=pl.col("timestamp") + 4 * HOUR)
    right = wide.select("wide_close", "closed_at", known_at=pl.col("timestamp" if leak else "closed_at"))
    return asof_audit(asof_join(bars(), right), known=("closed_at",))


def label_as_a_feature(*, leak: bool) -> pl.DataFrame:
    """The newest label as a feature; the leak joins it on its decision instead of the end of its window."""
    right = labels().select("label_end", known_at=pl.col("decision_at" if leak else "label_end"))
    return asof_audit(asof_join(labels().select("decision_at"), right), known=("label_end",))


def _midnight(column: str) -> pl.Expr:
    return pl.col(column).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def _by_period(values: pl.DataFrame) -> pl.DataFrame:
    return values.with_columns(known_at=_midnight("period")).sort("known_at")
