from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import log_loss, roc_auc_score

from quant_pipeline.sources.simulated.grading import score


def test_scores_equal_those_of_the_libraries():
    random = np.random.default_rng(2)
    forward = random.standard_normal(500)
    expected = np.round(0.3 * forward + random.standard_normal(500), 1)  # rounded: ties count half
    chance = 1 / (1 + np.exp(-expected))
    found = score(expected, chance, forward)
    assert found.log_loss == pytest.approx(log_loss(forward > 0, chance))
    assert found.auc == pytest.approx(roc_auc_score(forward > 0, chance))
    assert found.information_coefficient == pytest.approx(spearmanr(expected, forward).statistic)
    assert found.rows == 500


def test_a_constant_forecast_has_no_skill():
    found = score(np.zeros(4), np.full(4, 0.5), np.array([1.0, -1.0, 2.0, -2.0]))
    assert (found.auc, found.information_coefficient) == (0.5, 0.0)
    assert found.log_loss == pytest.approx(np.log(2))
