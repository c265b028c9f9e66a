"""Bundles: equal parts give equal bytes, any other byte is refused by name, and a broken part never costs the forecast."""

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from quant_pipeline.config.experiment import CalibrationSettings, EnsembleSettings
from quant_pipeline.ensemble.meta import fit_meta
from quant_pipeline.ensemble.oof import oof_frame
from quant_pipeline.errors import BundleError, DataError, StorageError
from quant_pipeline.inference import bundle as module
from quant_pipeline.inference.bundle import FORMAT, Bundle, BundleFacts, bundle_id, load_bundle, save_bundle, verify_bundle
from quant_pipeline.models import registry
from quant_pipeline.models.contract import Samples
from quant_pipeline.models.folder import seal
from quant_pipeline.models.probabilities import floored
from quant_pipeline.views.feature_matrix import MOMENT, FeatureMatrix
from quant_pipeline.views.reference import feature_reference

NAMES = ("lightgbm", "logistic", "xgboost")
SMALL = {"lightgbm": {"n_estimators": 20}, "xgboost": {"n_estimators": 20}, "logistic": {}}
FACTS = BundleFacts(
    symbol="GC=F", experiment="default", experiment_hash="e" * 12, data_fingerprint="d" * 12,
    training_start=datetime(2024, 1, 1, tzinfo=UTC), training_end=datetime(2024, 1, 20, tzinfo=UTC),
    learned_until=datetime(2024, 2, 1, tzinfo=UTC),
    as_of=datetime(2024, 2, 5, tzinfo=UTC), fallback="logistic", metrics={"log_loss": 1.05},
)  # fmt: skip


@pytest.fixture(scope="module")
def parts(make_preparation):
    rng, rows = np.random.default_rng(0), 900
    x = rng.normal(size=(rows, 5)).astype(np.float32)
    outcome = x[:, 0] + rng.normal(size=rows)
    label = (np.digitize(outcome, [-0.6, 0.6]) - 1).astype(np.int8)
    at = (
        pl.Series("decision_at", np.arange(rows) * 3_600_000_000).cast(pl.Datetime("us")).dt.replace_time_zone("UTC").cast(MOMENT)
    )
    samples = Samples(FeatureMatrix(at, tuple("abcde"), x), label, np.ones(rows), 0.01 * outcome)
    models = {name: registry.create(name, SMALL[name]) for name in NAMES}
    for model in models.values():
        model.fit(samples.take(np.arange(400)), samples.take(np.arange(400, 500)), 7)
    labels = pl.DataFrame({
        "timestamp": at.dt.offset_by("-1h"), "decision_at": at, "label": label,
        "label_end": at.dt.offset_by("3h"), "horizon_end": at.dt.offset_by("6h"),
        "forward_return": 0.01 * outcome, "long_return": 0.01 * outcome - 0.001, "short_return": -0.01 * outcome - 0.001,
    })  # fmt: skip
    frames = [
        oof_frame(model.predict(samples.view.take(rows)), timestamp=labels["timestamp"][rows], fold=f"fold_{k:02d}", model=name)
        for name, model in models.items()
        for k, rows in enumerate(np.arange(500, 900).reshape(2, 200))
    ]
    meta = fit_meta(pl.concat(frames), labels, NAMES, EnsembleSettings(), CalibrationSettings()).learner
    return models, meta, make_preparation(*"abcde"), feature_reference(samples.view.take(np.arange(500))), samples.view


