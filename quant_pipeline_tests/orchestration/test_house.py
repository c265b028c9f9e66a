from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from quant_pipeline.errors import BundleError, ConfigError, DamagedError
from quant_pipeline.orchestration.house import BEFORE_ALL

MONDAY = datetime(2026, 11, 16, tzinfo=UTC)


def test_training_sees_bars_up_to_monday(home_of_nothing):
    assert home_of_nothing.house().cutoff("GC=F") == MONDAY
    assert home_of_nothing.house(as_of=MONDAY - timedelta(minutes=1)).cutoff("GC=F") == MONDAY - timedelta(days=7)


def test_drift_moves_the_cutoff_until_the_next_monday_passes_it(bare_home):
    house = bare_home.house()
    assert house.last_retrain("GC=F") is None
    moved = house.move_cutoff("GC=F", "drift")
    assert moved == datetime(2026, 11, 18, 10, tzinfo=UTC)
    assert house.cutoff("GC=F") == house.last_retrain("GC=F") == moved
    assert house.cutoff("BTC-USD") == MONDAY
    later = bare_home.house(as_of=bare_home.as_of + timedelta(days=7))
    assert later.cutoff("GC=F") == MONDAY + timedelta(days=7)


@pytest.mark.parametrize("wrong", ["folder", "dead link", "cutoffs is a file"])
def test_a_damaged_cutoff_is_not_taken_for_none(bare_home, wrong):
    house = bare_home.house()
    path = house.workplace.lake / "cutoffs" / "GC=F.json"
    path.parent.parent.mkdir(parents=True, exist_ok=True)
    if wrong == "cutoffs is a file":
        path.parent.write_text("x")
    else:
        path.parent.mkdir()
        path.mkdir() if wrong == "folder" else path.symlink_to("/no/where")
    with pytest.raises(DamagedError, match="cutoffs"):
        house.last_retrain("GC=F")


def test_history_begins_so_many_days_before_the_cutoff(home_of_nothing):
    assert home_of_nothing.house(history_days=30).history_start("GC=F") == MONDAY - timedelta(days=30)
    assert home_of_nothing.house(history_days=None).history_start("GC=F") == BEFORE_ALL


def test_an_unknown_symbol_is_refused(home_of_nothing):
    with pytest.raises(ConfigError):
        home_of_nothing.house().symbol("XX")


def test_the_source_is_made_once_and_knows_the_null_market(home_of_nothing):
    house = home_of_nothing.house(simulated={"no_signal": True, "seed": 3})
    assert house.source is house.source
    assert (house.source.world.seed, house.source.world.bars_effect) == (3, 0)


def test_a_files_house_needs_its_folder(home_of_nothing, tmp_path):
    house = home_of_nothing.house()
    other = replace(house, workplace=replace(house.workplace, profile="files", bars_folder=tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="nowhere"):
        _ = other.source


def test_before_the_first_training_no_bundle_is_live(home_of_nothing):
    house = home_of_nothing.house()
    assert house.live_bundle("GC=F", house.workplace.now()) is None
    with pytest.raises(BundleError):
        house.load_bundle("GC=F", "abc")


def test_the_live_bundle_is_the_champions(trained_home):
    house = trained_home.house()
    live = house.live_bundle("BTC-USD", house.workplace.now())
    assert live.facts.symbol == "BTC-USD"
    assert house.champions.live_at("BTC-USD", house.workplace.now()) == live.id
    assert house.live_bundle("BTC-USD", MONDAY - timedelta(minutes=1)) is None


def test_a_report_says_where_its_figures_come_from(trained_home):
    facts = trained_home.house().provenance("BTC-USD")
    assert (facts["profile"], facts["experiment"], facts["primary"]) == ("simulated", "tiny", "1h")
    assert facts["training cutoff"] == "2026-11-16 00:00 UTC"
    assert len(facts["data fingerprint"]) == 16


def test_a_published_page_lies_beside_its_picture(bare_home):
    page = bare_home.house().publish("GC=F", "skill_report", "<p>", b"png")
    assert (page.read_text(), page.with_suffix(".png").read_bytes()) == ("<p>", b"png")
