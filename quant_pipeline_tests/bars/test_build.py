"""The ladder from other native intervals than minutes: which rungs exist, and when their bars are known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from quant_pipeline.bars.build import build_bars, check_primary, finest_path, rungs_of
from quant_pipeline.bars.native import closes
from quant_pipeline.bars.schema import BARS_SCHEMA
from quant_pipeline.bars.sessions import session_table
from quant_pipeline.config.experiment import load_experiment
from quant_pipeline.config.timeframes import LADDER, duration
from quant_pipeline.errors import ConfigError

START, END = datetime(2025, 7, 1, tzinfo=UTC), datetime(2025, 7, 8, tzinfo=UTC)  # half a day on 07-03, closed on 07-04
LONG = (*LADDER, "4h", "1d", "1w")


def raw(calendar: str, interval: str, shift: timedelta = timedelta(0)) -> pl.DataFrame:
    """Bars from each session's open on, `shift` later."""
    spans = session_table(calendar, START, END).rows()
    stamps = pl.concat(
        pl.datetime_range(opened + shift, closed, interval, closed="left", eager=True, time_unit="us").alias("timestamp")
        for opened, closed in spans
    )
    price = 100.0 + pl.int_range(len(stamps), eager=True).cast(pl.Float64)
    columns = {"open": price, "high": price + 2, "low": price - 2, "close": price + 1, "volume": price}
    return pl.DataFrame({"timestamp": stamps.dt.convert_time_zone("UTC"), **columns}).select(list(BARS_SCHEMA))


@pytest.mark.parametrize(
    ("intervals", "rungs"),
    [
        (["1m"], LADDER),
        (["1m", "15m", "1h"], LADDER),
        (["5m"], tuple(rung for rung in LADDER if rung != "1m")),
        (["10m"], ("10m", "20m", "30m", "1h")),
        (["10m", "15m"], ("10m", "15m", "20m", "30m", "1h")),
        (["30m"], ("30m", "1h")),
        (["1h"], ("1h",)),
        (["1d"], ()),
        ([], LADDER),
    ],
)
def test_which_rungs_exist(intervals, rungs):
    assert rungs_of(intervals, LADDER) == rungs


@pytest.mark.parametrize("calendar", ["NYSE", "CMEGlobex_GC", "24/7", "XTKS"])
@pytest.mark.parametrize("interval", ["5m", "30m", "1h"])
def test_every_bar_is_known_at_its_own_close_and_no_rung_knows_more(calendar, interval):
    bars = raw(calendar, interval)
    ladder = (*LADDER, "4h", "1d")
    rungs, ledger = build_bars({interval: bars}, calendar, ladder, as_of=END)
    assert set(rungs) == set(rungs_of([interval], ladder))
    assert ledger.notes["absent_rungs"] == [rung for rung in ladder if rung not in rungs]
    finest = rungs[interval]
    told = pl.DataFrame(
        {"timestamp": bars["timestamp"], "known": closes(bars, calendar, duration(interval)), "close": bars["close"]}
    )
    assert finest["known_at"].to_list() == told.filter(pl.col("known") <= END)["known"].to_list()
    for name, rung in rungs.items():
        for row in rung.iter_rows(named=True):
            inside = told.filter(pl.col("timestamp").is_between(row["timestamp"], row["known_at"], closed="left"))
            assert inside["known"].max() <= row["known_at"], name
            assert row["close"] == inside["close"][-1]


def test_the_last_hour_of_a_session_is_known_at_its_close():
    rungs, _ = build_bars({"1h": raw("NYSE", "1h")}, "NYSE", LADDER, as_of=datetime(2025, 7, 1, 20, tzinfo=UTC))
    last = rungs["1h"].row(-1, named=True)
    assert (last["timestamp"], last["known_at"]) == (
        datetime(2025, 7, 1, 19, 30, tzinfo=UTC),
        datetime(2025, 7, 1, 20, tzinfo=UTC),
    )
    assert not last["complete"]


def test_hours_off_the_session_grid_keep_their_close_and_enter_no_longer_rung():
    rungs, ledger = build_bars({"1h": raw("NYSE", "1h", timedelta(minutes=30))}, "NYSE", LONG, as_of=END)
    assert ledger.notes["off_grid"] == rungs["1h"].height > 0
    assert (rungs["1h"]["known_at"] - rungs["1h"]["timestamp"]).min() > timedelta(minutes=30)
    assert rungs["4h"].is_empty()


def test_minutes_without_rows_are_still_the_finest():
    rungs, ledger = build_bars({"1m": raw("NYSE", "1h").clear(), "1h": raw("NYSE", "1h")}, "NYSE", LADDER, as_of=END)
    assert tuple(rungs) == LADDER
    assert rungs["1m"].is_empty()
    assert rungs["1h"].height
    assert "absent_rungs" not in ledger.notes


def test_labels_follow_the_finest_there_is():
    rungs, _ = build_bars({"30m": raw("NYSE", "30m")}, "NYSE", LADDER, as_of=END)
    assert finest_path(rungs).equals(rungs["30m"])
    absent = {rung: rungs.get(rung, rungs["30m"].clear()) for rung in LADDER}
    assert finest_path(absent).equals(rungs["30m"]), "assets of absent rungs are tables without rows"


def test_a_primary_that_the_bars_cannot_give():
    experiment = load_experiment("default")
    check_primary(["1h"], experiment, "SPY")
    check_primary(["30m"], experiment, "SPY")
    for interval in ("1d", "45m", "2h"):
        with pytest.raises(ConfigError, match=rf"primary.*1h, and bars of {interval} for SPY.*set `primary`.*ladder"):
            check_primary([interval], experiment, "SPY")
