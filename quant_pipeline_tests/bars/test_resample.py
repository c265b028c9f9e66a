from datetime import UTC, datetime, timedelta

import hypothesis.strategies as st
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from polars.testing import assert_frame_equal

from quant_pipeline.bars.resample import RUNG_COLUMNS, build_ladder, resample
from quant_pipeline.bars.sessions import session_table
from quant_pipeline.config.timeframes import LADDER, duration
from quant_pipeline.errors import ConfigError, DataError

MINUTE = timedelta(minutes=1)
RUNGS = (*LADDER[1:], "4h", "1d", "1w")
SCHEMA = dict(
    zip(
        RUNG_COLUMNS,
        (pl.Datetime("us", "UTC"), *[pl.Float64] * 5, *[pl.Datetime("us", "UTC")] * 3, pl.Int32, pl.Boolean),
        strict=True,
    )
)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


def minute_bars(
    sessions: list[tuple[datetime, datetime]], *, seed: int = 0, present: float = 1.0, volume: float = 1.0
) -> pl.DataFrame:
    """RUNG 1m bars of `sessions` at random prices; a share `present` of minutes has a row, a share `volume` of rows a volume."""
    rng = np.random.default_rng(seed)
    rows = []
    for opened, closed in sessions:
        for minute in range((closed - opened) // MINUTE):
            if rng.random() < present:
                stamp = opened + minute * MINUTE
                first, last = rng.integers(90, 110, 2) + 0.25
                high, low = max(first, last) + rng.integers(0, 5), min(first, last) - rng.integers(0, 5)
                size = float(rng.integers(0, 50)) if rng.random() < volume else None
                rows.append((stamp, first, high, low, last, size, opened, closed, stamp + MINUTE, 1, True))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def oracle(bars: pl.DataFrame, timeframe: str) -> pl.DataFrame:
    """Group by hand: each row asks for its bar's open, then each bar looks at its rows."""
    length, groups = duration(timeframe), {}
    for row in bars.iter_rows(named=True):
        opened = row["session_open"]
        if timeframe == "1w":
            key = (row["session_close"] - timedelta(microseconds=1)).isocalendar()[:2]
        elif timeframe == "1d":
            key = opened
        else:
            key = opened + (row["timestamp"] - opened) // length * length
        groups.setdefault(key, []).append(row)
    return pl.DataFrame([bar_of(key, rows, timeframe) for key, rows in groups.items()], schema=SCHEMA, orient="row")


def bar_of(key, rows, timeframe):
    length, opened, closed = duration(timeframe), rows[0]["session_open"], rows[-1]["session_close"]
    stamp = key if timeframe not in {"1d", "1w"} else opened
    end = closed if timeframe == "1d" else min(stamp + length, closed)
    if timeframe == "1w":
        end = datetime.fromisocalendar(*key, 1).replace(tzinfo=UTC) + length
    volumes = [row["volume"] for row in rows if row["volume"] is not None]
    whole = closed - opened if timeframe == "1d" else length
    return (
        stamp, rows[0]["open"], max(row["high"] for row in rows), min(row["low"] for row in rows), rows[-1]["close"],
        sum(volumes) if volumes else None, opened, closed, end, sum(row["n_source"] for row in rows),
        timeframe != "1w" and stamp + whole <= closed and len(rows) * MINUTE == whole,
    )  # fmt: skip


@st.composite
def markets(draw) -> pl.DataFrame:
    """Sessions of odd lengths with odd breaks between them, thinned, some rows without volume."""
    lengths = draw(st.lists(st.tuples(st.integers(1, 400), st.integers(0, 3_000)), max_size=8))
    opened, sessions = utc(2025, 3, 6) + draw(st.integers(0, 10_000)) * MINUTE, []
    for length, pause in lengths:
        sessions.append((opened, opened + length * MINUTE))
        opened = sessions[-1][1] + pause * MINUTE
    share = st.sampled_from([0.02, 0.5, 1.0])
    return minute_bars(
        sessions, seed=draw(st.integers(0, 99)), present=draw(share), volume=draw(st.sampled_from([0.0, 0.5, 1.0]))
    )


@settings(max_examples=40, deadline=None)
@given(bars=markets())
def test_every_rung_equals_grouping_by_hand(bars):
    for timeframe, found in build_ladder(bars, RUNGS).items():
        assert_frame_equal(found, oracle(bars, timeframe), check_exact=True)


@settings(max_examples=40, deadline=None)
@given(bars=markets(), cut=st.integers(0, 20_000))
def test_at_any_moment_only_closed_bars_exist_and_they_are_final(bars, cut):
    as_of = utc(2025, 3, 6) + cut * MINUTE
    seen = bars.filter(pl.col("known_at") <= as_of)
    for timeframe, final in build_ladder(bars, ("1m", *RUNGS)).items():
        known = resample(seen, timeframe, as_of=as_of)
        assert_frame_equal(known, final.filter(pl.col("known_at") <= as_of), check_exact=True)
        assert_frame_equal(known, resample(bars, timeframe, as_of=as_of), check_exact=True)


@settings(max_examples=30, deadline=None)
@given(bars=markets(), share=st.floats(0, 1))
def test_a_live_tail_from_a_session_open_equals_the_batch(bars, share):
    opens = bars["session_open"].unique().sort()
    if opens.is_empty():
        return
    start = opens[int(share * (len(opens) - 1))]
    tail = bars.filter(pl.col("session_open") >= start)
    for timeframe, batch in build_ladder(bars, RUNGS[:-1]).items():
        assert_frame_equal(resample(tail, timeframe), batch.filter(pl.col("session_open") >= start), check_exact=True)


@settings(max_examples=30, deadline=None)
@given(bars=markets())
def test_rungs_are_sorted_lose_no_source_row_and_know_nothing_early(bars):
    for timeframe, rung in build_ladder(bars, RUNGS).items():
        assert rung["n_source"].sum() == len(bars), timeframe
        assert rung["timestamp"].is_unique().all()
        assert rung["timestamp"].is_sorted()
        assert rung["known_at"].is_sorted()
        if len(rung):
            sources = pl.Series(
                np.searchsorted(rung["timestamp"].to_physical(), bars["timestamp"].to_physical(), side="right") - 1
            )
            assert (rung["known_at"].gather(sources) >= bars["known_at"]).all()


def test_the_session_end_cuts_the_last_bar():
    day = minute_bars([(utc(2025, 7, 3, 13, 30), utc(2025, 7, 3, 17))])
    hours = resample(day, "1h")
    assert hours["timestamp"].to_list() == [utc(2025, 7, 3, h, 30) for h in (13, 14, 15, 16)]
    assert hours["complete"].to_list() == [True, True, True, False]
    assert hours["known_at"].to_list() == [
        utc(2025, 7, 3, 14, 30),
        utc(2025, 7, 3, 15, 30),
        utc(2025, 7, 3, 16, 30),
        utc(2025, 7, 3, 17),
    ]
    assert hours["n_source"].to_list() == [60, 60, 60, 30]


def test_a_bar_is_complete_only_with_every_minute_of_its_session():
    """New York, an early close: 13:30 to 17:00 UTC. The minute 14:17 never came."""
    day = minute_bars([(utc(2025, 7, 3, 13, 30), utc(2025, 7, 3, 17))])
    holed = day.filter(pl.col("timestamp") != utc(2025, 7, 3, 14, 17))
    assert resample(holed, "1h").select("n_source", "complete").rows() == [(59, False), (60, True), (60, True), (30, False)]
    assert resample(holed, "30m")["complete"].to_list() == [True, False, True, True, True, True, True]
    assert (resample(day, "1d")["complete"].item(), resample(holed, "1d")["complete"].item()) == (True, False)


def test_native_bars_stand_for_the_minutes_of_their_length():
    day = minute_bars([(utc(2025, 7, 3, 13, 30), utc(2025, 7, 3, 17))])
    native = resample(day, "15m").with_columns(n_source=pl.lit(0, pl.Int32))
    late = native.filter(pl.col("timestamp") != utc(2025, 7, 3, 14, 30))
    assert resample(native, "1h")["complete"].to_list() == [True, True, True, False]
    assert resample(late, "1h")["complete"].to_list() == [True, False, True, False]
    assert (resample(native, "1d")["complete"].item(), resample(late, "1d")["complete"].item()) == (True, False)


@pytest.mark.parametrize(("timeframe", "first", "ends"), [("1w", 0, utc(2025, 7, 7)), ("1M", 0, utc(2025, 8, 1))])
def test_a_period_is_complete_with_every_session_that_the_calendar_has_in_it(timeframe, first, ends):
    """The week of Independence Day: a half day, a holiday. July 2025 has 31 days, a length of 30."""
    start = utc(2025, 6, 30) if timeframe == "1w" else utc(2025, 7, 1)
    sessions = session_table("NYSE", start, ends).rows()
    whole = resample(minute_bars(sessions), timeframe, calendar="NYSE")
    assert whole.select("known_at", "complete").rows() == [(ends, True)]
    assert not resample(minute_bars(sessions), timeframe)["complete"].any(), "nobody told which sessions it has"
    for missing in (first, len(sessions) - 1):
        rest = [session for number, session in enumerate(sessions) if number != missing]
        assert not resample(minute_bars(rest), timeframe, calendar="NYSE")["complete"].any()


def test_a_week_that_the_calendar_does_not_know_to_its_end_is_not_called_complete(monkeypatch):
    monkeypatch.setattr("quant_pipeline.bars.periods.known_span", lambda _: (utc(1990, 1, 1), utc(2025, 7, 4)))
    sessions = session_table("NYSE", utc(2025, 6, 23), utc(2025, 7, 4)).rows()
    assert resample(minute_bars(sessions), "1w", calendar="NYSE")["complete"].to_list() == [True, False]


def test_rungs_that_do_not_divide_a_day_start_anew_with_each_session():
    days = minute_bars([(utc(2025, 1, 1), utc(2025, 1, 2)), (utc(2025, 1, 2), utc(2025, 1, 3))])
    bars = resample(days, "25m")
    assert bars.filter(pl.col("timestamp") == pl.col("session_open")).height == 2
    last = bars.filter(~pl.col("complete"))
    assert last["timestamp"].to_list() == [utc(2025, 1, 1, 23, 45), utc(2025, 1, 2, 23, 45)]


def test_missing_minutes_are_not_invented():
    bars = minute_bars([(utc(2025, 1, 1), utc(2025, 1, 2))]).filter(pl.col("timestamp").dt.hour() != 5)
    hours = resample(bars.gather([0, 1, 59, 60, 400]), "1h")
    assert hours.select("timestamp", "n_source").rows() == [
        (utc(2025, 1, 1), 3),
        (utc(2025, 1, 1, 1), 1),
        (utc(2025, 1, 1, 7), 1),
    ]


def test_a_week_of_gold_runs_from_sunday_evening_and_is_known_on_monday():
    table = session_table("CMEGlobex_GC", utc(2025, 6, 1), utc(2025, 6, 14))
    weeks = resample(minute_bars(table.rows(), present=0.05), "1w")
    assert weeks["session_open"].to_list() == [utc(2025, 6, 1, 22), utc(2025, 6, 8, 22)]
    assert weeks["session_close"].to_list() == [utc(2025, 6, 6, 21), utc(2025, 6, 13, 21)]
    assert weeks["known_at"].to_list() == [utc(2025, 6, 9), utc(2025, 6, 16)]
    late = minute_bars(table.rows()[2:], present=0.05)  # the week's first sessions are missing
    assert resample(late, "1w")["session_open"].to_list() == [utc(2025, 6, 3, 22), utc(2025, 6, 8, 22)]


def test_a_week_of_always_open_days_is_monday_to_monday():
    table = session_table("24/7", utc(2025, 6, 2), utc(2025, 6, 16))
    weeks = resample(minute_bars(table.rows(), present=0.05), "1w")
    assert weeks.select("timestamp", "known_at").rows() == [
        (utc(2025, 6, 2), utc(2025, 6, 9)),
        (utc(2025, 6, 9), utc(2025, 6, 16)),
    ]


def test_native_bars_resample_like_minutes():
    minutes = minute_bars([(utc(2025, 1, 1), utc(2025, 1, 2))])
    assert_frame_equal(resample(resample(minutes, "15m"), "1h"), resample(minutes, "1h"))


def test_one_minute_is_the_source_itself():
    bars = minute_bars([(utc(2025, 1, 1), utc(2025, 1, 1, 1))])
    assert resample(bars.with_columns(extra=1), "1m").equals(bars)


def test_no_rows_give_no_bars():
    for rung in build_ladder(minute_bars([]), ("1m", *RUNGS)).values():
        assert rung.schema == SCHEMA
        assert rung.is_empty()


def test_bad_rows_are_refused_by_row():
    bars = minute_bars([(utc(2025, 1, 1), utc(2025, 1, 1, 1))])
    with pytest.raises(DataError, match=r"row 30 .*not after the row before"):
        resample(pl.concat([bars.head(30), bars.slice(29)]), "5m")
    with pytest.raises(DataError, match=r"row 0 .*outside its session"):
        resample(bars.with_columns(pl.col("timestamp") - timedelta(hours=1)), "5m")
    with pytest.raises(DataError, match=r"row 59 .*outside its session"):
        resample(bars.with_columns(session_close=pl.lit(bars["timestamp"][-1])), "5m")
    with pytest.raises(DataError, match=r"row 0 .*outside its session"):
        resample(bars.with_columns(session_close=pl.lit(None, pl.Datetime("us", "UTC"))), "5m")
    with pytest.raises(DataError, match=r"'high'.*1 nulls"):
        resample(bars.with_columns(high=pl.when(pl.col("timestamp") > bars["timestamp"][0]).then("high")), "5m")


def test_bad_tables_and_timeframes_are_refused():
    bars = minute_bars([(utc(2025, 1, 1), utc(2025, 1, 1, 1))])
    with pytest.raises(DataError, match="also session_close"):
        resample(bars.drop("session_close"), "5m")
    with pytest.raises(DataError, match=r"'open'.*Float32"):
        resample(bars.cast({"open": pl.Float32}), "5m")
    with pytest.raises(ConfigError, match="several days"):
        resample(bars, "2d")
    with pytest.raises(DataError, match="as_of"):
        resample(bars, "5m", as_of=datetime(2025, 1, 1))  # noqa: DTZ001 the error under test
