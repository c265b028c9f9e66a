import numpy as np
import pytest

from quant_pipeline.ensemble.voting import vote
from quant_pipeline.errors import ConfigError

P = np.random.default_rng(0).dirichlet([1, 1, 1], size=(50, 3))


def test_is_the_weighted_mean():
    np.testing.assert_allclose(vote(P), P.mean(axis=1), atol=3e-4)
    np.testing.assert_allclose(vote(P, (0, 2, 0)), P[:, 1], atol=3e-4)
    np.testing.assert_allclose(vote(P, (1, 3, 0)), 0.25 * P[:, 0] + 0.75 * P[:, 1], atol=3e-4)


def test_a_row_alone_is_that_row():
    assert all((vote(P[i : i + 1])[0] == vote(P)[i]).all() for i in range(50))


@pytest.mark.parametrize("weights", [(1, 1), (1, -1, 1), (0, 0, 0), (1, float("nan"), 1)])
def test_weights_that_cannot_be_used(weights):
    with pytest.raises(ConfigError, match="voting weights"):
        vote(P, weights)
