"""Experiments side by side on a trained home; the other experiment is the first one's lake under another name."""

from __future__ import annotations

import shutil

import polars as pl
import pytest

from quant_pipeline.errors import ConfigError, MissingUpstreamError
from quant_pipeline.files import write_parquet
from quant_pipeline.orchestration.comparing import compare

SYMBOL = "BTC-USD"


@pytest.fixture
def pair(home):
    """The house, its experiment, and another one that has the same forecasts."""
    house, other = home.house(), home.house(name="other")
    shutil.copytree(house.workplace.lake, other.workplace.lake)
    return house, other


def change(house, name: str, **columns: pl.Expr) -> None:
    path = house.workplace.lake / name / f"{SYMBOL}.parquet"
    write_parquet(path, pl.read_parquet(path).with_columns(**columns))


def compared(house, other):
    return compare(house, house.experiment, other.experiment, SYMBOL)


def test_the_same_forecasts_are_no_different(pair):
    title, rows, notes = compared(*pair)
    assert title.startswith("BTC-USD: tiny and other")
    assert {(row["span"].partition("\n")[0], row["metric"]) for row in rows} == {
        (span, metric)
        for span in ("out of fold", "final test")
        for metric in ("rank IC", "AUC, long/short", "direction gain", "log-loss gain")
    }
    assert all(row["tiny"] == row["other"] for row in rows)
    assert {row["better"] for row in rows} == {"no telling"}
    assert all(row["chance"] and row["naive"] for row in rows)
    assert len(notes) == 1


def test_the_one_that_points_the_wrong_way_loses(pair):
    change(pair[1], "bundle", p_short=pl.col("p_long"), p_long=pl.col("p_short"))
    _, rows, _ = compared(*pair)
    by = {(row["span"].partition("\n")[0], row["metric"]): row for row in rows}
    assert by["final test", "AUC, long/short"]["better"] == "tiny"
    assert by["out of fold", "AUC, long/short"]["better"] == "no telling"


def test_with_other_labels_each_is_graded_by_its_own_and_no_difference_is_told(pair):
    change(pair[1], "labels", label=-pl.col("label"))
    _, rows, notes = compared(*pair)
    assert {row["better"] for row in rows} == {"not compared"}
    assert any(row["tiny"] != row["other"] for row in rows)
    assert "labels differ" in notes[-1]


def test_one_experiment_twice_two_markets_and_no_training_are_refused(home):
    house = home.house()
    with pytest.raises(ConfigError, match="tiny twice"):
        compared(house, home.house(seed=8))
    with pytest.raises(ConfigError, match="two simulated markets"):
        compared(house, home.house(name="other", simulated={"seed": 8}))
    with pytest.raises(MissingUpstreamError, match="quant train BTC-USD --experiment other"):
        compared(house, home.house(name="other"))
