import json
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quant_pipeline.config.experiment import ChampionSettings
from quant_pipeline.errors import DamagedError, ModelError
from quant_pipeline.inference.champion import FEWEST_FRESH, ChampionHistory, Decision, Rival, Score, decide, score

START = datetime(2024, 1, 1, tzinfo=UTC)
RULE = ChampionSettings(min_improvement=0.01, max_age_days=30)


def loss(value: float, rows_hash: str = "same") -> Score:
    return Score(value, 2 - value, 100, rows_hash)


def days(count: float) -> datetime:
    return START + timedelta(days=count)


def rival(challenger: float, champion: float) -> Rival:
    return Rival(START, scores=(loss(challenger), loss(champion)))


@pytest.mark.parametrize(
    ("challenger", "champion", "age", "promoted", "reason"),
    [
        (1.05, 1.07, 3, True, "better: log_loss 1.05000 against the champion's 1.07000 on 100 rows that neither learned from"),
        (1.0625, 1.07, 3, False, "not better by more than 0.01"),
        (1.08, 1.07, 3, False, "not better"),
        (1.08, 1.07, 30, False, "not better"),
        (1.08, 1.07, 30.01, True, "30 days old, more than 30"),
    ],
)
def test_the_rule(challenger, champion, age, promoted, reason):
    decision = decide(rival(challenger, champion), RULE, now=days(age))
    assert decision.promote is promoted
    assert reason in decision.reason


def test_without_an_able_champion_the_challenger_goes_live():
    assert decide(None, RULE, now=START) == Decision(True, "no champion yet")
    unable = decide(Rival(START, able=False), RULE, now=days(3))
    assert unable.promote
    assert "cannot answer" in unable.reason


def test_without_enough_rows_that_neither_learned_from_only_age_decides():
    few = Rival(START, fresh=FEWEST_FRESH - 1)
    assert not decide(few, RULE, now=days(3)).promote
    assert f"{FEWEST_FRESH - 1} test rows that neither learned from" in decide(few, RULE, now=days(3)).reason
    assert decide(few, RULE, now=days(31)).promote


def test_equal_is_not_better():
    rule = ChampionSettings(min_improvement=0)
    assert not decide(rival(1.0, 1.0), rule, now=days(1)).promote


def test_the_metric_is_the_settings():
    rule = ChampionSettings(metric="brier")
    assert decide(rival(1.1, 1.0), rule, now=days(1)).promote  # brier is 2 - log_loss here


def test_scores_of_other_rows_are_not_compared():
    with pytest.raises(ModelError, match="rows that differ"):
        decide(Rival(START, scores=(loss(1.0, "one"), loss(1.1, "other"))), RULE, now=days(1))


def test_a_decision_before_the_champion_went_live_changes_nothing():
    decision = decide(rival(0.5, 1.0), RULE, now=days(-1))
    assert not decision.promote
    assert "before the champion went live" in decision.reason


def test_score_is_of_the_labelled_rows():
    at = pl.Series("decision_at", [days(i) for i in range(3)], dtype=pl.Datetime("us", "UTC"))
    forecasts = pl.DataFrame(
        {"decision_at": at, "p_short": [0.2, 0.1, 0.5], "p_neutral": [0.3, 0.1, 0.2], "p_long": [0.5, 0.8, 0.3]}
    )
    labels = pl.DataFrame({"decision_at": at[:2], "label": pl.Series([1, -1], dtype=pl.Int8)})
    found = score(forecasts, labels)
    assert found.log_loss == pytest.approx(-(np.log(0.5) + np.log(0.1)) / 2)
    assert (found.rows, found.rows_hash) == (2, score(forecasts.reverse(), labels).rows_hash)
    assert found.rows_hash != score(forecasts, labels.with_columns(label=-pl.col("label"))).rows_hash
    with pytest.raises(ModelError, match="test rows"):
        score(forecasts, labels.clear())


YES, NO = Decision(True, "better"), Decision(False, "worse")


def test_history_tells_what_was_live_when(tmp_path):
    history = ChampionHistory(tmp_path)
    assert history.live_at("GC=F", START) is None
    history.record("GC=F", "a", YES, as_of=days(0), since=days(0))
    history.record("GC=F", "b", NO, as_of=days(7), since=days(7), rival=rival(1.1, 1.0))
    history.record("GC=F", "c", YES, as_of=days(12), since=days(14))
    history.record("SPY", "s", YES, as_of=days(3), since=days(3))
    live = {day: ChampionHistory(tmp_path).live_at("GC=F", days(day)) for day in (-0.1, 0, 6.9, 7, 13.9, 14, 99)}
    assert live == {-0.1: None, 0: "a", 6.9: "a", 7: "a", 13.9: "a", 14: "c", 99: "c"}
    assert [history.live_since("GC=F", days(day)) for day in (-1, 8, 15)] == [None, days(0), days(14)]
    assert [event.reason for event in history.events("GC=F")] == ["better", "worse", "better"]
    assert history.events("GC=F")[1].scores["challenger"]["log_loss"] == 1.1
    assert history.events("GC=F")[2].as_of == days(12)


