import json
from dataclasses import asdict

import numpy as np

from quant_pipeline.ensemble.oof import Outcomes
from quant_pipeline.ensemble.payoff import Payoffs

HAPPENED = Outcomes(
    label=np.array([1, 1, -1, 0], dtype=np.int8), decision_at=np.arange(4),
    label_end=np.arange(4) + 2, horizon_end=np.arange(4) + 3,
    forward_return=np.array([0.02, 0.04, -0.01, 0.0]), long_return=np.array([0.01, 0.03, -0.02, -0.01]),
    short_return=np.array([-0.03, -0.05, 0.01, -0.01]),
)  # fmt: skip


def test_means_by_class():
    payoffs = Payoffs.fit(HAPPENED)
    np.testing.assert_allclose(payoffs.forward, [-0.01, 0.0, 0.03])
    np.testing.assert_allclose(payoffs.long, [-0.02, -0.01, 0.02])
    np.testing.assert_allclose(payoffs.short, [0.01, -0.01, -0.04])
    np.testing.assert_allclose(payoffs.shares, np.array([2, 2, 3]) / 7)


def test_only_the_rows_asked_for_and_zero_for_an_absent_class():
    payoffs = Payoffs.fit(HAPPENED, HAPPENED.horizon_end <= 4)
    assert (payoffs.rows, payoffs.forward) == (2, (0.0, 0.0, 0.03))
    assert min(payoffs.shares) > 0


def test_expectations_and_json():
    payoffs = Payoffs.from_dict(json.loads(json.dumps(asdict(Payoffs.fit(HAPPENED)))))
    assert payoffs == Payoffs.fit(HAPPENED)
    e_r, e_long, e_short = payoffs.expected(np.array([[0.5, 0.0, 0.5]]))
    np.testing.assert_allclose([e_r[0], e_long[0], e_short[0]], [0.01, 0.0, -0.015], atol=1e-15)
