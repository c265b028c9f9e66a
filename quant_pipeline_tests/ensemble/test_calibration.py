import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_pipeline.ensemble.calibration import STEP_PRIOR, Calibrator, _isotonic
from quant_pipeline.models.probabilities import floored, softmax
from quant_pipeline.validation.skill import log_loss

METHODS = ("none", "temperature", "isotonic")


def sample(rows: int, heat: float, seed: int = 0):
    """Forecasts that are `heat` times too sure of themselves, and labels drawn from the truth."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, 3))
    label = ((rng.random((rows, 1)) > softmax(logits).cumsum(axis=1)).sum(axis=1) - 1).astype(np.int8)
    return floored(softmax(heat * logits)), label


@pytest.mark.parametrize("heat", [0.5, 1.0, 3.0])
def test_temperature_is_found(heat):
    assert Calibrator.fit("temperature", *sample(20_000, heat)).temperature == pytest.approx(heat, rel=0.08)


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_overconfidence_is_mended_on_fresh_rows(method):
    fitted = Calibrator.fit(method, *sample(3_000, 3.0))
    p, label = sample(3_000, 3.0, seed=1)
    honest, _ = sample(3_000, 1.0, seed=1)
    assert log_loss(fitted.apply(p), label) < log_loss(p, label) - 0.1
    assert log_loss(fitted.apply(p), label) < log_loss(honest, label) + 0.02


def test_none_changes_nothing():
    p, label = sample(100, 3.0)
    assert Calibrator.fit("none", p, label).apply(p) is p


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1_000), decimals=st.integers(1, 6))
def test_isotonic_equals_scikit_learn_on_its_steps(seed, decimals):
    from sklearn.isotonic import IsotonicRegression

    rng = np.random.default_rng(seed)
    raw = rng.random(80).round(decimals)
    hit = rng.random(80) < raw
    fitted = IsotonicRegression().fit_transform(raw, hit)
    edges, levels = _isotonic(raw, hit)
    steps = np.unique(fitted)
    assert len(edges) == len(steps)
    plain: list[float] = []
    for edge, level, step in zip(edges, levels, steps, strict=True):
        rows = fitted == step
        assert edge == pytest.approx(raw[rows].mean())
        plain.append((hit[rows].sum() + STEP_PRIOR * hit.mean()) / (rows.sum() + STEP_PRIOR))
        assert level == pytest.approx(max(plain))
    assert (np.diff(levels) >= 0).all()


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1_000), rows=st.integers(2, 60), absent=st.sampled_from([-1, 0, 1, None]), method=st.sampled_from(METHODS)
)
def test_never_zero_always_one_and_monotone_in_each_class(seed, rows, absent, method):
    p, _ = sample(rows, 5.0, seed)
    label = np.random.default_rng(seed).choice([one for one in (-1, 0, 1) if one != absent], size=rows).astype(np.int8)
    fitted = Calibrator.fit(method, p, label)
    out = fitted.apply(sample(200, 5.0, seed + 1)[0])
    assert (out > 0).all()
    np.testing.assert_allclose(out.sum(axis=1), 1, atol=1e-12)
    assert 0.19 < fitted.temperature < 20.1


@pytest.mark.parametrize("method", METHODS)
def test_a_row_alone_and_json_give_the_same_bits(method):
    fitted = Calibrator.fit(method, *sample(500, 2.0))
    p, _ = sample(300, 2.0, seed=2)
    reborn = Calibrator.from_dict(json.loads(json.dumps(asdict(fitted))))
    assert reborn == fitted
    assert all((reborn.apply(p[i : i + 1])[0] == fitted.apply(p)[i]).all() for i in range(300))


def test_isotonic_is_linear_between_and_flat_outside():
    three = tuple(tuple(row) for row in ((0.2, 0.6),) * 3)
    fitted = Calibrator("isotonic", edges=three, levels=((0.1, 0.5),) * 3)
    raw = fitted.apply(np.array([[0.2, 0.4, 0.6], [0.0, 0.4, 1.0]]))
    np.testing.assert_allclose(raw[0], np.array([0.1, 0.3, 0.5]) / 0.9, atol=2e-4)
    np.testing.assert_array_equal(raw[0], raw[1])
