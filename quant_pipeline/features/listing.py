"""The registry as rows that a person reads: what `quant features` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from quant_pipeline.config.experiment import FeatureSettings
from quant_pipeline.features.registry import FeatureSpec, specs


def feature_rows(
    settings: FeatureSettings, ladder: Sequence[str], primary: str, family: str | None = None
) -> list[dict[str, Any]]:
    """One row per feature of `family` (None: of the settings' families): name, rungs, columns, bars of history, meaning."""
    chosen = specs((family,) if family else settings.families)
    return [_row(spec, settings, _rungs(spec, settings, ladder, primary), primary) for spec in chosen]


def _rungs(spec: FeatureSpec, settings: FeatureSettings, ladder: Sequence[str], primary: str) -> list[str]:
    return [rung for rung in ladder if spec.on_bars and spec.on(rung, primary, settings.coarse)]


def _row(spec: FeatureSpec, settings: FeatureSettings, rungs: list[str], primary: str) -> dict[str, Any]:
    return {
        "feature": spec.name,
        "family": spec.family,
        "on": spec.marker or " ".join(rungs),
        "columns": len(rungs) if spec.on_bars else 1,
        "bars": spec.bars_needed(rungs[-1] if rungs else primary, settings),
        "volume": "needed" if spec.needs_volume else "",
        "meaning": spec.meaning,
    }
