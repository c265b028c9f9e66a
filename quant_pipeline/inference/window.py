"""Which raw bars one decision reads: a fixed window, so that live, replay and backtest see the very same rows."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import polars as pl

from quant_pipeline.bars.native import closes
from quant_pipeline.bars.schema import BARS_SCHEMA
from quant_pipeline.config.experiment import Experiment, FeatureSettings
from quant_pipeline.config.timeframes import duration, minutes
from quant_pipeline.features.build import history_needed
from quant_pipeline.features.groups import narrowed
from quant_pipeline.features.news import REACH as NEWS_REACH
from quant_pipeline.inference.schedule import decision_moments, midnight
from quant_pipeline.models.preparation.hmm import LOOKBACK as REGIMES_LOOKBACK
from quant_pipeline.sources.store import RawStore

# the window of an ordinary year is stretched by a quarter and two weeks: holidays, and outages of the feed
STRETCH, SPARE_DAYS = 1.25, 14
NEWS_WINDOW = NEWS_REACH + timedelta(days=1)
_YEAR = (datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC))


def history_window(experiment: Experiment, calendar: str) -> timedelta:
    """How far back the bars of one decision reach: whole days, enough for the longest feature on the slowest rung.

    Fixed by the experiment and the calendar alone, so that every run reads the same bars.
    """
    context = experiment.foundation.context if experiment.foundation.model else 0
    return _window(experiment.features, experiment.rungs, experiment.primary, calendar, max(context, REGIMES_LOOKBACK))


@lru_cache(maxsize=64)
def _window(features: FeatureSettings, rungs: tuple[str, ...], primary: str, calendar: str, least: int) -> timedelta:
    needed = history_needed(features, rungs, primary)
    needed[primary] = max(needed[primary], least)
    longest = max(bars * _days_per_bar(rung, calendar) for rung, bars in needed.items())
    return timedelta(days=math.ceil(longest * STRETCH) + SPARE_DAYS)


def _days_per_bar(rung: str, calendar: str) -> float:
    if duration(rung) > timedelta(days=1):
        return duration(rung) / timedelta(days=1)
    return (_YEAR[1] - _YEAR[0]).days / len(decision_moments(calendar, rung, *_YEAR))


def context_window(experiment: Experiment, calendar: str) -> timedelta:
    """How far back other markets and news are read for one decision; releases are read from the first on record."""
    settings = narrowed(experiment.features, [name for name in experiment.features.families if name == "cross_asset"])
    return max(_window(settings, (experiment.primary,), experiment.primary, calendar, 0), NEWS_WINDOW)


def inputs_hash(experiment: Experiment) -> str:
    """Sixteen hex digits over the settings that shape features; a bundle answers only for those it was trained with."""
    shaping = {"features", "ladder", "primary", "news", "macro", "foundation"}
    shaped = json.dumps(experiment.model_dump(mode="json", include=shaping), sort_keys=True)
    return hashlib.sha256(shaped.encode()).hexdigest()[:16]


def answers_for(manifest: Mapping[str, Any], experiment: Experiment) -> bool:
    """Whether a bundle was trained on the features of `experiment`; a manifest that does not say is believed."""
    trained = manifest.get("inputs_hash")
    return not trained or trained == inputs_hash(experiment)


def bars_hash(raw: Mapping[str, pl.DataFrame]) -> str:
    """Thirty-two hex digits over raw BARS by interval: equal values give equal digits, on every machine."""
    digest = hashlib.sha256()
    for interval in sorted((name for name, frame in raw.items() if frame.height), key=minutes):
        frame = raw[interval]
        digest.update(f"{interval}:{frame.height};".encode())
        for name in BARS_SCHEMA:
            column = frame[name].to_physical() if name == "timestamp" else frame[name].fill_null(math.nan)
            digest.update(column.to_numpy().astype("<i8" if name == "timestamp" else "<f8").tobytes())
    return digest.hexdigest()[:32]


def read_raw(
    store: RawStore, symbol: str, start: datetime, end: datetime, seen_by: datetime | None = None
) -> dict[str, pl.DataFrame]:
    """Raw BARS that open in [start, end), an entry for each interval that the store holds; `1m` where it holds none.

    A session's last bar closes with it, so `build_bars` and `cut` judge which are closed by `end`; for `seen_by` see
    `RawStore.read`.
    """
    last = end - timedelta(microseconds=1)
    intervals = store.intervals(symbol, seen_by) or ("1m",)
    return {interval: store.read(symbol, interval, start, last + duration(interval), seen_by=seen_by) for interval in intervals}


def cut(raw: Mapping[str, pl.DataFrame], start: datetime, as_of: datetime, calendar: str) -> dict[str, pl.DataFrame]:
    """Raw BARS by interval that opened at or after `start` and closed by `as_of`, with their length or their session."""
    return {
        interval: frame.filter((frame["timestamp"] >= start) & (closes(frame, calendar, duration(interval)) <= as_of))
        for interval, frame in raw.items()
    }


def window_start(experiment: Experiment, calendar: str, as_of: datetime) -> datetime:
    """Midnight UTC from which the bars of the decision at `as_of` are read."""
    return midnight(as_of) - history_window(experiment, calendar)


def context_start(experiment: Experiment, calendar: str, as_of: datetime) -> datetime:
    """Midnight UTC from which other markets and news are read for the decision at `as_of`."""
    return midnight(as_of) - context_window(experiment, calendar)
