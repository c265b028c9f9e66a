"""What a fold does to the features before any model sees them: its regimes beside them, and its choice among them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Self

from quant_pipeline.config.feature_sets import feature_set
from quant_pipeline.errors import ConfigError
from quant_pipeline.features.groups import joined
from quant_pipeline.files import write_json
from quant_pipeline.models.preparation.hmm import RegimeModel
from quant_pipeline.models.preparation.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

PREPARATION = "preparation.json"
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, eq=False)
class Preparation:
    """Fitted on the training rows of one fold, and part of the bundle of the holdout fold.

    Attributes:
        regimes: hidden states of the primary bars.
        selection: the columns that this fold's models may look at.
    """

    regimes: RegimeModel
    selection: Selection

    def columns(self, feature_set_name: str, rungs: Sequence[str]) -> tuple[str, ...]:
        """The chosen columns that are in a feature set; raises `ConfigError` when the set shares none with the choice."""
        chosen = feature_set(feature_set_name).members(self.selection.columns, rungs)
        if chosen:
            return chosen
        raise ConfigError(
            f"feature set {feature_set_name!r}", found="none of its features among those selected",
            wanted="at least one", mend="enable a family that it reads (features.families), or choose another feature_set",
        )  # fmt: skip

    def table(self, features: pl.DataFrame, bars: pl.DataFrame) -> pl.DataFrame:
        """FEATURES with the regime columns of the primary `bars` (RUNG BARS, at least the filter's memory before the rows)."""
        return with_regimes(features, bars, self.regimes)

    def save(self, folder: Path) -> None:
        """Write it as one JSON file."""
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / PREPARATION, {"regimes": self.regimes.to_dict(), "selection": self.selection.to_dict()})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        told = json.loads((folder / PREPARATION).read_text(encoding="utf-8"))
        return cls(RegimeModel.from_dict(told["regimes"]), Selection.from_dict(told["selection"]))


def with_regimes(features: pl.DataFrame, bars: pl.DataFrame, regimes: RegimeModel) -> pl.DataFrame:
    """FEATURES with the forward-filtered regime columns of the primary `bars`."""
    if features.is_empty():
        return features
    since = features["decision_at"][0] - _TICK
    return joined(features, [regimes.probabilities(bars, since=since)])
