"""A toy problem for every model: `signal` 0 is noise, 3 is nearly separable."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from quant_pipeline.models.contract import Samples
from quant_pipeline.views.feature_matrix import MOMENT, FeatureMatrix

HOUR = 3_600_000_000
Toy = Callable[..., Samples[FeatureMatrix]]


@pytest.fixture(scope="session")
def toy() -> Toy:
    def make(rows: int = 600, *, signal: float = 3.0, columns: int = 6, seed: int = 0) -> Samples[FeatureMatrix]:
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(rows, columns)).astype(np.float32)
        outcome = signal * (x[:, 0] - x[:, 1]) + rng.normal(size=rows)
        cut = 0.45 * np.sqrt(2 * signal**2 + 1)
        label = (np.digitize(outcome, [-cut, cut]) - 1).astype(np.int8)
        at = pl.Series("decision_at", np.arange(rows) * HOUR).cast(pl.Datetime("us")).dt.replace_time_zone("UTC").cast(MOMENT)
        view = FeatureMatrix(at, tuple(f"f{i}" for i in range(columns)), x)
        return Samples(view, label, rng.uniform(0.5, 1.5, rows), 0.001 * outcome)

    return make
