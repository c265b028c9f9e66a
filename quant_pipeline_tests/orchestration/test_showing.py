from __future__ import annotations

import polars as pl
import pytest

from quant_pipeline.errors import MissingUpstreamError
from quant_pipeline.orchestration.replaying import replay_symbol
from quant_pipeline.orchestration.showing import signal_rows, skill_rows, warnings
from quant_pipeline.validation.audit import FAULTS

SYMBOL = "BTC-USD"


def test_the_skill_table_has_every_model_and_the_ensemble_on_both_spans(trained_home):
    title, rows, page = skill_rows(trained_home.house(), SYMBOL)
    assert title.startswith("BTC-USD: out-of-sample skill")
    assert "SIMULATED" in title
    assert [row["model"] for row in rows] == ["ensemble", "lightgbm", "logistic"] * 2
    assert [row["out of sample"].partition("\n")[0] for row in rows] == ["out-of-fold"] * 3 + ["final test"] * 3
    assert page.is_file()
    assert page.is_absolute()


def test_every_figure_stands_beside_its_interval_and_the_naive_one(trained_home):
    for row in skill_rows(trained_home.house(), SYMBOL)[1]:
        figures = [value for name, value in row.items() if "chance" in name]
        assert len(figures) == 3
        assert all("best naive" in value and " to " in value for value in figures)


def test_without_a_training_the_command_is_named(home_of_nothing):
    with pytest.raises(MissingUpstreamError, match="run: quant train GC=F"):
        skill_rows(home_of_nothing.house(), "GC=F")


def test_the_signal_is_told_in_words(trained_home):
    told = {row["field"]: row["value"] for row in signal_rows(trained_home.house(), SYMBOL)}
    assert told["symbol"] == "BTC-USD (SIMULATED)"
    assert told["decided"] == "2026-11-18 10:00 UTC"
    assert told["action"] in {"BUY", "HOLD", "SELL"}
    assert sum(float(part.rstrip("%")) for part in told["short / neutral / long"].split(" / ")) == pytest.approx(100, abs=0.2)


def test_before_the_first_signal_the_command_is_named(home_of_nothing):
    assert signal_rows(home_of_nothing.house(), "GC=F") == [{"field": "signal", "value": "none yet; run: quant predict GC=F"}]


def test_the_emitted_signal_replays_equal(trained_home):
    compared = replay_symbol(trained_home.house(), SYMBOL, None, None)
    assert compared["equal"].to_list() == [True]


def test_nothing_emitted_is_nothing_to_replay(home_of_nothing):
    assert replay_symbol(home_of_nothing.house(), "GC=F", None, None).is_empty()


def test_implausible_skill_and_a_failed_audit_are_told_in_a_line_each(home):
    house = home.house()
    assert warnings(house, "BTC-USD") == []
    alarm = {"what": "column", "name": "peek_1h", "ic": 0.51, "ceiling": 0.25, "rows": 900}
    pl.DataFrame([alarm]).write_parquet(home.lake / "skill_alarm" / "BTC-USD.parquet")
    (line,) = warnings(house, "BTC-USD")
    assert "column peek_1h has rank IC +0.51" in line
    fault = {"audit": "live path", "where": "peek_1h", "fault": "differs", "rows": 1, "first_at": None, "found": "", "wanted": ""}
    pl.DataFrame([fault], schema=FAULTS).write_parquet(home.lake / "feature_audit" / "BTC-USD.parquet")
    assert "peek_1h: differs" in warnings(house, "BTC-USD")[0]
