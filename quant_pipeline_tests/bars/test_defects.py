"""Notes on odd feeds: each planted oddity is found where it was planted, and a plain feed is left in peace."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from quant_pipeline.bars.clean import clean_bars
from quant_pipeline.bars.schema import BARS_SCHEMA
from quant_pipeline.bars.sessions import session_table

START, END = datetime(2025, 6, 2, tzinfo=UTC), datetime(2025, 7, 12, tzinfo=UTC)


def feed(calendar="NYSE", decimals=2):
    """Every open minute of six weeks: a random walk on a grid of prices, lively volume."""
    random = np.random.default_rng(5)
    sessions = session_table(calendar, START, END)
    times = pl.concat(
        pl.datetime_range(opened, closed, "1m", closed="left", eager=True, time_unit="us").alias("timestamp")
        for opened, closed in sessions.rows()
    )
    close = np.round(100 * np.exp(np.cumsum(random.normal(0, 2e-4, len(times)))), decimals)
    opened = np.concatenate([[100.0], close[:-1]])
    volume = random.lognormal(5, 0.8, len(times))
    high, low = np.maximum(opened, close), np.minimum(opened, close)
    columns = (times, opened, high, low, close, volume)
    return pl.DataFrame(dict(zip(BARS_SCHEMA, columns, strict=True)))


def notes(raw, calendar="NYSE"):
    return clean_bars(raw, calendar)[1].notes


def on(day, expression):
    return pl.when(pl.col("timestamp").dt.date() == day).then(expression)


def scaled(raw, factor):
    return raw.with_columns(pl.col("open", "high", "low", "close") * factor)


def test_a_plain_feed_has_nothing_to_note():
    found = notes(feed())
    assert found["spikes"]["count"] == found["gaps"]["count"] == found["unsorted"] == 0
    assert found["feed_changes"] == []
    assert "outside_session" not in found
    assert found["first"] == "2025-06-02T13:30:00+00:00"
    assert found["last"] == "2025-07-11T19:59:00+00:00"


def test_a_bad_print_and_news():
    raw = feed()
    bump = np.ones(raw.height)
    bump[1_000] = 1.03  # one minute up and back
    bump[5_000:] = 0.97  # down for good
    raw = raw.with_columns(close=pl.col("close") * bump)
    raw = raw.with_columns(high=pl.max_horizontal("open", "high", "close"), low=pl.min_horizontal("open", "low", "close"))
    spikes = notes(raw)["spikes"]
    found = {spike["timestamp"]: spike for spike in spikes["largest"]}
    stamps = [raw["timestamp"][row].isoformat() for row in (1_000, 1_001, 5_000)]
    assert sorted(found) == sorted(stamps)
    assert [found[stamp]["reverts"] for stamp in stamps] == [True, False, False]
    assert abs(found[stamps[2]]["return"] + 0.03) < 0.001


def test_overnight_jumps_are_no_spikes():
    raw = feed()
    factor = 1 + 0.05 * (pl.col("timestamp").dt.date() >= datetime(2025, 6, 18, tzinfo=UTC).date())
    assert notes(scaled(raw, factor))["spikes"]["count"] == 0


def test_an_outage_over_the_weekend_is_one_gap_of_open_minutes():
    out = pl.col("timestamp").is_between(
        datetime(2025, 6, 6, 19, 30, tzinfo=UTC), datetime(2025, 6, 9, 14, 0, tzinfo=UTC), closed="left"
    )
    gaps = notes(feed().remove(out))["gaps"]
    assert gaps["count"] == 1
    assert gaps["longest"] == [{"start": "2025-06-06T19:30:00+00:00", "end": "2025-06-09T14:00:00+00:00", "minutes": 60}]


def test_a_whole_missing_session_is_a_gap():
    gaps = notes(feed().remove(pl.col("timestamp").dt.date() == datetime(2025, 6, 20, tzinfo=UTC).date()))["gaps"]
    assert (gaps["count"], gaps["minutes"]) == (1, 390)


def test_at_most_twenty_gaps_are_listed_and_all_are_counted():
    gaps = notes(feed().gather_every(2))["gaps"]
    assert gaps["count"] > 5_000
    assert len(gaps["longest"]) == 20


def test_sudden_extended_hours_and_the_closing_bar():
    raw = feed()
    closing = raw.filter(pl.col("timestamp").dt.strftime("%H:%M") == "19:59").with_columns(
        pl.col("timestamp") + timedelta(minutes=1)
    )
    late = raw.filter(pl.col("timestamp") >= datetime(2025, 7, 10, tzinfo=UTC)).with_columns(
        pl.col("timestamp") + timedelta(hours=8)
    )
    note = notes(pl.concat([raw, closing, late]).sort("timestamp"))["outside_session"]
    assert note["rows"] == closing.height + late.height
    assert note["at_close"] == closing.height
    assert (note["first"], note["last"]) == ("2025-06-02T20:00:00+00:00", "2025-07-12T03:59:00+00:00")
    assert sum(day["rows"] for day in note["busiest"][:3]) == late.height + 2


def test_a_new_unit_of_volume():
    raw = feed()
    jump = datetime(2025, 6, 24, tzinfo=UTC)
    raw = raw.with_columns(volume=pl.col("volume") * pl.when(pl.col("timestamp") >= jump).then(30).otherwise(1))
    (change,) = notes(raw)["feed_changes"]
    assert (change["at"], change["what"]) == ("2025-06-24T13:30:00+00:00", "volume")
    assert 25 < change["after"] / change["before"] < 35


def test_one_busy_day_is_no_new_unit():
    raw = feed().with_columns(volume=on(datetime(2025, 6, 24, tzinfo=UTC).date(), pl.col("volume") * 30).otherwise("volume"))
    assert notes(raw)["feed_changes"] == []


def test_volume_absent_is_no_change():
    assert notes(feed().with_columns(volume=pl.lit(None, pl.Float64)))["feed_changes"] == []


def test_a_spliced_feed_that_starts_its_day_later():
    raw = feed()
    late = (pl.col("timestamp") >= datetime(2025, 6, 23, tzinfo=UTC)) & (pl.col("timestamp").dt.strftime("%H:%M") < "13:37")
    (change,) = notes(raw.remove(late))["feed_changes"]
    assert change == {"at": "2025-06-23T13:30:00+00:00", "what": "first_bar_delay", "before": 0.0, "after": 7.0}


def test_a_patched_day_shows_in_the_decimals():
    patched = on(datetime(2025, 6, 24, tzinfo=UTC).date(), pl.col("close") + 1e-3 / 7).otherwise("close")
    raw = feed().with_columns(close=patched)
    raw = raw.with_columns(high=pl.max_horizontal("high", "close"), low=pl.min_horizontal("low", "close"))
    found = [(change["at"][:10], change["what"], change["before"], change["after"]) for change in notes(raw)["feed_changes"]]
    assert found == [("2025-06-24", "price_decimals", 2.0, 5.0), ("2025-06-25", "price_decimals", 5.0, 2.0)]


def test_flat_bars_are_counted():
    raw = feed().with_columns(high=pl.col("open"), low=pl.col("open"), close=pl.col("open"))
    assert notes(raw)["zero_range"] == raw.height
