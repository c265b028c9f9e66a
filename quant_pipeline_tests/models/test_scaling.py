import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from quant_pipeline.models.scaling import Scaler

values = arrays(np.float32, (12, 3), elements=st.floats(-1e6, 1e6, width=32) | st.just(np.nan))


@given(values)
def test_against_the_obvious_loop(x: np.ndarray):
    scaled = Scaler.fit(x, 5.0).transform(x)
    for column in range(x.shape[1]):
        seen = [float(v) for v in x[:, column] if not np.isnan(v)]
        median = float(np.median(seen)) if seen else 0.0
        filled = np.array([median if np.isnan(v) else float(v) for v in x[:, column]])
        spread = filled.std()
        if spread <= 1e-9 * max(abs(filled.mean()), 1e-30):  # the scaler calls that constant
            assert (np.abs(scaled[:, column]) <= 1e-3).all()
        else:
            np.testing.assert_allclose(scaled[:, column], np.clip((filled - filled.mean()) / spread, -5, 5), rtol=1e-9, atol=1e-9)


def test_a_constant_column_is_zero_and_an_empty_one_too():
    x = np.array([[0.1, np.nan]] * 7, dtype=np.float32)
    np.testing.assert_allclose(Scaler.fit(x, 5.0).transform(x), 0, atol=1e-6)


def test_a_wild_value_is_clipped():
    x = np.append(np.random.default_rng(0).normal(size=(50, 1)), [[1e9]], axis=0)
    scaler = Scaler.fit(x[:50], 4.0)
    assert scaler.transform(x)[50, 0] == 4.0
