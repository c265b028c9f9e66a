from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from quant_pipeline.bars.build import build_bars
from quant_pipeline.config.experiment import Experiment
from quant_pipeline.config.universe import load_universe
from quant_pipeline.errors import LeakageError
from quant_pipeline.features.build import build_features
from quant_pipeline.inference import gate
from quant_pipeline.inference.account import Desk
from quant_pipeline.inference.faults import faults_of, leakage, row_faults
from quant_pipeline.inference.gate import Remaker, from_raw
from quant_pipeline.inference.signals import SignalStore
from quant_pipeline.sources.simulated.source import SimulatedSource
from quant_pipeline.sources.store import RawStore

SYMBOL = "BTC-USD"
START, END = datetime(2025, 3, 3, tzinfo=UTC), datetime(2025, 4, 14, tzinfo=UTC)
TINY = {
    "name": "tiny", "ladder": ["1m", "15m", "1h"], "history_days": 42,
    "features": {"families": ["momentum", "returns"], "zscore_window": 60, "zscore_min_periods": 20},
    "models": [{"name": "logistic"}],
}  # fmt: skip


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Desk:
    """Six weeks of the simulated market in a store of its own."""
    folder, universe = tmp_path_factory.mktemp("gate"), load_universe()
    store = RawStore(folder / "raw")
    store.append(SYMBOL, "1m", SimulatedSource(universe).fetch(SYMBOL, "1m", START, END).frame, END)
    return Desk(store, SignalStore(folder / "signals"), universe, Experiment.parse(TINY, "tiny"))


@pytest.fixture(scope="module")
def stored(desk) -> pl.DataFrame:
    return features(desk, build_bars)


def features(desk: Desk, build) -> pl.DataFrame:
    """What training stores, from bars made by `build`."""
    raw = {"1m": desk.store.read(SYMBOL, "1m", START, END)}
    rungs, _ = build(raw, "24/7", desk.experiment.rungs, as_of=END, rules=desk.universe.cleaning(SYMBOL))
    return build_features(rungs, desk.experiment.features, "1h", "24/7")[0]


def remaker(desk: Desk) -> Remaker:
    return Remaker(desk, SYMBOL, START, END)


def test_rows_made_again_either_way_are_those_of_training(desk, stored):
    moments = stored["decision_at"].gather_every(97, 120).to_list()
    made = remaker(desk)
    again = [made.row(moment) for moment in moments]
    live, faults = zip(*(made.row_from_raw(moment) for moment in moments), strict=True)
    assert faults_of(again, (), (), stored, moments).to_dicts() == []
    assert faults_of(live, faults, (), stored, moments).to_dicts() == []
    assert again[3].equals(stored.filter(pl.col("decision_at") == moments[3]), null_equal=True)


def test_a_cleaning_that_knows_the_whole_file_is_caught_from_raw_rows(desk, monkeypatch):
    """Minutes above the file's 90th percentile of volume lose it: finished bars cannot tell, bars made again do."""

    def whole_file(raw, calendar, ladder, *, as_of, rules):
        minutes = raw["1m"]
        limit = minutes["volume"].quantile(0.9)
        cleaned = minutes.with_columns(close=pl.when(pl.col("volume") <= limit).then("close").otherwise("open"))
        return build_bars({**raw, "1m": cleaned}, calendar, ladder, as_of=as_of, rules=rules)

    monkeypatch.setattr(gate, "build_bars", whole_file)
    spoiled = features(desk, whole_file)
    moments = spoiled["decision_at"].gather_every(211, 150).to_list()
    made = remaker(desk)
    assert faults_of([made.row(moment) for moment in moments], (), (), spoiled, moments).is_empty()
    live, faults = zip(*(made.row_from_raw(moment) for moment in moments), strict=True)
    assert any(where.startswith("bars/1m: close") for where in faults_of(live, faults, (), spoiled, moments)["where"])


def test_a_bar_used_before_its_close_is_caught_from_raw_rows(desk, monkeypatch):
    """The hour's bar is said to be known at its first quarter: with finished bars it looks the same then and later."""

    def early(raw, calendar, ladder, *, as_of, rules):
        rungs, ledger = build_bars(raw, calendar, ladder, as_of=as_of, rules=rules)
        shifted = rungs["15m"].with_columns(
            pl.col("known_at") - timedelta(minutes=5), close=pl.col("close").shift(-1).forward_fill()
        )
        return {**rungs, "15m": shifted}, ledger

    monkeypatch.setattr(gate, "build_bars", early)
    spoiled = features(desk, early)
    moments = spoiled["decision_at"].gather_every(211, 150).to_list()
    made = remaker(desk)
    live, faults = zip(*(made.row_from_raw(moment) for moment in moments), strict=True)
    accused = faults_of(live, faults, (), spoiled, moments)["where"].to_list()
    assert any(where.startswith("bars/15m") for where in accused)
    assert any(where.endswith("_15m") for where in accused)


def test_rows_and_columns_that_are_not_made_again_are_faults(stored):
    moments = stored["decision_at"][-3:].to_list()
    kept = stored.filter(pl.col("decision_at").is_in(pl.Series(moments, dtype=pl.Datetime("us", "UTC")).implode()))
    lost = row_faults([kept[:2].drop("rsi_1h")], stored, moments)
    assert dict(lost.select("where", "rows").iter_rows()) == {"decision_at": 1, "rsi_1h": 2}
    assert row_faults([kept], stored, moments).is_empty()
    absent = stored.with_columns(volume=pl.lit(None, pl.Float64))
    assert row_faults([kept], absent, moments).is_empty()  # a column of a table that said nothing


def test_the_smallest_difference_counts(stored):
    moments = stored["decision_at"][-2:].to_list()
    kept = stored.tail(2)
    nudged = kept.with_columns(pl.col("rsi_1h") + 1e-12)
    (fault,) = row_faults([nudged], stored, moments).to_dicts()
    assert (fault["where"], fault["rows"]) == ("rsi_1h", 2)


def test_the_error_names_columns_files_and_a_mend_that_fits():
    again = pl.DataFrame({"timestamp": [START], "decision_at": [START], **{f"f{i}": [1.0] for i in range(12)}})
    frame = again.with_columns(pl.col("timestamp", "decision_at").dt.cast_time_unit("us"))
    shifted = row_faults([frame], frame.with_columns(pl.exclude("timestamp", "decision_at") + 1), [START])
    error = leakage("SPY", shifted)
    assert isinstance(error, LeakageError)
    assert "f0, f1, f2" in str(error)
    assert "and 4 more" in str(error)
    assert "lookback" in error.mend
    read = leakage("SPY", faults_of((), (), [("vix_level", "mine.py:7", "/home/me/vix.csv")], frame.clear(), ()))
    assert "vix_level" in str(read)
    assert "/home/me/vix.csv" in str(read)
    assert "mine.py:7" in str(read)
    assert "known_at" in read.mend


def test_bars_are_made_again_at_some_moment_of_every_kind():
    kinds = ["session end"] * 20 + ["half day"] * 3 + ["week"] * 40
    moments = pl.DataFrame({"decision_at": [START + timedelta(hours=i) for i in range(len(kinds))], "kind": kinds})
    chosen = from_raw(moments, 6)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == 6
    assert chosen[0] == START  # where modules fill their memos
    assert set(moments.filter(pl.col("decision_at").is_in(chosen))["kind"]) == set(kinds)
