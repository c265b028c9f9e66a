"""What every view offers, whatever its shape."""

from __future__ import annotations

from typing import Protocol, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray


class View(Protocol):
    """Inputs of some decisions: the first axis of the values is the decision."""

    @property
    def kind(self) -> str:
        """Name by which a `ModelSpec` asks for this shape, such as `feature_matrix`."""

    @property
    def decision_at(self) -> pl.Series:
        """When each row is decided, Datetime(us, UTC); every value of the row was known by then."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the last axis, in order."""

    def __len__(self) -> int: ...

    def take(self, rows: NDArray[np.int64]) -> Self:
        """The view of `rows` (positions), in that order."""

    def select(self, columns: tuple[str, ...]) -> Self:
        """The view of `columns`, in that order; raises `DataError` naming those that are absent."""
