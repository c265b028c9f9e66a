from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from quant_pipeline.validation.plausibility import CEILING, implausible_columns, implausible_models, reachable_ic
from quant_pipeline.validation.skill_table import POOLED

ROWS = 4_000


def times(rows: int) -> pl.Series:
    start = datetime(2025, 1, 6, tzinfo=UTC)
    return pl.datetime_range(start, start + (rows - 1) * timedelta(hours=1), "1h", time_unit="us", eager=True)


def market(seed: int, rows: int = ROWS) -> tuple[pl.DataFrame, pl.DataFrame, np.ndarray]:
    """Features of noise, of slow drifts and of rare events, the labels of a random walk, and their overlapping returns."""
    random = np.random.default_rng(seed)
    steps = random.normal(size=rows + 5)
    forward = np.convolve(steps[1:], np.ones(5), "valid")[:rows]
    at = times(rows)
    noise = {f"noise_{i}": random.normal(size=rows) for i in range(40)}
    slow = {f"slow_{i}": random.normal(size=rows).cumsum() for i in range(40)}
    rare = {f"rare_{i}": (random.random(rows) < 0.01).astype(float) for i in range(20)}
    features = pl.DataFrame({"timestamp": at, "decision_at": at, **noise, **slow, **rare, "price": steps[:rows].cumsum()})
    return features, pl.DataFrame({"decision_at": at, "forward_return": forward}), forward


def planted(forward: np.ndarray, ic: float, seed: int = 0) -> np.ndarray:
    """A column whose correlation with the return is `ic`."""
    return ic * forward / forward.std() + np.sqrt(1 - ic**2) * np.random.default_rng(seed).normal(size=forward.size)


@pytest.mark.parametrize("seed", range(10))
def test_a_null_market_rings_no_alarm(seed):
    features, labels, _ = market(seed)
    assert implausible_columns(features, labels, None).to_dicts() == []


@pytest.mark.parametrize("sign", [1, -1])
def test_a_planted_column_is_named(sign):
    features, labels, forward = market(1)
    features = features.with_columns(planted=pl.Series(sign * planted(forward, 0.5)), good=pl.Series(planted(forward, 0.15)))
    (alarm,) = implausible_columns(features, labels, None).to_dicts()
    assert (alarm["what"], alarm["name"], alarm["rows"], alarm["ceiling"]) == ("column", "planted", ROWS, CEILING)
    assert alarm["ic"] == pytest.approx(sign * 0.48, abs=0.05)


def test_a_simulated_market_allows_what_its_oracle_reaches():
    features, labels, forward = market(2)
    features = features.with_columns(planted=pl.Series(planted(forward, 0.38)))
    assert implausible_columns(features, labels, None)["name"].to_list() == ["planted"]
    assert implausible_columns(features, labels, 0.45).is_empty()


def test_holes_and_too_few_rows_are_borne():
    features, labels, forward = market(3)
    holed = pl.Series(planted(forward, 0.6)).set(pl.Series(np.arange(ROWS) % 3 == 0), None)
    assert implausible_columns(features.with_columns(holed=holed), labels, None)["name"].to_list() == ["holed"]
    assert implausible_columns(features.head(100), labels, None).is_empty()
    assert implausible_columns(features.with_columns(none=pl.lit(None, pl.Float64)), labels, None).is_empty()


def skill(value: float, reachable: float | None) -> pl.DataFrame:
    row = {"model": "ensemble", "kind": "model", "fold": POOLED, "metric": "ic", "rows": 900, "value": value, "error": 0.03,
           "reachable": reachable}  # fmt: skip
    fold = {**row, "fold": "fold_00", "value": 0.9, "reachable": reachable and reachable + 0.1}
    return pl.DataFrame([row, fold], schema_overrides={"reachable": pl.Float64})


def test_an_ensemble_above_the_ceiling_is_named_and_one_below_the_oracle_is_not():
    (alarm,) = implausible_models(skill(0.33, None)).to_dicts()
    assert (alarm["what"], alarm["name"], alarm["rows"]) == ("model", "ensemble", 900)
    assert implausible_models(skill(0.30, None)).is_empty()
    assert implausible_models(skill(0.33, 0.36)).is_empty()
    assert reachable_ic(skill(0.33, 0.36)) == pytest.approx(0.46)  # the best fold's
    assert reachable_ic(skill(0.33, None)) is None
