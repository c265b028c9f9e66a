"""Drift: distances against scipy and a slow oracle, quiet on equal distributions, loud on shifts, honest on few rows."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_pipeline.config.experiment import DriftSettings
from quant_pipeline.errors import DataError
from quant_pipeline.monitoring.drift import (
    DriftSummary,
    clock_features,
    decide_retrain,
    drift_table,
    psi,
    psi_noise,
    summarise,
    wasserstein,
)

SETTINGS = DriftSettings(share=0.3)
NOW = datetime(2026, 11, 16, 14, 5, tzinfo=UTC)


def slow_psi(reference, recent):
    edges = sorted({sorted(reference)[math.ceil(share * len(reference) / 10) - 1] for share in range(1, 10)})
    bins = [(low, high) for low, high in zip([-math.inf, *edges], [*edges, math.inf], strict=True)]
    total = 0.0
    for low, high in bins:
        expected = max(sum(low < value <= high for value in reference), 0.5) / len(reference)
        observed = max(sum(low < value <= high for value in recent), 0.5) / len(recent)
        total += (observed - expected) * math.log(observed / expected)
    return total


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(2, 300), m=st.integers(2, 300), decimals=st.integers(0, 6))
def test_wasserstein_equals_scipy_and_psi_its_oracle(seed, n, m, decimals):
    from scipy.stats import wasserstein_distance

    random = np.random.default_rng(seed)
    reference, recent = random.normal(size=n).round(decimals), (0.3 + 2 * random.normal(size=m)).round(decimals)
    assert psi(reference, recent) == pytest.approx(slow_psi(reference, recent), rel=1e-9, abs=1e-12)
    if reference.std() > 0:
        wanted = wasserstein_distance(reference, recent) / reference.std()
        assert wasserstein(reference, recent) == pytest.approx(wanted, rel=1e-9, abs=1e-12)


def test_psi_noise_is_the_level_that_equal_samples_rarely_pass():
    random = np.random.default_rng(3)
    pairs = [(random.normal(size=400), random.normal(size=60)) for _ in range(2_000)]
    passed = sum(psi(*pair) > psi_noise(*pair) for pair in pairs)
    assert passed <= 20  # 1 in 1,000 by the asymptotic law; ten times that is still a quiet alarm at 60 rows
    assert sum(psi(*pair) > psi_noise(*pair) / 3 for pair in pairs) > 100  # the level is not simply out of reach


def frame(random, rows, features=40, shift=0.0, scale=1.0):
    return pl.DataFrame({f"f{index}": shift + scale * random.normal(size=rows) for index in range(features)})


@pytest.mark.parametrize("rows", [30, 50, 100, 500])
def test_equal_distributions_stay_quiet_at_every_size(rows):
    random = np.random.default_rng(rows)
    summary = summarise(drift_table(frame(random, 5_000), frame(random, rows), SETTINGS))
    assert summary.measured == 40
    assert summary.share <= 0.05


@pytest.mark.parametrize(("shift", "scale"), [(1.0, 1.0), (-1.0, 1.0), (0.0, 3.0), (0.0, 0.25)])
def test_shift_and_scale_are_caught(shift, scale):
    random = np.random.default_rng(1)
    summary = summarise(drift_table(frame(random, 5_000), frame(random, 500, shift=shift, scale=scale), SETTINGS))
    assert summary.share == 1.0


def test_only_the_drifted_feature_is_named_first_with_a_reason():
    random = np.random.default_rng(2)
    recent = frame(random, 500).with_columns(pl.col("f7") + 2)
    table = drift_table(frame(random, 5_000), recent, SETTINGS)
    assert table["feature"][0] == "f7"
    assert table.filter("drifted")["feature"].to_list() == ["f7"]
    assert "psi" in table["why"][0]
    assert "wasserstein" in table["why"][0]


def test_too_few_rows_are_not_measured():
    random = np.random.default_rng(4)
    table = drift_table(frame(random, 5_000), frame(random, 29, shift=9), SETTINGS)
    assert table["psi"].null_count() == 40
    assert summarise(table) == DriftSummary(0, ())
    assert summarise(table).share == 0.0


def test_a_vanished_feature_has_drifted_and_nulls_do_not_count():
    random = np.random.default_rng(5)
    half = pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.col("f1")).alias("f1")
    recent = frame(random, 500, 2).with_columns(half, f0=pl.lit(None, pl.Float64))
    table = drift_table(frame(random, 5_000, 2), recent, SETTINGS)
    assert table.select("feature", "drifted").rows() == [("f0", True), ("f1", False)]
    assert table["why"][0] == "only 0 of 500 recent rows have a finite value, 100 % of the training rows had"
    assert table["recent_rows"].to_list() == [0, 250]


def sparse(random, rows, share, absent=None):
    kept = random.random(rows) < share
    return pl.DataFrame(
        {"f": pl.Series([value if there else absent for value, there in zip(random.normal(size=rows), kept, strict=True)])}
    )


@pytest.mark.parametrize("absent", [None, math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("left", [0.0, 0.2, 0.4])
def test_a_column_that_became_mostly_null_or_infinite_has_drifted(absent, left):
    random = np.random.default_rng(8)
    table = drift_table(sparse(random, 1_000, 0.95), sparse(random, 500, left, absent), SETTINGS)
    assert table["drifted"][0]
    assert "recent rows have a finite value, 9" in table["why"][0]


@pytest.mark.parametrize("absent", [None, math.inf])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.05, 0.1, 0.5, 0.95])
@pytest.mark.parametrize("rows", [30, 100, 500])
def test_a_column_as_sparse_as_in_training_has_not(absent, share, rows):
    drifted = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        table = drift_table(sparse(random, 1_000, share, absent), sparse(random, rows, share, absent), SETTINGS)
        drifted += table["why"].str.contains("finite").sum()
    assert drifted == 0


def test_constants():
    reference, same = pl.DataFrame({"c": [0.1] * 100}), pl.DataFrame({"c": [0.1] * 60})
    assert not drift_table(reference, same, SETTINGS)["drifted"][0]
    moved = drift_table(reference, same.with_columns(c=pl.lit(-0.1)), SETTINGS)
    assert moved["drifted"][0]
    assert moved["wasserstein"][0] is None


def test_excluded_and_key_columns_are_not_features():
    random = np.random.default_rng(6)
    reference = frame(random, 100, 2).with_columns(decision_at=pl.lit(NOW), timestamp=pl.lit(NOW))
    table = drift_table(reference, frame(random, 100, 2), SETTINGS, exclude={"f0"})
    assert table["feature"].to_list() == ["f1"]


def test_a_bundle_reference_in_float32_does_not_drift_from_its_own_rows():
    from quant_pipeline.views.feature_matrix import from_frame
    from quant_pipeline.views.reference import feature_reference

    hours = np.arange(4_000) % 24
    rows = pl.DataFrame({"decision_at": [NOW + timedelta(hours=int(hour)) for hour in range(4_000)]}).with_columns(
        pl.col("decision_at").dt.cast_time_unit("us"),
        hour_sin=pl.Series(np.sin(2 * np.pi * hours / 24)),
        level=pl.Series(hours / 7),
    )
    table = drift_table(feature_reference(from_frame(rows)), rows.tail(480), SETTINGS)
    assert table["psi"].max() < 0.01
    assert table["wasserstein"].max() < 0.01


def test_clock_features_are_those_of_the_calendar():
    assert clock_features()
    assert not {name for name in clock_features() if name.startswith(("rsi", "atr", "ret"))}


def test_a_missing_column_is_named():
    random = np.random.default_rng(7)
    with pytest.raises(DataError, match="no column f1"):
        drift_table(frame(random, 100, 2), frame(random, 100, 1), SETTINGS)


def test_retrain_waits_for_the_share_and_the_cooldown():
    few, many = DriftSummary(10, ("a", "b")), DriftSummary(10, ("a", "b", "c"))
    assert not decide_retrain(few, SETTINGS, last_retrain_at=None, now=NOW).retrain
    first = decide_retrain(many, SETTINGS, last_retrain_at=None, now=NOW)
    assert first.retrain
    assert first.reason == "3 of 10 features drifted (30 %, alarm at 30 %): a, b, c"
    held = decide_retrain(many, SETTINGS, last_retrain_at=NOW - timedelta(hours=23, minutes=59), now=NOW)
    assert not held.retrain
    assert "2026-11-16 14:06 UTC" in held.reason
    assert decide_retrain(many, SETTINGS, last_retrain_at=NOW - timedelta(hours=24), now=NOW).retrain


def test_nothing_measured_never_retrains():
    assert not decide_retrain(DriftSummary(0, ()), DriftSettings(share=0.01), last_retrain_at=None, now=NOW).retrain
