"""Judging a challenger: the champion meets it on rows that neither learned from, and is live until it is beaten."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from quant_pipeline.config.experiment import ChampionSettings
from quant_pipeline.errors import BundleError
from quant_pipeline.inference import build
from quant_pipeline.inference.build import Evidence, judge_challenger
from quant_pipeline.inference.champion import FEWEST_FRESH, ChampionHistory, Decision

START, ROWS = datetime(2024, 1, 1, tzinfo=UTC), 200
NOW, CUTOFF = START + timedelta(days=9), START + timedelta(days=8, hours=12)
RULE = ChampionSettings()
SURE, UNSURE, WRONG = 0.9, 0.5, 0.1


def hour(count: float) -> datetime:
    return START + timedelta(hours=count)


@pytest.fixture
def labels() -> pl.DataFrame:
    at = pl.datetime_range(START, hour(ROWS), "1h", closed="left", time_unit="us", eager=True)
    label = np.random.default_rng(0).integers(-1, 2, ROWS).astype(np.int8)
    return pl.DataFrame({"timestamp": at.dt.offset_by("-1h"), "decision_at": at, "label": label})


def told(labels: pl.DataFrame, given: np.ndarray, bundle: str) -> pl.DataFrame:
    """Forecasts that give `given` to what happened, and halves of the rest to the other two."""
    p = np.repeat((1 - given[:, None]) / 2, 3, axis=1)
    p[np.arange(len(p)), labels["label"].to_numpy().astype(int) + 1] = given
    columns = {name: p[:, k] for k, name in enumerate(("p_short", "p_neutral", "p_long"))}
    return labels.select("decision_at").with_columns(**columns, bundle=pl.lit(bundle))


@pytest.fixture
def judge(monkeypatch, tmp_path, labels):
    """judge(champion's probabilities of what happened, of all rows; learned_until; …) against a challenger that is unsure."""

    def run(champion: np.ndarray, learned_until: datetime, *, inputs: str = "same", able: bool = True, now: datetime = NOW):
        manifests = {
            "old": {"inputs_hash": inputs, "learned_until": learned_until.isoformat()},
            "new": {"inputs_hash": "same", "learned_until": hour(0).isoformat()},
        }

        def verify(folder):
            if folder.name == "old" and not able:
                raise BundleError("old", found="a changed byte", wanted="the sealed one", mend="train again")
            return manifests[folder.name]

        def forecast(folder, asked):
            return told(labels, champion, folder.name).join(asked.labels, on="decision_at", how="semi")

        monkeypatch.setattr(build, "verify_bundle", verify)
        monkeypatch.setattr(build, "forecast", forecast)
        history = ChampionHistory(tmp_path)
        history.record("X", "old", Decision(True, "no champion yet"), as_of=START, since=START)
        event = judge_challenger(
            history, tmp_path, told(labels, np.full(ROWS, UNSURE), "new"), Evidence(labels, labels, labels), RULE,
            symbol="X", as_of=CUTOFF, now=now,
        )  # fmt: skip
        return history, event

    return run


def test_a_champion_is_not_scored_on_rows_that_it_learned_from(judge):
    """It knows its training rows by heart and nothing else: on fresh rows it loses, and must go."""
    by_heart = np.where(np.arange(ROWS) < 120, SURE, WRONG)
    _, event = judge(by_heart, hour(120))
    assert event.promoted
    assert event.scores["champion"]["rows"] == event.scores["challenger"]["rows"] == 80
    assert event.scores["champion"]["log_loss"] == pytest.approx(-np.log(WRONG))


def test_a_champion_that_is_better_on_fresh_rows_stays(judge):
    history, event = judge(np.where(np.arange(ROWS) < 120, WRONG, SURE), hour(120))
    assert not event.promoted
    assert history.live_at("X", NOW + timedelta(days=1)) == "old"


def test_too_few_fresh_rows_are_no_comparison(judge):
    _, event = judge(np.full(ROWS, WRONG), hour(ROWS - FEWEST_FRESH + 1))
    assert not event.promoted
    assert event.scores == {}
    assert f"{FEWEST_FRESH - 1} test rows" in event.reason


@pytest.mark.parametrize("unable", [{"able": False}, {"inputs": "other"}])
def test_a_champion_that_cannot_answer_is_no_rival(judge, unable):
    history, event = judge(np.full(ROWS, SURE), hour(0), **unable)
    assert event.promoted
    assert "cannot answer" in event.reason
    assert history.live_at("X", CUTOFF) == "new"  # nobody could answer in between


def test_a_decision_before_the_promotion_keeps_its_champion(judge):
    history, event = judge(np.full(ROWS, WRONG), hour(0))
    assert event.promoted
    assert (event.as_of, event.since) == (CUTOFF, NOW)
    assert history.live_at("X", NOW - timedelta(minutes=1)) == "old"
    assert history.live_at("X", NOW) == "new"


def test_the_first_champion_is_live_from_its_cutoff(tmp_path, labels):
    history = ChampionHistory(tmp_path)
    challenger = told(labels, np.full(ROWS, UNSURE), "new")
    event = judge_challenger(
        history, tmp_path, challenger, Evidence(labels, labels, labels), RULE, symbol="X", as_of=CUTOFF, now=NOW
    )
    assert (event.reason, history.live_at("X", CUTOFF)) == ("no champion yet", "new")
