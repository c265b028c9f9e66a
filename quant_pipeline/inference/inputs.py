"""Every feature of the decisions that inference and drift look at, by the one path that training takes as well."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from quant_pipeline.features.build import build_features
from quant_pipeline.features.groups import joined

if TYPE_CHECKING:
    import polars as pl

    from quant_pipeline.config.experiment import Experiment, FoundationSettings
    from quant_pipeline.features.context import Context
    from quant_pipeline.features.foundation import FoundationEncoder


def decision_features(
    rungs: Mapping[str, pl.DataFrame], context: Context, experiment: Experiment, calendar: str, *, since: datetime | None = None
) -> pl.DataFrame:
    """FEATURES of all families of `experiment`, and the foundation model's columns where it has one.

    Args:
        rungs: RUNG BARS of every rung of the experiment.
        context: other markets, news and releases.
        experiment: families and models of the inputs.
        calendar: the symbol's market calendar.
        since: only decisions later than this.
    """
    primary = experiment.primary
    features, _ = build_features(rungs, experiment.features, primary, calendar, since=since, context=context)
    if not experiment.foundation.model:
        return features
    return joined(features, [foundation_table(rungs[primary], experiment.foundation, since=since)])


def foundation_table(
    bars: pl.DataFrame, settings: FoundationSettings, *, since: datetime | None = None, cache_folder: Path | None = None
) -> pl.DataFrame:
    """What the foundation model says at each primary bar; see `FoundationEncoder.encode`."""
    return _encoder(settings).encode(bars, since=since, cache=cache_folder)


@cache
def _encoder(settings: FoundationSettings) -> FoundationEncoder:
    from quant_pipeline.features.foundation import FoundationEncoder

    return FoundationEncoder(str(settings.model), settings.context, settings.horizon)
