"""Rows that `quant features` prints: counts, places, sets and the documents' table."""

from __future__ import annotations

import pytest

from quant_pipeline.config.experiment import load_experiment
from quant_pipeline.config.feature_sets import feature_sets
from quant_pipeline.errors import ConfigError
from quant_pipeline.features import registry
from quant_pipeline.features.listing import (
    documents_listing,
    every_column,
    feature_listing,
    set_listing,
    sets_listing,
)

EXPERIMENT = load_experiment("default")
OTHERS = ("SPY", "^TNX")


def _named(listing, key):
    return {row[key]: row for row in listing.rows}


def test_every_column_is_what_the_registry_makes():
    settings = EXPERIMENT.features.model_copy(update={"families": registry.FAMILIES})
    columns = every_column(EXPERIMENT, OTHERS)
    assert tuple(column.name for column in columns) == registry.columns(settings, EXPERIMENT.rungs, "1h", OTHERS)
    assert all(column.name == column.spec.column(column.place) for column in columns)


def test_features_are_counted_where_they_are_computed():
    rows = _named(feature_listing(EXPERIMENT, OTHERS), "feature")
    assert (rows["rsi"]["on"], rows["rsi"]["columns"]) == ("1m … 1h", 9)
    assert (rows["mean"]["on"], rows["mean"]["columns"]) == ("1m 5m 15m 30m 1h", 5)
    assert (rows["mtf_bias"]["on"], rows["mtf_bias"]["columns"]) == ("1h 4h 1d 1w", 4)
    assert (rows["xret_1"]["on"], rows["xret_1"]["columns"]) == ("SPY ^TNX", 2)
    assert (rows["hour_sin"]["on"], rows["hour_sin"]["columns"]) == ("decision", 1)
    assert rows["obv"]["volume"] == "needed"
    assert rows["rsi"]["bars"] == 281
    assert set(rows) >= {spec.name for spec in registry.specs(EXPERIMENT.features.families)}


def test_the_title_counts_columns_and_one_family_is_only_that_family():
    listing = feature_listing(EXPERIMENT, OTHERS, "momentum")
    assert listing.title == "36 columns"
    assert {row["family"] for row in listing.rows} == {"momentum"}
    assert feature_listing(EXPERIMENT, (), "cross_asset").title == "0 columns"


def test_a_set_shows_only_the_places_that_it_takes():
    listing = set_listing(EXPERIMENT, "GC=F", OTHERS, "neural_optimal")
    rows = _named(listing, "feature")
    assert rows["rsi"]["on"] == "15m 1h"
    assert "macd" not in rows
    assert sum(row["columns"] for row in listing.rows) == 52
    assert "neural_optimal for GC=F: 52 columns (momentum 4, " in listing.title
    assert "documents: 40 to 60" in listing.title


def test_a_set_of_one_family_and_of_families_that_are_switched_off():
    assert [row["feature"] for row in set_listing(EXPERIMENT, "GC=F", OTHERS, "neural_optimal", "momentum").rows] == [
        "rsi",
        "stoch",
    ]
    assert "0 columns (none)" in set_listing(EXPERIMENT, "GC=F", OTHERS, "neural_optimal", "macro").title
    only = EXPERIMENT.features.model_copy(update={"families": ("momentum",)})
    title = set_listing(EXPERIMENT.model_copy(update={"features": only}), "GC=F", OTHERS, "transformer_raw").title
    assert "not made by this experiment (features.families): calendar, returns, volume" in title


def test_the_sets_are_counted_beside_the_documents():
    rows = _named(sets_listing(EXPERIMENT, "GC=F", OTHERS), "set")
    assert list(rows) == list(feature_sets())
    for name, row in rows.items():
        chosen = set_listing(EXPERIMENT, "GC=F", OTHERS, name)
        assert row["columns"] == sum(each["columns"] for each in chosen.rows)
    assert rows["boosting_optimal"]["columns"] >= 200
    assert "interactions 30" in rows["boosting_optimal"]["by family"]
    momentum = _named(sets_listing(EXPERIMENT, "GC=F", OTHERS, "momentum"), "set")
    assert momentum["boosting_optimal"]["by family"] == "momentum 36"


def test_the_documents_stand_against_ours_with_the_reasons():
    listing = documents_listing(EXPERIMENT, "GC=F", OTHERS)
    rows = {(row["document"], row["input"].strip()): row for row in listing.rows}
    assert rows["000, 1.2", "price and indicator channels of each bar"]["ours"] == 94
    assert rows["000, 1.4", "chart patterns"]["they count"] == 38
    assert rows["", "Gartley"]["our names"] == "harmonic_gartley_{detected, confidence}"
    assert "21 months" in rows["", "1M"]["why"]
    assert all(row["ours"] or row["why"] for row in listing.rows if not row["document"])
    assert f"of the {len(every_column(EXPERIMENT, OTHERS))} columns of GC=F" in listing.title


def test_the_documents_by_family_keep_to_that_family():
    listing = documents_listing(EXPERIMENT, "GC=F", OTHERS, "macro")
    assert [row["document"] for row in listing.rows if row["document"]] == ["000, 1.6 and 2.3"]
    assert "named by none of them: macro 27" in listing.title


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: set_listing(EXPERIMENT, "GC=F", OTHERS, "neural_optimum"), "did you mean 'neural_optimal'"),
        (lambda: set_listing(EXPERIMENT, "GC=F", OTHERS, "neural_optimal", "momentun"), "write 'momentum'"),
        (lambda: sets_listing(EXPERIMENT, "GC=F", OTHERS, "macros"), "write 'macro'"),
        (lambda: documents_listing(EXPERIMENT, "GC=F", OTHERS, "wavelet"), "write 'wavelets'"),
        (lambda: feature_listing(EXPERIMENT, OTHERS, "regimes"), "write 'regime'"),
    ],
)
def test_an_unknown_name_names_the_nearest(call, words):
    with pytest.raises(ConfigError, match=words):
        call()
