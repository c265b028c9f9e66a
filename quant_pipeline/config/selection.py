"""Settings of feature selection: how each fold chooses its columns on its own training rows."""

from __future__ import annotations

from datetime import timedelta
from typing import Self

import pydantic

from quant_pipeline.config.model import Duration, Settings


class SelectionSettings(Settings):
    """What a column must show, and how many may stay.

    Attributes:
        enabled: off keeps every column.
        shift: a column whose values in the oldest and the newest third of the rows are further apart than this
            (Kolmogorov-Smirnov, 0 to 1) tells the time rather than the market; 1 keeps all.
        correlation: of two columns whose Spearman correlation is larger than this in size, the less informative one goes.
        max_features: most columns that stay.
        min_features: as many of the best stay even where none proves itself, as in a market without signal.
        folds: blocks of the training rows that importance is measured on, each by trees that never saw it.
        embargo: time beside a block whose rows do not train its trees, on top of the purge by `label_end`.
        permutations: shuffles of each cluster of columns in each block.
        stability: least share of the blocks in which a column is chosen.
    """

    enabled: bool = True
    shift: float = pydantic.Field(default=0.5, gt=0, le=1)
    correlation: float = pydantic.Field(default=0.95, gt=0, le=1)
    max_features: int = pydantic.Field(default=120, ge=1)
    min_features: int = pydantic.Field(default=20, ge=1)
    folds: int = pydantic.Field(default=3, ge=2, le=20)
    embargo: Duration = timedelta(hours=5)
    permutations: int = pydantic.Field(default=3, ge=1, le=100)
    stability: float = pydantic.Field(default=1.0, ge=0, le=1)

    @pydantic.model_validator(mode="after")
    def _least_is_at_most_the_most(self) -> Self:
        if self.min_features > self.max_features:
            message = f"min_features ({self.min_features}) at most max_features ({self.max_features})"
            raise ValueError(message)
        return self
