"""The feature matrix: one row a decision, one float32 column a feature, NaN where a feature is not computable."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_pipeline.errors import DataError

KEYS = ("timestamp", "decision_at")
MOMENT = pl.Datetime("us", "UTC")


@dataclass(frozen=True, eq=False)
class FeatureMatrix:
    """Features of n decisions.

    Attributes:
        decision_at: (n,) Datetime(us, UTC), when each row is decided.
        columns: F feature names, the order of `values`.
        values: (n, F) float32, C order, read-only; NaN = not computable, never infinite.

    Example:
        >>> from datetime import datetime, timezone
        >>> hours = [datetime(2024, 1, 1, hour, tzinfo=timezone.utc) for hour in (1, 2)]
        >>> frame = pl.DataFrame({"decision_at": hours, "rsi_1h": [30.0, None]}, schema_overrides={"decision_at": MOMENT})
        >>> from_frame(frame).values.tolist()
        [[30.0], [nan]]
    """

    kind: ClassVar[str] = "feature_matrix"
    decision_at: pl.Series
    columns: tuple[str, ...]
    values: NDArray[np.float32]

    def __post_init__(self) -> None:
        shape = (len(self.decision_at), len(self.columns))
        if self.values.shape != shape or self.values.dtype != np.float32:
            _refuse("feature matrix", f"{self.values.dtype} {self.values.shape}", f"float32 {shape}", "build it with from_frame")
        if self.decision_at.dtype != MOMENT or self.decision_at.null_count():
            _refuse(
                "decision_at",
                f"{self.decision_at.dtype} with {self.decision_at.null_count()} nulls",
                f"{MOMENT} without nulls",
                "pass features",
            )
        if len(set(self.columns)) != len(self.columns):
            _refuse("columns of the feature matrix", "a name twice", "each name once", "select each feature once")
        self._check_finite()
        # C order for every batch, so that a row's sums run in one order whatever its neighbours
        values = np.ascontiguousarray(self.values).view()
        values.flags.writeable = False
        object.__setattr__(self, "values", values)

    def _check_finite(self) -> None:
        infinite = np.isinf(self.values)
        if infinite.any():
            row, column = map(int, np.argwhere(infinite)[0])
            thing = f"feature {self.columns[column]} at {self.decision_at[row]}"
            _refuse(thing, self.values[row, column], "a finite float32 or null", "mend the feature: divide safely, or scale it")

    def __len__(self) -> int:
        return len(self.values)

    @property
    def schema_hash(self) -> str:
        """Sixteen hex digits over the column names in order."""
        return schema_hash(self.columns)

    def take(self, rows: NDArray[np.int64]) -> Self:
        """The matrix of `rows` (positions), in that order."""
        return type(self)(self.decision_at.gather(rows), self.columns, self.values[rows])

    def select(self, columns: tuple[str, ...]) -> Self:
        """The matrix of `columns` in that order; raises `DataError` naming those that are absent."""
        if columns == self.columns:
            return self
        place = {name: index for index, name in enumerate(self.columns)}
        absent = [name for name in columns if name not in place]
        if absent:
            _refuse(
                "feature matrix",
                f"no {', '.join(absent[:5])} ({len(absent)} absent)",
                f"all {len(columns)} columns",
                "make the features again: quant train SYMBOL --force",
            )
        return type(self)(self.decision_at, columns, self.values[:, [place[name] for name in columns]])


def schema_hash(columns: tuple[str, ...]) -> str:
    """Sixteen hex digits over column names in order; another order is another schema."""
    return hashlib.sha256("\n".join(columns).encode()).hexdigest()[:16]


def from_frame(frame: pl.DataFrame, columns: tuple[str, ...] | None = None) -> FeatureMatrix:
    """Cut the matrix out of FEATURES (`decision_at` and Float64 columns); null becomes NaN.

    Args:
        frame: FEATURES, already as known at each row's `decision_at`.
        columns: the features wanted, in order; None takes all but `timestamp` and `decision_at`.

    Raises:
        DataError: a column is absent, not numeric, or holds a value that float32 cannot.
    """
    names = tuple(name for name in frame.columns if name not in KEYS) if columns is None else columns
    absent = [name for name in ("decision_at", *names) if name not in frame.columns]
    if absent:
        _refuse(
            "features",
            f"no column {', '.join(absent[:5])} ({len(absent)} absent)",
            "every wanted column",
            "make the features again: quant train SYMBOL --force",
        )
    dtypes = frame.schema
    wrong = [name for name in names if not dtypes[name].is_numeric()]
    if wrong:
        _refuse(f"feature {wrong[0]}", dtypes[wrong[0]], "a numeric column", "encode it as numbers")
    # a value past float32's range becomes infinite here and is refused, by name, in FeatureMatrix
    values = frame.select(pl.col(name).cast(pl.Float64).cast(pl.Float32).fill_null(float("nan")) for name in names).to_numpy()
    return FeatureMatrix(
        frame["decision_at"], names, np.array(values, dtype=np.float32, order="C").reshape(len(frame), len(names))
    )


def _refuse(thing: str, found: Any, wanted: str, mend: str) -> None:
    raise DataError(thing, found=found, wanted=wanted, mend=mend)