def test_what_was_refused_since_does_not_hide_a_promotion_from_before_it(tmp_path):
    """B replaces a champion that cannot answer from its training cutoff on, and C was refused after that cutoff."""
    history = ChampionHistory(tmp_path)
    history.record("SPY", "a", YES, as_of=days(0), since=days(0))
    history.record("SPY", "c", NO, as_of=days(0), since=days(2))
    history.record("SPY", "b", YES, as_of=days(1), since=days(1))
    assert [history.live_at("SPY", days(day)) for day in (0.5, 1, 2, 3)] == ["a", "b", "b", "b"]
    assert history.live_since("SPY", days(3)) == days(1)


def test_a_rollback_is_live_from_then_and_was_live_before(tmp_path):
    history = ChampionHistory(tmp_path)
    for day, bundle in enumerate("aba"):
        history.record("SPY", bundle, YES, as_of=days(0), since=days(day))
    assert [history.live_at("SPY", days(day)) for day in (0, 1, 2)] == ["a", "b", "a"]
    assert [history.live_since("SPY", days(day)) for day in (0, 1, 2)] == [days(0), days(1), days(2)]
    assert [event.live for event in history.events("SPY")] == ["a", "b", "a"]


def test_the_newest_decision_about_a_challenger_is_found(tmp_path):
    history = ChampionHistory(tmp_path)
    assert history.judged("SPY", "a", days(0)) is None
    history.record("SPY", "a", YES, as_of=days(0), since=days(0))
    history.record("SPY", "b", NO, as_of=days(1), since=days(1))
    newest = history.record("SPY", "a", NO, as_of=days(0), since=days(2))
    assert history.judged("SPY", "a", days(0)) == newest
    assert history.judged("SPY", "b", days(0)) is None


def test_an_experiment_that_only_tries_promotes_nothing():
    tries = RULE.model_copy(update={"auto": False})
    for met in (None, Rival(START, able=False), rival(1.0, 1.1)):
        decision = decide(met, tries, now=days(1))
        assert not decision.promote
        assert decision.reason.startswith(
            f"champion.auto is false; else it would have gone live: {decide(met, RULE, now=days(1)).reason}"
        )
    assert decide(rival(1.1, 1.0), tries, now=days(1)) == decide(rival(1.1, 1.0), RULE, now=days(1))


def test_a_history_of_before_hands_could_promote_is_read(tmp_path):
    history = ChampionHistory(tmp_path)
    history.record("SPY", "a", YES, as_of=days(0), since=days(0))
    path = tmp_path / "SPY.jsonl"
    path.write_text(path.read_text().replace('"by_hand": false, ', ""))
    assert "by_hand" not in path.read_text()
    assert history.events("SPY")[0].by_hand is False


def test_the_past_is_not_rewritten(tmp_path):
    history = ChampionHistory(tmp_path)
    history.record("SPY", "a", YES, as_of=days(7), since=days(7))
    with pytest.raises(ModelError, match="found a promotion at"):
        history.record("SPY", "b", YES, as_of=days(3), since=days(3))
    late = history.record("SPY", "b", NO, as_of=days(3), since=days(3))
    assert late.live is None
    assert history.live_at("SPY", days(4)) is None
    assert history.live_at("SPY", days(8)) == "a"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=10), at=st.integers(-1, 250))
def test_live_at_against_the_slow_walk(tmp_path_factory, steps, at):
    history, day, live = ChampionHistory(tmp_path_factory.mktemp("h")), 0, None
    for number, (gap, promote) in enumerate(steps):
        day += gap
        history.record("X", f"b{number}", Decision(promote, ""), as_of=START, since=days(day))
        if promote and day <= at:
            live = f"b{number}"
    assert history.live_at("X", days(at)) == live


DEEP = "[" * 100_000


@pytest.mark.parametrize("content", ['{"symbol": "SPY"', "", "[1]\n", '"text"\n', DEEP, '{"as_of": 5, "since": 5}\n'])
def test_a_damaged_history_is_refused_by_name(tmp_path, content):
    (tmp_path / "SPY.jsonl").write_text(content)
    with pytest.raises(DamagedError, match=r"SPY\.jsonl"):
        ChampionHistory(tmp_path).events("SPY")


def test_a_value_of_another_kind_is_refused(tmp_path):
    ChampionHistory(tmp_path).record("SPY", "a", YES, as_of=START, since=START)
    told = json.loads((tmp_path / "SPY.jsonl").read_text())
    for name in told:
        (tmp_path / "SPY.jsonl").write_text(json.dumps(told | {name: 5}) + "\n")
        with pytest.raises(DamagedError, match="line 1"):
            ChampionHistory(tmp_path).events("SPY")


def test_a_history_of_another_symbol_is_refused(tmp_path):
    history = ChampionHistory(tmp_path)
    history.record("SPY", "a", Decision(True, "first"), as_of=START, since=START)
    (tmp_path / "QQQ.jsonl").write_bytes((tmp_path / "SPY.jsonl").read_bytes())
    with pytest.raises(DamagedError, match=r"QQQ\.jsonl, line 1.*a decision about SPY"):
        history.live_at("QQQ", days(1))


def test_a_history_that_leads_nowhere_is_damage_and_not_absence(tmp_path):
    (tmp_path / "SPY.jsonl").symlink_to(tmp_path / "nowhere")
    (tmp_path / "champions").write_text("x")
    for root in (tmp_path, tmp_path / "champions"):
        with pytest.raises(DamagedError):
            ChampionHistory(root).live_at("SPY", START)
