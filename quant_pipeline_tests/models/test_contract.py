"""The suite that every registered model passes; a new model file is tested here without a line being added."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from quant_pipeline.errors import BundleError, ConfigError, DataError, ModelError
from quant_pipeline.models import registry
from quant_pipeline.models.contract import Prediction, Samples, make_samples
from quant_pipeline.validation.skill import information_coefficient, log_loss
from quant_pipeline.views.feature_matrix import MOMENT, FeatureMatrix

SEED = 7
every_model = pytest.mark.parametrize("name", registry.names())


def fitted(name: str, train, valid, seed: int = SEED):
    model = registry.create(name)
    model.fit(train, valid, seed)
    return model


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def with_values(samples, values: np.ndarray):
    view = FeatureMatrix(samples.view.decision_at, samples.view.columns, values.astype(np.float32))
    return replace(samples, view=view)


def assert_equal(one: Prediction, other: Prediction) -> None:
    assert one.to_frame().equals(other.to_frame())  # exact, not close


@pytest.fixture(scope="module")
def data(toy):
    return toy(500), toy(150, seed=1), toy(1_000, seed=2)


@pytest.fixture(scope="module")
def models(data):
    return {name: fitted(name, data[0], data[1]) for name in registry.names()}


@every_model
def test_learns_a_separable_toy(name, models, data):
    test = data[2]
    forecast = models[name].predict(test.view)
    prior = np.bincount(test.label + 1, minlength=3) / len(test)
    assert log_loss(forecast.probabilities, test.label) < 0.75 * log_loss(np.tile(prior, (len(test), 1)), test.label)
    assert (forecast.probabilities.argmax(axis=1) - 1 == test.label).mean() > 0.6
    assert information_coefficient(forecast.e_r, test.returns) > 0.7
    assert information_coefficient(forecast.p_up, test.returns) > 0.7


@every_model
def test_noise_scores_chance(name, toy):
    test = toy(2_000, signal=0, seed=5)
    forecast = fitted(name, toy(800, signal=0, seed=3), toy(200, signal=0, seed=4)).predict(test.view)
    prior = np.bincount(test.label + 1, minlength=3) / len(test)
    excess = log_loss(forecast.probabilities, test.label) - log_loss(np.tile(prior, (len(test), 1)), test.label)
    assert -0.003 < excess < 0.03
    assert abs(information_coefficient(forecast.e_r, test.returns)) < 4 / np.sqrt(len(test))


@every_model
def test_same_data_and_seed_give_the_same_bytes(name, models, data, tmp_path):
    models[name].save(tmp_path / "one")
    fitted(name, data[0], data[1]).save(tmp_path / "two")
    assert files(tmp_path / "one") == files(tmp_path / "two")


@every_model
def test_save_and_load_answer_the_same(name, models, data, tmp_path):
    models[name].save(tmp_path / "m")
    loaded = registry.load_model(tmp_path / "m")
    assert type(loaded) is type(models[name])
    assert_equal(loaded.predict(data[2].view), models[name].predict(data[2].view))
    assert loaded.feature_importance().equals(models[name].feature_importance())
    assert (loaded.params, loaded.metrics) == (models[name].params, models[name].metrics)
    loaded.save(tmp_path / "again")
    assert files(tmp_path / "again") == files(tmp_path / "m")


@every_model
def test_a_batch_of_one_equals_that_row_in_a_batch_of_many(name, models, data):
    view, rng = data[2].view, np.random.default_rng(0)
    values = view.values.copy()
    values[rng.random(values.shape) < 0.1] = np.nan
    view = FeatureMatrix(view.decision_at, view.columns, values)
    whole = models[name].predict(view).to_frame()
    for rows in (
        *np.arange(0, 40).reshape(-1, 1),
        *(rng.permutation(len(view))[:size] for size in (2, 3, 7, 8, 9, 63, 64, 65, 257)),
    ):
        assert models[name].predict(view.take(rows)).to_frame().equals(whole[rows])


@every_model
@pytest.mark.parametrize("absent", [(-1,), (0,), (1,), (-1, 1), (0, 1)])
def test_a_training_span_without_a_class_works(name, absent, data, tmp_path):
    train, valid, test = data
    kept = train.take(np.flatnonzero(~np.isin(train.label, absent)))
    model = fitted(name, kept, valid)
    p = model.predict(test.view).probabilities
    assert (p[:, [label + 1 for label in absent]] < 0.01).all()
    assert (p > 0).all()
    model.save(tmp_path / "m")
    assert_equal(registry.load_model(tmp_path / "m").predict(test.view), model.predict(test.view))


@every_model
def test_gaps_and_columns_without_information(name, data):
    train, valid, test = data
    holes = np.random.default_rng(3)

    def spoil(samples):
        values = samples.view.values.copy()
        values[holes.random(values.shape) < 0.1] = np.nan
        values[:, 3], values[:, 4] = 5.0, np.nan
        return with_values(samples, values)

    model = fitted(name, spoil(train), spoil(valid))
    forecast = model.predict(spoil(test).view)
    assert information_coefficient(forecast.e_r, test.returns) > 0.5
    importance = dict(model.feature_importance().iter_rows())
    assert importance["f3"] == importance["f4"] == 0
    unseen = model.predict(with_values(test, np.full_like(test.view.values, np.nan)).view)
    assert len(unseen) == len(test)


@every_model
def test_columns_without_any_information_give_the_prior(name, data):
    train, valid, test = (with_values(part, np.ones_like(part.view.values)) for part in data)
    model = fitted(name, train, valid)
    shares = np.average(np.eye(3)[train.label + 1], axis=0, weights=train.weight)
    np.testing.assert_allclose(model.predict(test.view).probabilities[0], shares, atol=0.02)
    np.testing.assert_allclose(model.feature_importance()["importance"], 1 / 6)


@every_model
def test_importance_names_the_planted_columns(name, models):
    importance = models[name].feature_importance()
    assert set(importance["feature"][:2]) == {"f0", "f1"}
    assert importance["importance"].sum() == pytest.approx(1)
    assert (importance["importance"] >= 0).all()


@every_model
def test_weights_are_used(name, toy):
    train, valid = toy(600), toy(150, seed=1)
    rows = np.arange(len(train))
    # the second half says the opposite of the first; a weight of nearly nothing silences it
    mirrored = replace(train, label=np.where(rows < 300, train.label, -train.label).astype(np.int8))
    first = fitted(name, replace(mirrored, weight=np.where(rows < 300, 1.0, 1e-6)), valid).predict(valid.view)
    second = fitted(name, replace(mirrored, weight=np.where(rows < 300, 1e-6, 1.0)), replace(valid, label=-valid.label)).predict(
        valid.view
    )
    assert information_coefficient(first.p_up, valid.returns) > 0.5
    assert information_coefficient(second.p_up, valid.returns) < -0.5


@every_model
def test_only_the_ratios_of_weights_count(name, toy, tmp_path):
    """A mean over other rows than the fitted ones would be such a factor; powers of two are exact in every library."""
    train, valid = toy(600), toy(150, seed=1)
    told = {}
    for factor in (0.25, 1.0, 64.0):
        model = fitted(name, replace(train, weight=factor * train.weight), replace(valid, weight=factor * valid.weight))
        model.save(tmp_path / str(factor))
        told[factor] = {path.name: path.read_bytes() for path in (tmp_path / str(factor)).iterdir()}
    assert told[0.25] == told[1.0] == told[64.0]


@every_model
def test_expected_return_is_the_weighted_mean_of_the_training_classes(name, models, data):
    train, _, test = data
    means = np.array([train.returns[train.label == label].mean() for label in (-1, 0, 1)])
    forecast = models[name].predict(test.view)
    np.testing.assert_allclose(forecast.e_r, forecast.probabilities @ means, atol=1e-15)
    np.testing.assert_allclose(forecast.p_up, forecast.p_long + forecast.p_neutral / 2)


@every_model
def test_valid_decides_when_to_stop_and_nothing_else(name, data):
    train, valid, test = data
    if registry.get(name).spec.needs_scaling:
        # a scaler that had seen valid would move with it
        wild = fitted(name, train, with_values(valid, valid.view.values * 1e6 + 1e6))
        assert_equal(wild.predict(test.view), fitted(name, train, valid).predict(test.view))
    flipped = fitted(name, train, replace(valid, label=-valid.label)).predict(test.view)
    assert information_coefficient(flipped.p_up, test.returns) > 0


@every_model
def test_columns_are_taken_by_name(name, models, data):
    view = data[2].view
    shuffled = view.select(tuple(reversed(view.columns)))
    assert_equal(models[name].predict(shuffled), models[name].predict(view))
    with pytest.raises(DataError, match="f5"):
        models[name].predict(view.select(view.columns[:5]))


@every_model
def test_no_rows_give_no_forecasts(name, models, data):
    assert len(models[name].predict(data[2].view.take(np.arange(0)))) == 0


@every_model
def test_parameters_are_validated_before_anything_else(name):
    fields = registry.spec(name).params.model_fields
    longest = max(fields, key=len, default="depth")
    with pytest.raises(ConfigError, match=f"write '{longest}'" if fields else f"models.{name}.params"):
        registry.create(name, {f"{longest}_": 1})
    for field in fields:
        with pytest.raises(ConfigError, match=f"models.{name}.params"):
            registry.create(name, {field: object()})


@every_model
def test_too_few_rows_and_unfitted_models_are_refused(name, data, tmp_path):
    train, valid, test = data
    with pytest.raises(ModelError, match=f"train rows of model {name}: found 20"):
        fitted(name, train.take(np.arange(20)), valid)
    with pytest.raises(ModelError, match="valid rows"):
        fitted(name, train, valid.take(np.arange(0)))
    with pytest.raises(ModelError, match="unfitted"):
        registry.create(name).predict(test.view)
    with pytest.raises(ModelError, match="unfitted"):
        registry.create(name).save(tmp_path / "m")
    assert not (tmp_path / "m").exists()


@every_model
def test_damaged_and_foreign_folders_are_refused_by_file(name, models, tmp_path):
    folder = tmp_path / "m"
    models[name].save(folder)
    weights = min(path for path in folder.iterdir() if path.name != "model.json")
    good = weights.read_bytes()
    weights.write_bytes(bytes([good[0] ^ 1]) + good[1:])
    with pytest.raises(BundleError, match=weights.name):
        registry.load_model(folder)
    weights.unlink()
    with pytest.raises(BundleError, match=f"{weights.name}: found no such file"):
        registry.load_model(folder)
    weights.write_bytes(good)
    other = next(one for one in registry.names() if one != name)
    with pytest.raises(ModelError, match=name):
        registry.get(other).load(folder)
    with pytest.raises(BundleError, match=r"model\.json"):
        registry.load_model(tmp_path)


@every_model
def test_the_metrics_are_of_the_rows_given(name, models, data):
    train, valid, _ = data
    metrics = models[name].metrics
    assert (metrics.rows_train, metrics.rows_valid) == (len(train), len(valid))
    assert metrics.valid_log_loss == log_loss(models[name].predict(valid.view).probabilities, valid.label)
    assert metrics.class_counts == tuple(int((train.label == label).sum()) for label in (-1, 0, 1))
    assert metrics.iterations >= 1


def prediction(**changed: object) -> Prediction:
    at = pl.Series("decision_at", [datetime(2024, 1, 1, hour, tzinfo=UTC) for hour in (0, 1)], dtype=MOMENT)
    base = {"p_short": [0.2, 0.3], "p_neutral": [0.5, 0.3], "p_long": [0.3, 0.4], "p_up": [0.55, 0.55], "e_r": [0.0, 0.1]}
    return Prediction(at, **{key: np.array(value, dtype=np.float64) for key, value in {**base, **changed}.items()})


def test_a_prediction_is_a_table_in_contract_order():
    assert prediction(q05=[-1, -1], q50=[0, 0], q95=[0, 1]).to_frame().columns == [
        *("decision_at", "p_short", "p_neutral", "p_long", "p_up", "e_r"),
        *("q05", "q50", "q95"),
    ]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"p_long": [0.3, 0.5]}, "row 1: found 1.1"),
        ({"p_short": [-0.1, 0.3]}, "p_short of row 0"),
        ({"e_r": [0.0, np.nan]}, "e_r of row 1"),
        ({"p_up": [2.0, 0.5]}, "p_up of row 0"),
        ({"e_r": [0.0]}, "shape"),
        ({"q05": [0.0, 0.2], "q50": [0.1, 0.1], "q95": [0.2, 0.3]}, "quantiles of row 1"),
        ({"q05": [0.0, 0.4], "q95": [0.2, 0.3]}, "quantiles of row 1"),
    ],
)
def test_what_is_not_a_forecast_never_leaves(changed, message):
    with pytest.raises(ModelError, match=message):
        prediction(**changed)


def test_samples_are_matched_to_the_labels_rows():
    hours = [datetime(2024, 1, 1, hour, tzinfo=UTC) for hour in range(4)]
    features = pl.DataFrame({"decision_at": pl.Series(hours, dtype=MOMENT), "a": [0.0, 1.0, 2.0, 3.0]})
    labels = pl.DataFrame(
        {"decision_at": pl.Series([hours[3], hours[1]], dtype=MOMENT), "label": [1, -1], "forward_return": [0.3, 0.1]}
    )
    weights = pl.DataFrame({"decision_at": pl.Series(hours, dtype=MOMENT), "weight": [1.0, 2.0, 3.0, 4.0]})
    samples = make_samples(features, labels, weights)
    assert samples.view.values.ravel().tolist() == [3, 1]
    assert (samples.label.tolist(), samples.weight.tolist(), samples.returns.tolist()) == ([1, -1], [4, 2], [0.3, 0.1])
    with pytest.raises(DataError, match="no row for 1 labels, first at 2024-01-01 03:00"):
        make_samples(features[:3], labels, weights)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("label", np.array([0, 2], dtype=np.int8), "label"),
        ("weight", np.array([1.0, -1.0]), "weight"),
        ("weight", np.zeros(2), "weight"),
        ("returns", np.array([0.0, np.nan]), "forward_return"),
        ("returns", np.zeros(3), "samples"),
    ],
)
def test_samples_refuse_what_cannot_be_learned_from(toy, field, value, message):
    good = toy(2)
    with pytest.raises(DataError, match=message):
        Samples(**{"view": good.view, "label": good.label, "weight": good.weight, "returns": good.returns, field: value})
