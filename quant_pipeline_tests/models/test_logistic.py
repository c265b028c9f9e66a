import numpy as np

from quant_pipeline.models import registry
from quant_pipeline.models.probabilities import floored


def fit(train, valid, **params: object):
    model = registry.create("logistic", params)
    model.fit(train, valid, 7)
    return model


def test_equals_scikit_learn_on_scaled_rows(toy):
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    train, test = toy(400, signal=1), toy(200, signal=1, seed=2)
    model = fit(train, toy(60, seed=1), clip=1e9)
    scaler = StandardScaler().fit(train.view.values.astype(np.float64))
    peer = LogisticRegression(C=1.0, max_iter=500).fit(
        scaler.transform(train.view.values), train.label, sample_weight=train.weight / train.weight.mean()
    )
    expected = floored(peer.predict_proba(scaler.transform(test.view.values)))
    np.testing.assert_allclose(model.predict(test.view).probabilities, expected, atol=1e-6)


def test_two_classes_equal_scikit_learns_sigmoid(toy):
    from sklearn.linear_model import LogisticRegression

    train = toy(500, signal=1)
    train = train.take(np.flatnonzero(train.label != 0))
    model = fit(train, toy(60, seed=1))
    x = model.scaler.transform(train.view.values)
    peer = LogisticRegression(C=1.0, max_iter=500).fit(x, train.label, sample_weight=train.weight / train.weight.mean())
    p = model.predict(train.view).probabilities
    np.testing.assert_allclose(p[:, 2] / (p[:, 0] + p[:, 2]), peer.predict_proba(x)[:, 1], atol=2e-4)


def test_the_grid_takes_the_strength_that_valid_likes_best(toy):
    train, valid = toy(200, signal=0.2, columns=60), toy(200, signal=0.2, columns=60, seed=1)
    losses = {C: fit(train, valid, C=C).metrics.valid_log_loss for C in (1e-3, 1e-1, 1e1)}
    chosen = fit(train, valid, C_grid=tuple(losses))
    assert chosen.metrics.valid_log_loss == min(losses.values())
    assert chosen.metrics.valid_log_loss < losses[1e1]
