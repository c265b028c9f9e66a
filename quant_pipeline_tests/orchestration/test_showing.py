from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest

from quant_pipeline.ensemble.meta import MetaFit
from quant_pipeline.errors import DamagedError, MissingUpstreamError
from quant_pipeline.files import write_parquet
from quant_pipeline.inference import evidence
from quant_pipeline.inference.evidence import Market, Tested
from quant_pipeline.orchestration.assets import deploy
from quant_pipeline.orchestration.replaying import replay_symbol
from quant_pipeline.orchestration.showing import SHOWN, asked_signal, signal_rows, skill_figures, skill_rows, warnings
from quant_pipeline.validation.audit import FAULTS
from quant_pipeline.validation.holdout_log import read_test_uses, record_test_use

SYMBOL = "BTC-USD"


def test_the_skill_table_has_every_model_and_the_ensemble_on_both_spans(trained_home):
    title, rows, page = skill_rows(trained_home.house(), SYMBOL)
    assert title.startswith("BTC-USD: out-of-sample skill")
    assert "SIMULATED" in title
    assert title.endswith("holdout (final test) used 1 time")
    assert [row["model"] for row in rows] == ["ensemble", "lightgbm", "logistic", "signals"] * 2
    assert [row["out of sample"].partition("\n")[0] for row in rows] == ["out of fold"] * 4 + ["final test"] * 4
    assert page.is_file()
    assert page.is_absolute()


def test_every_figure_stands_beside_its_interval_and_the_naive_one(trained_home):
    for row in skill_rows(trained_home.house(), SYMBOL)[1]:
        *skill, money, gain = list(row.values())[2:]
        assert list(row)[2:] == [*SHOWN.values()]
        followed = row["model"] == "signals"  # they are a rule, and forecast nothing of their own
        assert skill == ["\N{EN DASH}"] * 3 if followed else all("naive" in value and " to " in value for value in skill)
        assert "holding" in money
        assert followed or "activity" in gain


def test_another_bundle_on_the_test_span_widens_what_is_shown_of_it(home):
    """Also when the report was made before: whoever looks now has seen both."""
    house = home.house()
    before = skill_rows(house, SYMBOL)[1]
    at = pl.read_parquet(home.lake / "bundle" / f"{SYMBOL}.parquet")["decision_at"]
    for number in range(3):
        record_test_use(
            deploy.test_log(house, SYMBOL), "a person", home.as_of, "tried", bundle=f"{number}", span=(at[-1], at[-1])
        )
    record_test_use(deploy.test_log(house, SYMBOL), "a person", home.as_of, "again", bundle="0", span=(at[0], at[-1]))
    title, after, _ = skill_rows(house, SYMBOL)
    assert title.endswith("holdout (final test) used 4 times, widened for that")
    for old, new in zip(before, after, strict=True):
        changed = {name for name in old if old[name] != new[name]}
        assert ("rank IC\nchance 0" in changed) == (old["out of sample"].startswith("final test") and old["model"] != "signals")


def test_the_report_counts_the_uses_of_its_own_span(trained_home, monkeypatch):
    house, asked = trained_home.house(), {}
    monkeypatch.setattr(evidence, "prepare", lambda *_, **given: asked.update(given))
    table = {name: pl.read_parquet(trained_home.lake / name / f"{SYMBOL}.parquet") for name in ("bundle", "labels", "splits")}
    meta = MetaFit.load(trained_home.lake / "meta_learner" / SYMBOL)
    base = [pl.read_parquet(path) for path in trained_home.lake.glob(f"oof_predictions/*/{SYMBOL}.parquet")]
    tested, empty = Tested(base, meta, table["bundle"]), pl.DataFrame()
    market = Market(SYMBOL, house.symbol(SYMBOL), house.source, empty, empty, table["labels"], table["splits"])
    uses = read_test_uses(deploy.test_log(house, SYMBOL))
    other = uses.with_columns(bundle=pl.lit("other"))
    gone = other.with_columns(pl.col("start", "end").dt.offset_by("-2y"), bundle=pl.lit("elsewhere"))
    evidence.skill_inputs(tested, market, house.experiment, 5, {}, pl.concat([uses, uses, other, gone]))
    assert asked["test_uses"] == 2


