"""Cleaning against a slow oracle, row by row, and what the ledger says of each defect."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_pipeline.bars.clean import clean_bars
from quant_pipeline.bars.schema import BARS_SCHEMA, RUNG_SCHEMA
from quant_pipeline.bars.sessions import session_table
from quant_pipeline.errors import DataError

MINUTE = timedelta(minutes=1)
FRIDAY = datetime(2025, 11, 28, 14, 30, tzinfo=UTC)  # the day after Thanksgiving: New York closes at 18:00 UTC
CLOSE = datetime(2025, 11, 28, 18, 0, tzinfo=UTC)


def frame(rows):
    return pl.DataFrame(rows, schema=BARS_SCHEMA, orient="row")


def flat(at, price=100.0, volume=1.0):
    return (at, price, price + 1, price - 1, price, volume)


def minutes(count, start=FRIDAY):
    return frame([flat(start + number * MINUTE, 100.0 + number % 7) for number in range(count)])


def test_good_minutes_pass():
    raw = minutes(210)
    bars, ledger = clean_bars(raw, "NYSE")
    assert bars.schema == RUNG_SCHEMA
    assert bars.select(BARS_SCHEMA.names()).equals(raw)
    assert (bars["known_at"] - bars["timestamp"] == MINUTE).all()
    assert bars["session_open"].unique().to_list() == [FRIDAY]
    assert bars["session_close"].unique().to_list() == [CLOSE]
    assert bars["complete"].all()
    assert bars["n_source"].unique().to_list() == [1]
    assert (ledger.rows_in, ledger.rows_out, ledger.dropped) == (210, 210, {})
    assert ledger.notes["volume"] == {"null": 0, "zero": 0}
    assert ledger.notes["gaps"] == {"count": 0, "minutes": 0, "share": 0.0, "longest": []}


def test_no_rows_give_no_rows():
    bars, ledger = clean_bars(frame([]), "NYSE")
    assert bars.schema == RUNG_SCHEMA
    assert bars.is_empty()
    assert ledger.rows_out == 0
    json.dumps(ledger.as_dict())


def test_not_bars():
    with pytest.raises(DataError, match="raw 1m bars: column 'low'"):
        clean_bars(minutes(3).drop("low"), "NYSE")


def at(number):
    return FRIDAY + number * MINUTE


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ((at(1), None, 101.0, 99.0, 100.0, 1.0), "price_not_finite"),
        ((at(1), 100.0, math.nan, 99.0, 100.0, 1.0), "price_not_finite"),
        ((at(1), 100.0, math.inf, 99.0, 100.0, 1.0), "price_not_finite"),
        ((at(1), 100.0, 101.0, -math.inf, 100.0, 1.0), "price_not_finite"),
        ((at(1), 100.0, 101.0, 0.0, 100.0, 1.0), "price_not_positive"),
        ((at(1), -100.0, -99.0, -101.0, -100.0, 1.0), "price_not_positive"),
        ((at(1), 100.0, 98.0, 99.0, 100.0, 1.0), "high_below_low"),
        ((at(1), 100.0, 99.5, 99.0, 99.2, 1.0), "high_below_low"),
        ((at(1), 100.0, 101.0, 100.5, 100.0, 1.0), "high_below_low"),
        ((at(1), 100.0, 101.0, 99.0, 100.0, -1.0), "negative_volume"),
        (flat(at(1) + timedelta(seconds=27)), "off_the_minute"),
        (flat(FRIDAY - MINUTE), "outside_session"),
        (flat(CLOSE), "outside_session"),
        (flat(FRIDAY - timedelta(days=1)), "outside_session"),
        (flat(at(0)), "conflicting"),
    ],
)
def test_each_defect_is_dropped_under_its_name(row, reason):
    good = frame([flat(at(0), 50.0), flat(at(2), 50.0)])
    bars, ledger = clean_bars(pl.concat([frame([row]), good]), "NYSE")
    assert ledger.dropped == {reason: 1}
    assert bars.select(BARS_SCHEMA.names()).equals(good)


def test_a_bad_row_does_not_push_out_a_good_one_of_the_same_minute():
    good = frame([flat(at(0)), flat(at(1))])
    bad = frame([(at(1), math.nan, 101.0, 99.0, 100.0, 1.0)])
    bars, ledger = clean_bars(pl.concat([good, bad]), "NYSE")
    assert ledger.dropped == {"price_not_finite": 1}
    assert bars.select(BARS_SCHEMA.names()).equals(good)


def test_of_conflicting_rows_the_last_arrived_is_kept_and_repeats_are_counted_apart():
    rows = [flat(at(1), 10.0), flat(at(0), 5.0), flat(at(1), 10.0), flat(at(1), 11.0), flat(at(1), 12.0)]
    bars, ledger = clean_bars(frame(rows), "NYSE")
    assert bars["open"].to_list() == [5.0, 12.0]
    assert ledger.dropped == {"repeated": 1, "conflicting": 2}
    assert ledger.notes["unsorted"] == 1


def test_volume_absent_zero_null_and_not_finite():
    for volumes, note in (([None] * 3, "absent"), ([0.0, 0.0, None], "absent: zero in 2 rows, never above")):
        bars, ledger = clean_bars(minutes(3).with_columns(volume=pl.Series(volumes, dtype=pl.Float64)), "NYSE")
        assert bars["volume"].null_count() == 3
        assert ledger.notes["volume"] == note
    bars, ledger = clean_bars(minutes(4).with_columns(volume=pl.Series([1.0, 0.0, math.nan, math.inf])), "NYSE")
    assert bars["volume"].to_list() == [1.0, 0.0, None, None]
    assert ledger.notes["volume"] == {"null": 2, "zero": 1}


@pytest.mark.parametrize("constant", [-1.0, -999.0, 0.0, math.nan, -math.inf, None])
def test_a_volume_that_is_one_constant_that_none_can_be_was_never_measured(constant):
    bars, ledger = clean_bars(minutes(5).with_columns(volume=pl.lit(constant, pl.Float64)), "NYSE")
    assert bars.select(BARS_SCHEMA.names()).equals(minutes(5).with_columns(volume=pl.lit(None, pl.Float64)))
    assert ledger.dropped == {}
    assert ledger.notes["volume"].startswith("absent")


def test_a_negative_volume_among_measured_ones_is_dropped_with_its_row():
    raw = minutes(5).with_columns(volume=pl.Series([-1.0, 3.0, -1.0, 0.0, -5.0]))
    bars, ledger = clean_bars(raw, "NYSE")
    assert bars.select("timestamp", "volume").rows() == [(at(0), None), (at(1), 3.0), (at(3), 0.0)]
    assert ledger.dropped == {"negative_volume": 2}


def test_later_rows_do_not_decide_about_volume_before_them():
    raw = minutes(4).with_columns(volume=pl.Series([0.0, 0.0, 0.0, 9.0]))
    early = clean_bars(raw[:3], "NYSE")[0]
    assert early["volume"].null_count() == 3
    for told in (clean_bars(raw, "NYSE", as_of=at(3))[0], clean_bars(raw, "NYSE")[0][:3]):
        assert told.equals(early)


def test_a_volume_vouches_for_the_zeros_of_a_week():
    """A market may be quiet; a feed that has lost its volume is told apart after a week, also by a window that begins later."""
    days = [datetime(2025, 6, day, 12, tzinfo=UTC) for day in range(1, 29)]
    raw = frame([flat(moment, volume=float(day == 3)) for day, moment in enumerate(days)])
    volumes = clean_bars(raw, "24/7")[0]["volume"].to_list()
    assert volumes == [None] * 3 + [1.0] + [0.0] * 7 + [None] * 17
    assert clean_bars(raw[12:], "24/7")[0]["volume"].to_list() == volumes[12:]


def test_as_of_keeps_what_was_closed():
    bars, ledger = clean_bars(minutes(5), "NYSE", as_of=at(3))
    assert bars["timestamp"].to_list() == [at(0), at(1), at(2)]
    assert ledger.dropped == {"not_closed_yet": 2}


def test_native_hours_are_cut_by_the_session():
    opens = [FRIDAY + hour * timedelta(hours=1) for hour in range(4)]
    bars, ledger = clean_bars(frame([flat(moment) for moment in opens]), "NYSE", timeframe="1h")
    assert bars["known_at"].to_list() == [*opens[1:], CLOSE]
    assert bars["complete"].to_list() == [True, True, True, False]
    assert bars["n_source"].unique().to_list() == [0]
    assert ledger.notes["gaps"]["count"] == 0
    assert clean_bars(frame([flat(opens[3])]), "NYSE", timeframe="1h", as_of=CLOSE)[0].height == 1


def test_the_ledger_is_ready_for_json():
    raw = pl.concat([minutes(30), minutes(40)[35:], frame([flat(CLOSE)])])
    text = json.dumps(clean_bars(raw, "NYSE")[1].as_dict(), allow_nan=False)
    assert '"outside_session"' in text


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30 * 1440), st.sampled_from([None, 0.0, -1.0, 5.0, math.nan]),
             st.sampled_from([100.0, -3.0, 0.0, math.nan])), max_size=60),
    st.integers(0, 31 * 1440),
)  # fmt: skip
def test_no_row_depends_on_rows_after_it(drawn, cut):
    """From raw rows: any volumes and prices over a month, in any order, against those that had come by a moment."""
    start = datetime(2025, 6, 2, tzinfo=UTC)
    raw = frame([flat(start + minute * MINUTE, price, volume) for minute, volume, price in drawn])
    moment = start + cut * MINUTE
    come = raw.filter(pl.col("timestamp") + MINUTE <= moment)
    whole = clean_bars(raw, "24/7")[0].filter(pl.col("known_at") <= moment)
    assert clean_bars(come, "24/7", as_of=moment)[0].equals(whole)


values = st.sampled_from([100.0, 101.0, 99.0, 0.0, -1.0, None, math.nan, math.inf])
rows = st.lists(
    st.tuples(
        st.integers(-3, 225),
        st.sampled_from([0, 0, 0, 30]),
        values,
        values,
        values,
        values,
        st.sampled_from([1.0, 0.0, -1.0, None]),
    ),
    max_size=25,
)


def judge(row):
    """The oracle: why a row cannot be a bar, or None."""
    moment, *prices, _ = row
    if any(price is None or not math.isfinite(price) for price in prices):
        return "price_not_finite"
    if min(prices) <= 0:
        return "price_not_positive"
    if prices[1] < max(prices) or prices[2] > min(prices):
        return "high_below_low"
    return "off_the_minute" if moment.second else None


def with_volumes(rows):
    """The oracle: volumes that nobody measured become None; rows with a negative one among measured ones are set apart."""
    kept, negative, vouched = [], 0, False
    for row in sorted(rows, key=lambda row: row[0]):
        volume = row[5]
        vouched = vouched or bool(volume and volume > 0)  # all rows lie within a week
        if vouched and volume is not None and volume < 0:
            negative += 1
        else:
            kept.append((*row[:5], volume if vouched else None))
    return kept, negative


@settings(max_examples=150, deadline=None)
@given(rows)
def test_any_rows_against_the_oracle(drawn):
    raw = [(at(minute) + timedelta(seconds=second), *rest) for minute, second, *rest in drawn]
    dropped: dict[str, int] = {}
    kept: dict[datetime, tuple] = {}
    distinct: set[str] = set()
    reasons = [reason for row in raw if (reason := judge(row))]
    told, negative = with_volumes([row for row in raw if judge(row) is None])
    reasons += ["negative_volume"] * negative
    for reason in reasons:
        dropped[reason] = dropped.get(reason, 0) + 1
    for row in told:
        reason = None
        if str(row) in distinct:
            reason = "repeated"
        elif row[0] in kept:
            reason = "conflicting"
        if reason != "repeated":
            distinct.add(str(row))
            kept[row[0]] = row
        if reason:
            dropped[reason] = dropped.get(reason, 0) + 1
    outside = [moment for moment in kept if not FRIDAY <= moment < CLOSE]
    for moment in outside:
        del kept[moment]
    if outside:
        dropped["outside_session"] = len(outside)
    wanted = frame([kept[moment] for moment in sorted(kept)])
    bars, ledger = clean_bars(frame(raw), "NYSE")
    assert bars.select(BARS_SCHEMA.names()).equals(wanted)
    assert ledger.dropped == dropped
    assert ledger.rows_out == bars.height


@settings(max_examples=40, deadline=None)
@given(
    st.sets(st.integers(0, 3 * 1440), min_size=2, max_size=60),
    st.sampled_from(["NYSE", "CMEGlobex_GC", "24/7"]),
    st.sampled_from(["1m", "15m"]),
)
def test_gaps_against_counting_open_minutes(chosen, calendar, timeframe):
    step = timedelta(minutes=1 if timeframe == "1m" else 15)
    start = datetime(2025, 11, 27, 14, 30, tzinfo=UTC)  # Thanksgiving: New York is closed, gold closes early
    sessions = session_table(calendar, start, start + timedelta(days=4)).rows()
    slots = [opened + number * step for opened, closed in sessions for number in range(-(-(closed - opened) // step))]
    filled = [slot for slot in slots if (slot - start) // step in chosen]
    _, ledger = clean_bars(frame([flat(slot) for slot in filled]), calendar, timeframe=timeframe)
    between = [slot for slot in slots if filled and filled[0] <= slot <= filled[-1]]
    missing = [slot for slot in between if slot not in set(filled)]
    note = ledger.notes["gaps"]
    assert note["minutes"] == len(missing) * (step // MINUTE)
    runs = [number for number, slot in enumerate(between) if slot in missing and between[number - 1] not in missing]
    assert note["count"] == len(runs)
    assert note["share"] == (round(len(missing) / len(between), 6) if between else 0.0)
    lengths = [gap["minutes"] for gap in note["longest"]]
    assert lengths == sorted(lengths, reverse=True)
    for gap in note["longest"]:
        inside = [slot for slot in missing if datetime.fromisoformat(gap["start"]) <= slot < datetime.fromisoformat(gap["end"])]
        assert len(inside) * (step // MINUTE) == gap["minutes"]
