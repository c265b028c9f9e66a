"""What is live is a named choice: an experiment that only tries promotes nothing, and a person may promote any whole bundle."""

from __future__ import annotations

import shutil
from datetime import timedelta

import polars as pl
import pytest

from quant_pipeline.errors import BundleError, MissingUpstreamError
from quant_pipeline.inference.champion import Decision
from quant_pipeline.orchestration.champions import champion_rows, nothing_live, promote
from quant_pipeline.orchestration.house import House
from quant_pipeline.orchestration.schedules import trained

SYMBOL = "BTC-USD"
TRIES = {"auto": False}
LATER = timedelta(minutes=5)


def bundle_of(house: House) -> str:
    return pl.read_parquet(house.workplace.lake / "bundle" / f"{SYMBOL}.parquet")["bundle"][0]


@pytest.fixture(scope="module")
def tried_home(trained_home, tmp_path_factory):
    """The trained home as an experiment that promotes nothing left it; ask for `tried` to change things."""
    home = trained_home.copy(tmp_path_factory.mktemp("tried") / "home")
    house = home.house(champion=TRIES)
    shutil.rmtree(house.workplace.bundles / "champions")
    shutil.rmtree(house.workplace.signals)
    with home.runner(house) as runner:
        runner.run(SYMBOL)
    return home


@pytest.fixture
def tried(tried_home, tmp_path):
    return tried_home.copy(tmp_path / "home")


def test_an_experiment_that_only_tries_trains_and_reports_and_has_nothing_live(tried_home):
    house = tried_home.house(champion=TRIES)
    assert [event.promoted for event in house.champions.events(SYMBOL)] == [False]
    assert trained(house) == []
    assert house.signals.latest(SYMBOL).status == "no_model"
    assert (house.workplace.reports / SYMBOL / "skill_report.html").exists()
    assert "quant promote BTC-USD BUNDLE" in nothing_live(house, SYMBOL)
    assert champion_rows(house, SYMBOL)[0].endswith("nothing is live")


def test_a_retried_try_adds_nothing(tried):
    house = tried.house(champion=TRIES)
    before = house.champions.events(SYMBOL)
    with tried.runner(house) as runner:
        summary = runner.run(SYMBOL, until="reports")
    assert summary.made == [f"raw_bars|{SYMBOL}"]
    assert house.champions.events(SYMBOL) == before


def test_a_promotion_by_hand_is_live_from_then_and_drift_is_measured_for_it(tried):
    house = tried.house(champion=TRIES, as_of=tried.as_of + LATER)
    with tried.runner(house) as runner:
        event = promote(house, runner.instance, SYMBOL, bundle_of(house), "a good week")
        assert (event.by_hand, event.since, event.reason) == (True, house.workplace.now(), "by hand: a good week")
        summary = runner.run(SYMBOL, until="reports")
    assert [name for name in summary.made if "drift" in name] == [f"drift_report|{SYMBOL}"]
    assert house.champions.events(SYMBOL)[-1] == event
    assert (trained(house), nothing_live(house, SYMBOL)) == ([SYMBOL], None)
    assert house.champions.live_at(SYMBOL, event.since - timedelta(microseconds=1)) is None


def test_a_bundle_of_another_experiment_is_copied_here(home):
    other = home.house()
    house = home.house(name="deployed", champion=TRIES)
    with home.runner(house) as runner:
        event = promote(house, runner.instance, SYMBOL, str(home.root / "tiny.yaml"), "it was the better one")
    assert event.challenger == bundle_of(other)
    own, source = (place.workplace.bundles / SYMBOL / event.challenger for place in (house, other))
    assert {path.name: path.read_bytes() for path in own.iterdir() if path.is_file()} == {
        path.name: path.read_bytes() for path in source.iterdir() if path.is_file()
    }
    assert house.live_bundle(SYMBOL, house.workplace.now()).id == event.challenger


def test_after_a_rollback_the_older_bundle_is_shown_as_live(home):
    house = home.house()
    first = bundle_of(house)
    house.champions.record(SYMBOL, "second", Decision(True, "better"), as_of=home.as_of, since=home.as_of)
    later = home.house(as_of=home.as_of + LATER)
    with home.runner(later) as runner:
        promote(later, runner.instance, SYMBOL, first, "the second trades too much")
        again = promote(later, runner.instance, SYMBOL, first, "twice")
        runner.run(SYMBOL, until="reports")  # the rule does not overrule the person
    title, rows = champion_rows(later, SYMBOL)
    assert title.endswith(f"live is {first} since 2026-11-18 10:35 UTC")
    assert [(row["bundle"], row["decision"], row["now"]) for row in rows] == [
        (first, "promoted", ""), ("second", "promoted", ""), (first, "chosen by hand", "live"),
    ]  # fmt: skip
    assert again.reason == "by hand: the second trades too much"
    assert later.champions.live_since(SYMBOL, later.workplace.now()) == home.as_of + LATER
    assert later.champions.live_at(SYMBOL, home.as_of) == "second"


def test_an_unknown_bundle_is_refused(home):
    refused(home.house(), home, "abc", BundleError, "quant champions BTC-USD")


def test_a_damaged_bundle_is_refused(home):
    house = home.house()
    reference = house.workplace.bundles / SYMBOL / bundle_of(house) / "reference.parquet"
    reference.write_bytes(reference.read_bytes()[:-1])
    refused(house, home, bundle_of(house), BundleError, r"reference\.parquet")


def test_a_bundle_of_other_features_is_refused(home):
    house = home.house(name="other", features={"zscore_window": 50})
    refused(house, home, str(home.root / "tiny.yaml"), BundleError, "trained on other features than those of experiment other")


def test_a_bundle_of_another_market_is_refused(home):
    house = home.house(name="other", simulated={"seed": 8})
    refused(house, home, str(home.root / "tiny.yaml"), BundleError, "another simulated market")


def test_an_experiment_without_a_training_is_refused(home):
    untrained = home.experiment(home.root / "untrained.yaml")
    refused(home.house(), home, untrained, MissingUpstreamError, "quant train BTC-USD --experiment")


def test_a_bundle_from_after_the_pinned_clock_is_refused(home):
    early = home.house(as_of=home.as_of - timedelta(days=7))
    refused(early, home, bundle_of(early), BundleError, "a training up to 2026-11-16")


def refused(house: House, home, chosen: str, kind: type[Exception], words: str) -> None:
    before = home.contents()
    with home.open(house) as instance, pytest.raises(kind, match=words):
        promote(house, instance, SYMBOL, chosen, "why not")
    assert home.contents() == before
