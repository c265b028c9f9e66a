"""Judging a challenger: the champion meets it on rows that neither learned from, and is live until it is beaten."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from quant_pipeline.config.experiment import ChampionSettings
from quant_pipeline.errors import BundleError, DataError
from quant_pipeline.inference import build
from quant_pipeline.inference.build import Evidence, judge_challenger, trained_as
from quant_pipeline.inference.bundle import PRIORS
from quant_pipeline.inference.champion import FEWEST_FRESH, ChampionHistory, Decision, Event

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
    return labels.select("decision_at").with_columns(**columns, bundle=pl.lit(bundle), fallback=pl.lit(None, dtype=pl.String))


@dataclass
class Court:
    """Bundles "old" (live since START), "new" and others, as `judge_challenger` meets them; all but "old" are unsure."""

    history: ChampionHistory
    root: Path
    labels: pl.DataFrame
    old: np.ndarray
    learned_until: datetime
    inputs: dict[str, str] = field(default_factory=dict)
    broken: dict[str, Exception] = field(default_factory=dict)
    dead: set[str] = field(default_factory=set)

    def verify(self, folder: Path) -> dict[str, str]:
        learned = self.learned_until if folder.name == "old" else hour(0)
        return {"inputs_hash": self.inputs.get(folder.name, "same"), "learned_until": learned.isoformat()}

    def forecast(self, folder: Path, asked: Evidence) -> pl.DataFrame:
        if folder.name in self.broken:
            raise self.broken[folder.name]
        given = self.old if folder.name == "old" else np.full(ROWS, UNSURE)
        fallback = pl.lit(PRIORS if folder.name in self.dead else None, dtype=pl.String)
        made = told(self.labels, given, folder.name).with_columns(fallback=fallback)
        return made.join(asked.labels, on="decision_at", how="semi")

    def judge(self, name: str = "new", *, now: datetime = NOW, rule: ChampionSettings = RULE) -> Event:
        given = self.old if name == "old" else np.full(ROWS, UNSURE)
        return judge_challenger(
            self.history, self.root, told(self.labels, given, name), Evidence(self.labels, self.labels, self.labels), rule,
            symbol="X", as_of=CUTOFF, now=now,
        )  # fmt: skip


@pytest.fixture
def court(monkeypatch, tmp_path, labels):
    """court(old's probabilities of what happened, of all rows; learned_until)."""

    def convene(old: np.ndarray, learned_until: datetime) -> Court:
        made = Court(ChampionHistory(tmp_path), tmp_path, labels, old, learned_until)
        monkeypatch.setattr(build, "verify_bundle", made.verify)
        monkeypatch.setattr(build, "forecast", made.forecast)
        made.history.record("X", "old", Decision(True, "no champion yet"), as_of=START, since=START)
        return made

    return convene


@pytest.fixture
def judge(court):
    """judge(old's probabilities, learned_until): the history and what it says of "new"."""

    def run(old: np.ndarray, learned_until: datetime) -> tuple[ChampionHistory, Event]:
        made = court(old, learned_until)
        return made.history, made.judge()

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


UNABLE = {
    "damaged": {"broken": {"old": BundleError("old", found="a changed byte", wanted="the sealed one", mend="train again")}},
    "columns gone": {"broken": {"old": DataError("feature matrix", found="no a_15m", wanted="all", mend="build it")}},
    "other features": {"inputs": {"old": "other"}},
    "no model opens": {"dead": {"old"}},
}


@pytest.mark.parametrize("learned_until", [hour(0), hour(ROWS)], ids=["rows to compare on", "none"])
@pytest.mark.parametrize("unable", UNABLE.values(), ids=UNABLE)
def test_a_champion_that_cannot_answer_is_no_rival(court, unable, learned_until):
    made = court(np.full(ROWS, SURE), learned_until)
    vars(made).update(unable)
    event = made.judge()
    assert event.promoted
    assert "cannot answer" in event.reason
    assert made.history.live_at("X", CUTOFF) == "new"  # nobody could answer in between


def test_a_champion_that_cannot_answer_goes_also_after_others_were_refused(court):
    made = court(np.full(ROWS, SURE), hour(0))
    assert not made.judge("loser", now=NOW - timedelta(hours=1)).promoted
    made.inputs["old"] = made.inputs["loser"] = "settings of before"
    assert made.judge().promoted
    assert made.history.live_at("X", NOW) == "new"


def test_settings_and_back_bring_the_older_bundle_back(court):
    """old → new → old: each time the live bundle was trained on other features than the experiment of the day."""
    made = court(np.full(ROWS, SURE), hour(0))
    made.inputs["old"] = "before"
    assert made.judge("new").promoted
    made.inputs["old"], made.inputs["new"] = "same", "before"
    back = made.judge("old", now=NOW + timedelta(hours=1))
    assert (back.promoted, back.live, made.history.live_at("X", NOW + timedelta(hours=1))) == (True, "old", "old")
    assert made.history.live_since("X", NOW + timedelta(hours=1)) == back.since


@pytest.mark.parametrize("old", [SURE, WRONG], ids=["refused", "promoted"])
def test_a_retried_run_records_nothing_new(court, old):
    made = court(np.full(ROWS, old), hour(0))
    first = made.judge()
    before = (made.root / "X.jsonl").read_bytes()
    assert made.judge(now=NOW + timedelta(days=1)) == first
    assert (made.root / "X.jsonl").read_bytes() == before


def test_a_persons_choice_stands_against_what_that_person_knew(court):
    made = court(np.full(ROWS, WRONG), hour(0))
    assert made.judge().promoted
    made.history.record("X", "old", Decision(True, "by hand"), as_of=START, since=NOW, by_hand=True)
    made.judge(now=NOW + timedelta(hours=1))
    assert made.history.live_at("X", NOW + timedelta(hours=1)) == "old"
    assert made.judge("newer", now=NOW + timedelta(hours=2)).promoted


def test_what_only_tries_goes_live_when_the_experiment_is_let_to(court):
    made = court(np.full(ROWS, WRONG), hour(0))
    refused = made.judge(rule=ChampionSettings(auto=False))
    assert (refused.promoted, refused.since, made.history.live_at("X", NOW)) == (False, NOW, "old")
    assert made.judge(now=NOW + timedelta(hours=1)).promoted


def test_trying_and_deploying_the_same_make_the_same_bundle(small_experiment):
    def told(**update: object) -> str:
        return trained_as(small_experiment.model_copy(update=update))

    rule = small_experiment.champion
    assert told(champion=rule.model_copy(update={"auto": False})) == told()
    assert told(champion=rule.model_copy(update={"metric": "brier"})) != told()
    assert told(seed=1) != told()


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
