import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from quant_pipeline.models.probabilities import FLOOR, class_means, class_shares, expectation, floored, softmax, up_probability

scores = arrays(np.float64, st.tuples(st.integers(1, 20), st.just(3)), elements=st.floats(0, 1e6)).filter(
    lambda s: (s.sum(axis=1) > 0).all()
)


@given(scores)
def test_floored_rows_are_distributions_in_the_same_order(raw: np.ndarray):
    p = floored(raw)
    assert (p >= 0.999 * FLOOR).all()
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-15)
    for row, given_row in zip(p, raw, strict=True):
        assert row[given_row.argmax()] == row.max()


@given(arrays(np.float64, (5, 3), elements=st.floats(-800, 800)))
def test_softmax_by_hand(logits: np.ndarray):
    slow = [[1 / sum(np.exp(np.clip(other - one, -745, 709)) for other in row) for one in row] for row in logits]
    np.testing.assert_allclose(softmax(logits), slow, rtol=1e-9, atol=1e-300)


@pytest.mark.parametrize("function", [floored, softmax, up_probability])
def test_a_row_alone_equals_the_row_among_many(function):
    rows = np.random.default_rng(0).uniform(0, 3, (1_000, 3))
    whole = function(rows)
    assert all((function(rows[i : i + 1])[0] == whole[i]).all() for i in range(len(rows)))


def test_class_statistics_by_hand():
    label = np.array([-1, -1, 1, 1, 1], dtype=np.int8)
    np.testing.assert_allclose(class_shares(label), [3 / 8, 1 / 8, 4 / 8])
    np.testing.assert_allclose(class_shares(label, np.array([2.0, 2, 2, 2, 2])), [3 / 8, 1 / 8, 4 / 8])
    assert class_means(np.array([-1.0, -3, 1, 2, 3]), label) == (-2.0, 0.0, 2.0)
    assert expectation(np.array([[0.5, 0.25, 0.25]]), (-2.0, 4.0, 2.0)).tolist() == [0.5]
    assert up_probability(np.array([[0.5, 0.25, 0.25]])).tolist() == [0.375]