@pytest.fixture(scope="module")
def folder(parts, tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("bundles") / "GC=F"
    save_bundle(place, *parts[:4], FACTS)
    return place


@pytest.fixture
def bundle(folder) -> Bundle:
    return load_bundle(folder)


@pytest.fixture
def copy(folder, tmp_path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


class Broken:
    """A model that fails when it is asked."""

    def predict(self, view: FeatureMatrix):
        raise RuntimeError(f"out of memory on {len(view)} rows")


def without(bundle: Bundle, *names: str) -> Bundle:
    return replace(bundle, models={name: Broken() if name in names else model for name, model in bundle.models.items()})


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_equal_parts_give_equal_bytes_and_the_same_id(parts, folder, tmp_path):
    again = save_bundle(tmp_path / "again", *parts[:4], FACTS)
    assert contents(tmp_path / "again") == contents(folder)
    assert again == bundle_id(folder) == load_bundle(folder).id
    other = save_bundle(tmp_path / "other", *parts[:4], FACTS.model_copy(update={"data_fingerprint": "f" * 12}))
    assert other != again


def test_what_is_loaded_is_what_was_saved(parts, bundle):
    models, meta, preparation, reference, view = parts
    assert (bundle.meta, bundle.facts, bundle.columns) == (meta, FACTS, tuple("abcde"))
    assert bundle.reference.equals(reference)
    assert bundle.preparation.selection.columns == preparation.selection.columns
    expected = meta.combine(np.stack([models[name].predict(view).probabilities for name in NAMES], axis=1))
    forecast = bundle.predict(view)
    np.testing.assert_array_equal(forecast.select("p_short", "p_neutral", "p_long").to_numpy(), expected)
    assert forecast["fallback"].null_count() == forecast["problems"].null_count() == len(view)


def test_the_frame_is_priced_by_the_payoffs(parts, bundle):
    forecast = bundle.predict(parts[4])
    assert forecast.columns == [
        *("decision_at", "p_short", "p_neutral", "p_long", "p_up", "e_r", "e_long", "e_short"),
        *("fallback", "problems"),
    ]
    p = forecast.select("p_short", "p_neutral", "p_long").to_numpy()
    for name, payoff in (
        ("e_r", parts[1].payoffs.forward),
        ("e_long", parts[1].payoffs.long),
        ("e_short", parts[1].payoffs.short),
    ):
        np.testing.assert_allclose(forecast[name], p @ np.array(payoff), atol=1e-15)
    assert forecast["decision_at"].equals(parts[4].decision_at)


def test_a_batch_of_one_equals_its_row(parts, bundle):
    whole = bundle.predict(parts[4])
    for row in range(0, 900, 30):
        assert bundle.predict(parts[4].take(np.array([row]))).equals(whole[row : row + 1])


def test_the_manifest_tells_where_it_comes_from(folder):
    manifest = verify_bundle(folder)
    assert manifest["symbol"] == "GC=F"
    assert manifest["as_of"] == "2024-02-05T00:00:00Z"
    assert {"lightgbm", "numpy", "polars", "python"} <= set(manifest["libraries"])
    assert manifest["columns"] == list("abcde")
    assert set(manifest["files"]) == set(contents(folder)) - {"manifest.json"}


def test_a_bundle_of_an_older_format_is_refused_with_its_cure(copy):
    seal(copy, "manifest.json", {**verify_bundle(copy), "format": FORMAT - 1})
    with pytest.raises(BundleError, match=f"found format {FORMAT - 1}, wanted format {FORMAT}.*train again"):
        load_bundle(copy)


def test_features_are_prepared_by_the_fold_that_trained_the_models(parts, bundle):
    close = 100 * np.exp(np.cumsum(1e-3 * np.random.default_rng(1).normal(size=400)))
    opened = pl.Series("timestamp", np.arange(400) * 3_600_000_000).cast(pl.Datetime("us", "UTC"))
    bars = pl.DataFrame([opened, opened.dt.offset_by("1h").alias("known_at"), pl.Series("close", close)])
    features = bars.select("timestamp", pl.col("known_at").alias("decision_at"), a=pl.col("close")).tail(5)
    told = bundle.prepared(features, bars)
    assert told.columns == [*features.columns, *bundle.preparation.regimes.columns]
    assert told["regime_p0"].null_count() == 0
    assert told.equals(parts[2].table(features, bars))


def test_a_model_may_read_fewer_columns_than_the_bundle(parts, tmp_path):
    models, meta, preparation, reference, view = parts
    wider = reference.with_columns(f=pl.Series(np.arange(reference.height, dtype=float)).cast(reference["a"].dtype))
    save_bundle(tmp_path / "wide", models, meta, preparation, wider, FACTS)
    loaded = load_bundle(tmp_path / "wide")
    assert loaded.columns == tuple("abcdef")
    with pytest.raises(DataError, match="no f"):
        loaded.predict(view)
    sixth = FeatureMatrix(view.decision_at, tuple("abcdef"), np.column_stack([view.values, view.values[:, 0]]))
    columns = ["p_short", "p_neutral", "p_long", "fallback"]
    narrow = save_bundle(tmp_path / "narrow", models, meta, preparation, reference, FACTS)
    assert narrow != loaded.id
    assert loaded.predict(sixth).select(columns).equals(load_bundle(tmp_path / "narrow").predict(view).select(columns))


def test_every_flipped_byte_of_every_file_is_named(copy):
    rng = np.random.default_rng(0)
    for name, good in contents(copy).items():
        for place in {0, len(good) - 1, *rng.integers(0, len(good), 5).tolist()}:
            (copy / name).write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
            with pytest.raises(BundleError) as caught:
                load_bundle(copy)
            assert Path(name).name in str(caught.value)
        (copy / name).write_bytes(good)
    load_bundle(copy)


def test_missing_extra_and_absent_are_named(copy, tmp_path):
    (copy / "models" / "xgboost" / "new.txt").write_text("x")
    with pytest.raises(BundleError, match=r"new\.txt: found an extra file"):
        load_bundle(copy)
    (copy / "models" / "xgboost" / "new.txt").unlink()
    (copy / "meta.json").unlink()
    with pytest.raises(BundleError, match=r"meta\.json: found no such file"):
        load_bundle(copy)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        load_bundle(tmp_path / "nowhere")


def test_a_failing_model_leaves_the_fallback_answering_alone(parts, bundle):
    forecast = without(bundle, "xgboost").predict(parts[4])
    np.testing.assert_array_equal(forecast["p_long"], parts[0]["logistic"].predict(parts[4]).p_long)
    assert forecast["fallback"].unique().to_list() == ["logistic"]
    assert forecast["problems"].unique().to_list() == ["xgboost: RuntimeError: out of memory on 900 rows"]


def test_a_failing_fallback_leaves_the_next_model(parts, bundle):
    forecast = without(bundle, "logistic").predict(parts[4])
    assert forecast["fallback"].unique().to_list() == ["lightgbm"]
    np.testing.assert_array_equal(forecast["p_long"], parts[0]["lightgbm"].predict(parts[4]).p_long)


def test_class_priors_are_the_last_resort(parts, bundle):
    forecast = without(bundle, *NAMES).predict(parts[4])
    assert forecast["fallback"].unique().to_list() == ["class_priors"]
    np.testing.assert_array_equal(
        forecast.select("p_short", "p_neutral", "p_long").unique().row(0), floored(np.array([parts[1].payoffs.shares]))[0]
    )
    assert forecast["problems"][0].count("RuntimeError") == 3


def test_a_failing_meta_learner_leaves_the_fallback(parts, bundle):
    bad = replace(bundle.meta, stacker=replace(bundle.meta.stacker, intercept=(float("nan"),) * 3))
    forecast = replace(bundle, meta=bad).predict(parts[4])
    assert forecast["fallback"].unique().to_list() == ["logistic"]
    assert "meta-learner" in forecast["problems"][0]
    assert forecast.select(pl.col("p_long").is_finite().all()).item()


def test_a_library_that_is_absent_leaves_the_fallback(parts, folder, monkeypatch):
    def load(place: Path):
        if place.name == "xgboost":
            raise ModuleNotFoundError("No module named 'xgboost'")
        return registry.load_model(place)

    monkeypatch.setattr(module, "load_model", load)
    forecast = load_bundle(folder).predict(parts[4])
    assert forecast["fallback"].unique().to_list() == ["logistic"]
    assert forecast["problems"][0] == "xgboost: ModuleNotFoundError: No module named 'xgboost'"


def test_another_feature_set_is_no_failure_to_fall_back_from(parts, bundle):
    with pytest.raises(DataError, match="no c"):
        bundle.predict(parts[4].select(("a", "b", "d", "e")))
    shuffled = parts[4].select(("e", "d", "c", "b", "a"))
    assert bundle.predict(shuffled).equals(bundle.predict(parts[4]))


def test_parts_that_do_not_belong_together_are_refused(parts, tmp_path):
    models, meta, preparation, reference, _ = parts
    fewer = {name: models[name] for name in ("lightgbm", "logistic")}
    with pytest.raises(BundleError, match="no model xgboost"):
        save_bundle(tmp_path / "b", fewer, meta, preparation, reference, FACTS)
    with pytest.raises(BundleError, match=r"columns of lightgbm, .*that the reference lacks"):
        save_bundle(tmp_path / "b", models, meta, preparation, reference.drop("e"), FACTS)
    with pytest.raises(BundleError, match="fallback"):
        save_bundle(tmp_path / "b", models, meta, preparation, reference, FACTS.model_copy(update={"fallback": "tcn"}))
    assert not (tmp_path / "b").exists()


def test_a_disk_that_refuses_leaves_the_old_bundle(parts, copy, monkeypatch):
    before = contents(copy)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_parquet", full)
    with pytest.raises(StorageError, match="No space left"):
        save_bundle(copy, *parts[:4], FACTS)
    assert contents(copy) == before
    assert [path.name for path in copy.parent.iterdir()] == ["copy"]


def test_a_newer_bundle_replaces_the_old_one_whole(parts, copy):
    newer = FACTS.model_copy(update={"as_of": datetime(2024, 2, 12, tzinfo=UTC)})
    assert save_bundle(copy, *parts[:4], newer) == load_bundle(copy).id
    assert load_bundle(copy).facts.as_of == newer.as_of
