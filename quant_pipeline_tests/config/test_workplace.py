from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_pipeline.config.experiment import Experiment, load_experiment
from quant_pipeline.config.workplace import PROFILES, Workplace, parse_moment, training_cutoff, workplace
from quant_pipeline.errors import ConfigError

MOMENT = "2026-11-16T12:00:00+02:00"


def test_without_any_variable_the_simulated_market_works_under_data():
    place = workplace({})
    assert (place.profile, place.data, place.bars_folder, place.as_of) == ("simulated", Path("data"), Path("data/raw"), None)


WRITTEN = ("lake", "raw", "bundles", "signals", "reports", "alerts")
OWN = ("lake", "bundles", "signals", "reports", "alerts")


def settled(experiment: Experiment, **environment: str) -> Workplace:
    return workplace(environment).settled(experiment)


def changed(experiment: Experiment, **values: object) -> Experiment:
    return Experiment.parse({**experiment.model_dump(), **values}, "changed")


@pytest.fixture(scope="module")
def default() -> Experiment:
    return load_experiment("default")


def test_profiles_share_nothing_that_is_written(default):
    places = [settled(default, QUANT_PROFILE=profile) for profile in PROFILES]
    for name in WRITTEN:
        assert len({getattr(place, name) for place in places}) == len(PROFILES), name
    assert len({place.history(Path("h")) for place in places}) == len(PROFILES)


@pytest.mark.parametrize(
    "market", [{"seed": 8}, {"no_signal": True}, {"signal": 0.1}, {"news_effect": 0.0}, {"macro_effect": 0.0}]
)
def test_two_simulated_markets_never_meet(default, market):
    other = changed(default, simulated={**default.simulated.model_dump(), **market})
    for name in WRITTEN:
        assert getattr(settled(default), name) != getattr(settled(other), name), name


@pytest.mark.parametrize(
    "dated", [{"lag_days": {"CPIAUCSL": 90}}, {"lag_days": {"CPIAUCSL": 91}}, {"hours": {"CPIAUCSL": "08:30"}}], ids=str
)
def test_releases_that_are_dated_otherwise_never_meet(default, dated):
    other = changed(default, macro=dated)
    assert settled(default, QUANT_PROFILE="files").releases != settled(other, QUANT_PROFILE="files").releases
    assert settled(other, QUANT_PROFILE="files").raw == settled(default, QUANT_PROFILE="files").raw
    assert settled(other).releases == settled(default).releases  # the simulated market says itself when it tells


def test_releases_of_two_folders_never_meet(default):
    folders = [settled(default, QUANT_PROFILE="files", QUANT_MACRO=place).releases for place in ("", "/one", "/two", "/two/")]
    assert len(set(folders)) == 3
    assert folders[2] == folders[3]


def test_a_simulated_market_does_not_touch_the_worlds_of_real_bars(default):
    other = changed(default, simulated={**default.simulated.model_dump(), "seed": 8})
    assert settled(default, QUANT_PROFILE="yahoo") == settled(other, QUANT_PROFILE="yahoo")


def test_files_of_two_folders_never_meet(default):
    one, other = (settled(default, QUANT_PROFILE="files", QUANT_BARS=f"/{place}/bars") for place in "ab")
    assert all(getattr(one, name) != getattr(other, name) for name in WRITTEN)


def test_bars_inside_the_data_folder_may_be_moved_with_it(default):
    one, other = (settled(default, QUANT_PROFILE="files", QUANT_DATA=f"/{place}/data") for place in "ab")
    assert one.world == other.world


def test_experiments_of_one_world_share_what_it_told_and_nothing_else(default):
    one, other = settled(default), settled(changed(default, name="mine", seed=8))
    assert (one.shared, one.raw) == (other.shared, other.raw)
    assert all(getattr(one, name) != getattr(other, name) for name in OWN)
    assert one.history(Path("h")) != other.history(Path("h"))


def test_a_workplace_of_no_experiment_has_no_place():
    with pytest.raises(ConfigError, match="no world or experiment"):
        _ = workplace({}).lake


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/etc", ".hidden"])
def test_a_name_that_is_no_folder_of_its_own_is_refused(default, name):
    with pytest.raises(ConfigError, match="name"):
        changed(default, name=name)


@pytest.mark.parametrize("name", ["a/../../b", "my try", "gold|1h"])
def test_any_other_name_stays_one_folder(default, name):
    place = settled(changed(default, name=name))
    assert place.lake.parent == settled(default).lake.parent
    assert place.lake.name != ".."


def test_another_process_lands_in_the_same_place():
    given = {"QUANT_PROFILE": "files", "QUANT_DATA": "/lake", "QUANT_BARS": "/bars", "QUANT_AS_OF": MOMENT}
    place = workplace(given)
    assert workplace(place.environment()) == place
    assert workplace(workplace({}).environment()) == workplace({})


def test_the_process_environment_is_read_when_none_is_given(monkeypatch):
    monkeypatch.setenv("QUANT_PROFILE", "yahoo")
    assert workplace().profile == "yahoo"


def test_a_pinned_clock_stands_still_and_is_utc():
    assert workplace({"QUANT_AS_OF": MOMENT}).now() == datetime(2026, 11, 16, 10, tzinfo=UTC)


def test_an_open_clock_runs():
    before = datetime.now(UTC)
    assert before <= workplace({}).now() <= datetime.now(UTC)


def test_an_unknown_profile_is_refused():
    with pytest.raises(ConfigError, match="found 'real', wanted one of simulated, files, yahoo"):
        workplace({"QUANT_PROFILE": "real"})


@pytest.mark.parametrize("text", ["yesterday", "2026-11-16", "2026-11-16T10:00:00"])
def test_a_moment_without_a_zone_is_refused(text):
    with pytest.raises(ConfigError, match=f"start: found '{text}', wanted an ISO time with a zone"):
        parse_moment(text, "start")


def test_no_text_is_no_moment():
    assert parse_moment(None, "start") is parse_moment("", "start") is None


@given(st.datetimes(timezones=st.just(UTC)).filter(lambda moment: moment.year > 1))
def test_the_cutoff_is_the_last_monday_midnight(moment):
    cutoff = training_cutoff(moment)
    assert cutoff.weekday() == 0
    assert (cutoff.hour, cutoff.minute, cutoff.second, cutoff.microsecond) == (0, 0, 0, 0)
    assert timedelta(0) <= moment - cutoff < timedelta(days=7)
