import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_pipeline.ensemble.oof import base_predictions
from quant_pipeline.ensemble.stacking import Stacker, contrasts
from quant_pipeline.ensemble.voting import vote
from quant_pipeline.errors import ConfigError
from quant_pipeline.models.probabilities import floored, softmax
from quant_pipeline.validation.skill import log_loss

both = pytest.mark.parametrize("method", ["logistic", "ridge"])


@pytest.fixture(scope="module")
def rows(market):
    one = market(1_500)
    return base_predictions(one.predictions, one.models).p, one.labels["label"].to_numpy(), one.truth


def test_contrasts_by_hand():
    p = np.array([[[0.2, 0.3, 0.5]]])
    direction, activity = contrasts(p)[0, :, 0]
    assert direction == pytest.approx(np.log(0.5 / 0.2) / 2)
    assert activity == pytest.approx(np.log(np.sqrt(0.5 * 0.2) / 0.3))


@both
def test_beats_every_base_model_and_the_vote(method, rows, market):
    fitted = Stacker.fit(method, rows[0], rows[1], 1.0)
    fresh = market(1_500, seed=1)
    p, label = base_predictions(fresh.predictions, fresh.models).p, fresh.labels["label"].to_numpy()
    loss = log_loss(fitted.combine(p), label)
    assert loss < min(log_loss(p[:, 1], label), log_loss(p[:, 2], label), log_loss(vote(p), label))
    assert loss < log_loss(fresh.truth, label) + (0.01 if method == "logistic" else 0.08)


def test_finds_the_truth_in_one_calibrated_model(rows):
    fitted = Stacker.fit("logistic", rows[0], rows[1], 0.1)
    np.testing.assert_allclose(fitted.direction[2], [1, 0, 0], atol=0.15)
    np.testing.assert_allclose(fitted.activity[2], [1, 0, 0], atol=0.15)
    np.testing.assert_allclose(fitted.direction[0], -np.array(fitted.direction[2]))
    assert fitted.direction[1] == fitted.activity[1] == (0, 0, 0)


def test_the_logistic_solution_is_where_no_step_helps(rows):
    p, label = rows[0][:300], rows[1][:300]
    fitted = Stacker.fit("logistic", p, label, 1.0)
    scalars = np.array([fitted.direction[2], fitted.activity[2]])

    def objective(intercept: np.ndarray, weights: np.ndarray) -> float:
        total = 0.0
        for row, truth in zip(contrasts(p), label, strict=True):
            up, wild = float(weights[0] @ row[0]), float(weights[1] @ row[1])
            total -= np.log(softmax(np.array([[wild - up, 0, wild + up]]) + intercept)[0, truth + 1])
        return total + 0.5 * float(((weights - 1 / 3) ** 2).sum())

    best = objective(np.array(fitted.intercept), scalars)
    rng = np.random.default_rng(0)
    for _ in range(20):
        step = np.maximum(scalars + 0.02 * rng.normal(size=scalars.shape), 0)
        # the offsets' own penalty is left out of this oracle, so only the weights move
        assert objective(np.array(fitted.intercept), step) > best - 1e-3


def test_ridge_equals_scikit_learn(rows):
    from sklearn.linear_model import Ridge

    p, label, _ = rows
    flat = contrasts(p).reshape(len(p), -1)
    peer = Ridge(alpha=2.0).fit(flat, np.eye(3)[label + 1])
    fitted = Stacker.fit("ridge", p, label, 2.0)
    np.testing.assert_allclose(np.hstack([fitted.direction, fitted.activity]), peer.coef_, atol=1e-10)
    expected = floored(np.maximum(peer.predict(flat), 1e-6))
    np.testing.assert_allclose(fitted.combine(p), expected, atol=2e-3)  # one pseudo-row in the class shares


@both
def test_noise_gives_the_class_shares(method, rows):
    label = np.random.default_rng(5).permutation(rows[1])
    fitted = Stacker.fit(method, rows[0], label, 1.0)
    shares = np.bincount(label + 1, minlength=3) / len(label)
    assert log_loss(fitted.combine(rows[0]), label) < log_loss(np.tile(shares, (len(label), 1)), label) + 0.001
    assert np.abs(fitted.combine(rows[0]) - shares).mean() < 0.03


@both
def test_strong_penalty_gives_the_pool_or_the_shares(method, rows):
    p, label, _ = rows
    fitted = Stacker.fit(method, p, label, 1e9)
    if method == "logistic":
        np.testing.assert_allclose(fitted.direction[2], 1 / 3, atol=1e-4)
    else:
        np.testing.assert_allclose(fitted.combine(p), np.tile(np.bincount(label + 1) / len(label), (len(p), 1)), atol=3e-3)


@both
def test_a_row_alone_json_and_a_second_fit_give_the_same_bits(method, rows):
    p, label, _ = rows
    fitted = Stacker.fit(method, p, label, 1.0)
    assert Stacker.fit(method, p, label, 1.0) == fitted
    reborn = Stacker.from_dict(json.loads(json.dumps(asdict(fitted))))
    assert reborn == fitted
    whole = fitted.combine(p)
    for size in (1, 2, 3, 7, 8, 64):
        assert (reborn.combine(p[:size]) == whole[:size]).all()
    assert all((reborn.combine(p[i : i + 1])[0] == whole[i]).all() for i in range(0, 1_500, 10))


@both
def test_weights_count_as_rows(method, rows):
    p, label, _ = rows
    weight = np.ones(200)
    weight[:50] = 2
    doubled = Stacker.fit(method, np.concatenate([p[:200], p[:50]]), np.concatenate([label[:200], label[:50]]), 1.0)
    weighted = Stacker.fit(method, p[:200], label[:200], 1.0, weight)
    np.testing.assert_allclose(weighted.combine(p), doubled.combine(p), atol=2e-3)  # the pseudo-row weighs 1.25


@both
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1_000), models=st.integers(1, 4), absent=st.sampled_from([-1, 0, 1, None]))
def test_always_gives_distributions(method, seed, models, absent):
    rng = np.random.default_rng(seed)
    p = floored(rng.dirichlet([0.3, 0.3, 0.3], size=120 * models)).reshape(120, models, 3)
    label = rng.choice([one for one in (-1, 0, 1) if one != absent], size=120).astype(np.int8)
    combined = Stacker.fit(method, p, label, 1.0).combine(p)
    assert (combined > 0).all()
    np.testing.assert_allclose(combined.sum(axis=1), 1, atol=1e-12)


def test_a_weak_penalty_is_refused(rows):
    with pytest.raises(ConfigError, match=r"at least 0\.1"):
        Stacker.fit("logistic", rows[0], rows[1], 0.01)