def test_without_a_training_the_command_is_named(home_of_nothing):
    with pytest.raises(MissingUpstreamError, match="run: quant train 'GC=F'"):
        skill_rows(home_of_nothing.house(), "GC=F")


def test_the_figures_for_a_program_are_those_of_the_table(trained_home):
    rows = skill_figures(trained_home.house(), SYMBOL)
    assert {row["metric"] for row in rows} == set(SHOWN)
    assert {row["model"] for row in rows} >= {"ensemble", "lightgbm", "logistic", "signals"}
    assert all(isinstance(row["value"], float) for row in rows)


def test_the_signal_is_told_in_words_and_units(trained_home):
    house = trained_home.house()
    signal = asked_signal(house, SYMBOL)
    told = {row["field"]: row["value"] for row in signal_rows(signal)}
    assert told["symbol"] == "BTC-USD (SIMULATED)"
    assert told["decided"] == "2026-11-18 10:00 UTC"
    assert told["entry"] == ("the open of 2026-11-18 10:00 UTC" if signal.action else "none")
    assert told["action"] in {"BUY", "HOLD", "SELL"}
    assert told["position size"].endswith("% of equity")
    parts = told["probabilities"].partition(" (")[0].split(", ")
    assert [part.rpartition(" ")[0] for part in parts] == ["long", "neither", "short"]
    assert sum(float(part.rpartition(" ")[2].rstrip("%")) for part in parts) == pytest.approx(100, abs=0.2)
    assert f"confidence {signal.confidence:.1%}, that of the better side" in told["probabilities"]


def test_before_the_first_signal_the_command_is_named(home_of_nothing):
    with pytest.raises(MissingUpstreamError, match="run: quant predict 'BTC-USD' --as-of 2026-11-18T10:00:00"):
        asked_signal(home_of_nothing.house(), SYMBOL)


def test_a_moment_that_was_asked_for_is_not_answered_by_an_earlier_signal(trained_home):
    later = trained_home.house(as_of=trained_home.as_of + timedelta(hours=3))
    with pytest.raises(MissingUpstreamError, match=r"at 2026-11-18 13:00 UTC: found one of 2026-11-18 10:00"):
        asked_signal(later, SYMBOL)


def test_the_emitted_signal_replays_equal(trained_home):
    compared = replay_symbol(trained_home.house(), SYMBOL, None, None)
    assert compared["equal"].to_list() == [True]


def test_nothing_emitted_is_nothing_to_replay(home_of_nothing):
    assert replay_symbol(home_of_nothing.house(), "GC=F", None, None).is_empty()


def test_implausible_skill_and_a_failed_audit_are_told_in_a_line_each(home):
    house = home.house()
    assert warnings(house, "BTC-USD") == []
    alarm = {"what": "column", "name": "peek_1h", "ic": 0.51, "ceiling": 0.25, "rows": 900}
    write_parquet(home.lake / "skill_alarm" / "BTC-USD.parquet", pl.DataFrame([alarm]))
    (line,) = warnings(house, "BTC-USD")
    assert "column peek_1h has rank IC +0.51" in line
    fault = {"audit": "live path", "where": "peek_1h", "fault": "differs", "rows": 1, "first_at": None, "found": "", "wanted": ""}
    write_parquet(home.lake / "feature_audit" / "BTC-USD.parquet", pl.DataFrame([fault], schema=FAULTS))
    assert "peek_1h: differs" in warnings(house, "BTC-USD")[0]


@pytest.mark.parametrize("asset", ["feature_audit", "skill_alarm", "skill_report"])
def test_a_table_that_is_a_dead_link_is_damage_and_not_absence(home, asset):
    path = home.lake / asset / f"{SYMBOL}.parquet"
    path.unlink()
    path.symlink_to("/no/where")
    with pytest.raises(DamagedError, match=asset):
        (skill_rows if asset == "skill_report" else warnings)(home.house(), SYMBOL)
