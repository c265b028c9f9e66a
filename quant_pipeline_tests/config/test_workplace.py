from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_pipeline.config.workplace import PROFILES, parse_moment, training_cutoff, workplace
from quant_pipeline.errors import ConfigError

MOMENT = "2026-11-16T12:00:00+02:00"


def test_without_any_variable_the_simulated_market_works_under_data():
    place = workplace({})
    assert (place.profile, place.data, place.bars_folder, place.as_of) == ("simulated", Path("data"), Path("data/raw"), None)


def test_profiles_share_nothing_that_is_written():
    places = [workplace({"QUANT_PROFILE": profile}) for profile in PROFILES]
    for name in ("lake", "raw", "bundles", "signals", "reports", "alerts"):
        assert len({getattr(place, name) for place in places}) == len(PROFILES), name


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
