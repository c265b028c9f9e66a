import numpy as np
import polars as pl
import pytest
from scipy.stats import wasserstein_distance

from quant_pipeline.views.feature_matrix import MOMENT, FeatureMatrix
from quant_pipeline.views.reference import feature_reference


def matrix(values: np.ndarray) -> FeatureMatrix:
    at = (
        pl.Series("decision_at", np.arange(len(values)) * 3_600_000_000)
        .cast(pl.Datetime("us"))
        .dt.replace_time_zone("UTC")
        .cast(MOMENT)
    )
    return FeatureMatrix(at, tuple(f"f{i}" for i in range(values.shape[1])), values.astype(np.float32))


@pytest.mark.parametrize("rows", [30, 1_000, 5_000])
def test_the_reference_is_distributed_as_the_rows(rows):
    rng = np.random.default_rng(rows)
    x = np.column_stack([rng.normal(size=rows), rng.choice([0.0, 1.0], size=rows, p=[0.9, 0.1]), rng.lognormal(size=rows)])
    reference = feature_reference(matrix(x))
    assert reference.height == min(rows, 1_000)
    for index, name in enumerate(reference.columns):
        assert wasserstein_distance(x[:, index], reference[name]) < 0.02 * x[:, index].std()
        assert abs((reference[name] > 0.5).mean() - (x[:, index] > 0.5).mean()) < 2 / reference.height


def test_nulls_keep_their_share_and_values_are_values_that_occurred():
    x = np.arange(4_000.0).reshape(-1, 1)
    x[:1_000] = np.nan
    column = feature_reference(matrix(x), 100)["f0"]
    assert column.null_count() == 25
    assert column.drop_nulls().is_in(x[1_000:, 0].tolist()).all()
    assert column.dtype == pl.Float64


def test_a_feature_that_was_never_there_and_a_view_without_rows():
    assert feature_reference(matrix(np.full((10, 1), np.nan)))["f0"].null_count() == 10
    assert feature_reference(matrix(np.zeros((0, 2)))).height == 0
