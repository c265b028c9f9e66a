from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from quant_pipeline.validation import leaks
from quant_pipeline.validation.leaks import LEAKS, Leak, bench, series, structure, tables

NAMED_BY_THE_ISSUES = {
    "future shift",
    "centred window",
    "scaler on all rows",
    "forming bar",
    "unpurged label",
    "revised macro value",
    "row from its own fold",
    "pattern at its pivot",
    "zigzag at its extremes",
    "open leg of the zigzag",
    "centred swing high",
    "newest macro vintage",
    "macro value on its period",
    "smoothed regime",
    "whole-series wavelet",
    "news of the day",
    "news before it was known",
    "other market at its open",
    "selection on all rows",
    "regimes on all rows",
    "rows before a pause left out",
    "rows with small moves left out",
    "understated label_end",
    "understated horizon_end",
    "barriers tuned on all bars",
    "whole-sample median fill",
    "length of the data in a seed",
    "threshold chosen with the holdout",
    "returns before their horizon",
    "weights scaled by all rows",
}


@pytest.mark.parametrize("leak", LEAKS, ids=lambda leak: leak.name)
def test_the_leak_is_caught_by_its_audit(leak):
    faults = leak.find(leak=True)
    assert faults["audit"].unique().to_list() == [leak.audit]
    assert faults["rows"].min() > 0


@pytest.mark.parametrize("leak", LEAKS, ids=lambda leak: leak.name)
def test_the_honest_twin_passes(leak):
    assert leak.find(leak=False).to_dicts() == []


@pytest.mark.parametrize("leak", [leak for leak in LEAKS if leak.audit == "prefix"], ids=lambda leak: leak.name)
def test_leak_and_honest_twin_say_something(leak, monkeypatch):
    """A twin without values would pass every audit, and one that says the same as the leak would not be its twin."""
    told = []
    monkeypatch.setattr(bench, "prefix_audit", lambda compute, full, cuts: told.append(full) or compute(cuts[0]))
    for wrong in (True, False):
        leak.find(leak=wrong)
    wrong, right = (full.drop("timestamp", "decision_at").cast(pl.Float64).fill_nan(None) for full in told)
    assert wrong.columns == right.columns
    assert not wrong.equals(right)
    for values in (*wrong, *right):
        assert values.count() > 0.25 * values.len()
        assert values.drop_nulls().n_unique() > 1


def test_the_smoother_and_the_filter_agree_on_the_last_bar_alone():
    """The twins are of one model: given no later bars, smoothing has nothing to add."""
    known = bench.candles(0)
    smoothed, filtered = series.smoothed_regime(known), series.filtered_regime(known)
    assert smoothed[-1] == pytest.approx(filtered[-1], abs=1e-12)
    assert np.abs(smoothed - filtered)[:-1].mean() > 0.01


def _earlier(table):
    return table.with_columns(pl.col("known_at") - bench.HOUR)


@pytest.mark.parametrize(
    ("room", "function", "spoilt", "name"),
    [
        (structure, "event_table", lambda make, *given: _earlier(make(*given)), "pattern at its pivot"),
        (structure, "swing_levels", lambda make, *given: np.append(make(*given)[1:], np.nan), "centred swing high"),
        (structure, "open_zones", lambda make, *given: np.roll(make(*given), -1, axis=1), "mitigated zones removed"),
        (series, "decompose", lambda make, *given: np.roll(make(*given), -1, axis=1), "whole-series wavelet"),
        (tables.news, "columns", lambda make, rows, table: make(rows, _earlier(table)), "news of the day"),
        (tables, "align_news", lambda make, at, known: make(at, known - 3_600_000_000), "news before it was known"),
        (tables, "pair_place", lambda make, name, bars, *own, **age: make(name, _earlier(bars), *own, **age),
         "other market at its open"),
    ],
)  # fmt: skip
def test_one_hour_too_early_in_the_pipelines_own_function_is_told(room, function, spoilt, name, monkeypatch):
    """The honest twins are the pipeline's own functions, and the cuts stand where each says something new."""
    make = getattr(room, function)
    monkeypatch.setattr(room, function, lambda *given, **named: spoilt(make, *given, **named))
    monkeypatch.setattr(leaks, "LEAKS", tuple(leak for leak in LEAKS if leak.name == name))
    assert leaks.uncaught() == [name]


def test_the_table_has_every_leak_that_the_issues_name():
    names = {leak.name for leak in LEAKS}
    assert len(names) == len(LEAKS) >= len(NAMED_BY_THE_ISSUES)
    assert names >= NAMED_BY_THE_ISSUES
    assert {leak.audit for leak in LEAKS} == {"prefix", "as-of", "scaler", "split", "oof", "truncation"}


def test_missed_leaks_and_false_alarms_are_told(monkeypatch):
    good = LEAKS[0]
    blind = Leak("blind audit", "prefix", "", lambda *, leak: good.find(leak=leak and False))
    paranoid = Leak("false alarm", "prefix", "", lambda *, leak: good.find(leak=leak or True))
    wrong = Leak("wrong audit", "split", "", good.find)
    monkeypatch.setattr(leaks, "LEAKS", (good, blind, paranoid, wrong))
    assert leaks.uncaught() == ["blind audit", "false alarm", "wrong audit"]


def test_all_are_caught_on_this_machine():
    assert leaks.uncaught() == []
