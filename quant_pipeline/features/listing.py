"""The registry as rows that a person reads: what `quant features` prints."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from quant_pipeline.config.experiment import FeatureSettings
from quant_pipeline.features.registry import FeatureSpec, specs


def feature_rows(
    settings: FeatureSettings, ladder: Sequence[str], primary: str, family: str | None = None
) -> list[dict[str, Any]]:
    """One row per feature of `family` (None: of the settings' families): name, rungs, columns, bars of history, meaning."""
    chosen = specs((family,) if family else settings.families)
    return [_row(spec, settings, [rung for rung in ladder if spec.on(rung, primary)], primary) for spec in chosen]


def _row(spec: FeatureSpec, settings: FeatureSettings, rungs: list[str], primary: str) -> dict[str, Any]:
    meaning = inspect.cleandoc(spec.function.__doc__ or "").partition("\n")[0]
    return {
        "feature": spec.name,
        "family": spec.family,
        "on": "decision" if spec.on_decision else " ".join(rungs),
        "columns": 1 if spec.on_decision else len(rungs),
        "bars": spec.bars_needed(rungs[-1] if rungs else primary, settings),
        "volume": "needed" if spec.needs_volume else "",
        "meaning": meaning,
    }
