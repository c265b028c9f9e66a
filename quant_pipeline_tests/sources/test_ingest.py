"""Ingest from a scripted source: incremental, resumable, partial failures kept and asked for again."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_pipeline.bars.schema import BARS_SCHEMA
from quant_pipeline.config.timeframes import duration
from quant_pipeline.config.universe import Instrument
from quant_pipeline.errors import DataError, SourceError, UnreachableError
from quant_pipeline.files import write_state
from quant_pipeline.sources import ingest as module
from quant_pipeline.sources.base import Fetched
from quant_pipeline.sources.ingest import OVERLAP, ingest
from quant_pipeline.sources.store import RawStore

DAY = timedelta(days=1)
BEGIN = datetime(2025, 1, 10, tzinfo=UTC)
END = datetime(2025, 4, 20, 7, 30, tzinfo=UTC)
ALWAYS = Instrument(calendar="24/7")


@dataclass
class Source:
    """Hourly-spaced bars from BEGIN on; `fail` and `complain` look at a window and break it."""

    name: str = "scripted"
    native: tuple[str, ...] = ("1m",)
    simulated: bool = False
    whole: bool = False
    end: datetime = END
    begin: datetime = BEGIN
    change: datetime | None = None
    asked: list[tuple[str, datetime, datetime]] = field(default_factory=list)
    fail: object = None
    complain: object = None
    step: timedelta = timedelta(hours=1)

    def intervals(self, symbol):  # noqa: ARG002 - the protocol's argument
        return self.native

    def bars(self, interval="1m", start=None, end=None):
        start, end = start or self.begin, end or self.end
        moments = []
        at = self.begin
        while at + duration(interval) <= min(end, self.end):
            if at >= start:
                moments.append(at)
            at += self.step
        price = [1.0 + at.timestamp() % 9973 + (at == self.change) for at in moments]
        return pl.DataFrame([moments, price, price, price, price, [1.0] * len(price)], schema=BARS_SCHEMA)

    def fetch(self, symbol, interval, start, end):
        self.asked.append((interval, start, end))
        if self.fail and self.fail(start, end):
            raise SourceError(f"{symbol} {interval}", found="a dead line", wanted="an answer", mend="run again")
        problems = ("half of it",) if self.complain and self.complain(start, end) else ()
        return Fetched(self.bars(interval, start, end), problems)

    def horizon(self, symbol, now):  # noqa: ARG002 - the protocol's arguments
        return min(now, self.end)


@pytest.fixture
def store(tmp_path):
    return RawStore(tmp_path)


@pytest.fixture(autouse=True)
def unfilled(monkeypatch):
    """Between the hourly bars of `Source` all is a hole; the tests of holes have minutes and ask for them."""
    monkeypatch.setattr(module, "HOLES_AT_ONCE", 0)


def run(source, store, *, start=BEGIN, now=END, instrument=ALWAYS):
    return ingest(source, store, "GC=F", instrument, start=start, now=now)


def test_everything_arrives_once(store):
    source = Source()
    ledger = run(source, store)
    assert store.read("GC=F", "1m").equals(source.bars())
    assert ledger.rows_out == ledger.rows_in == source.bars().height
    assert ledger.notes["partial"] is False
    assert ledger.notes["intervals"]["1m"] == {
        "first": BEGIN.isoformat(), "last": "2025-04-20T07:00:00+00:00", "new": source.bars().height, "holes": 0,
    }  # fmt: skip


def test_the_newest_window_comes_first_and_none_is_longer_than_a_month_or_so(store):
    source = Source()
    run(source, store)
    assert source.asked[0][2] == END
    assert [start for _, start, _ in source.asked] == sorted((start for _, start, _ in source.asked), reverse=True)
    assert max(end - start for _, start, end in source.asked) <= timedelta(days=38)


def test_again_without_news_asks_nothing(store):
    source = Source(end=datetime(2025, 4, 20, 7, 1, tzinfo=UTC))
    run(source, store, now=source.end)
    source.asked.clear()
    ledger = run(source, store, now=source.end)
    assert source.asked == []
    assert (ledger.rows_in, ledger.notes["partial"]) == (0, False)


def test_forward_with_a_days_overlap(store):
    source = Source(end=END - 3 * DAY)
    run(source, store, now=source.end)
    last = store.last("GC=F", "1m")
    source.asked.clear()
    source.end = END
    ledger = run(source, store)
    assert source.asked == [("1m", last - OVERLAP, END)]
    assert (ledger.rows_out, ledger.dropped) == (72, {"identical": 25})
    assert store.read("GC=F", "1m").equals(source.bars())


def test_after_a_long_pause_month_by_month(store):
    source = Source(end=datetime(2025, 1, 25, tzinfo=UTC))
    run(source, store, now=source.end)
    source.asked.clear()
    source.end = END
    run(source, store)
    assert [start.month for _, start, _ in source.asked] == [1, 2, 3, 4]
    assert store.read("GC=F", "1m").equals(source.bars())


def test_revisions_in_the_overlap_are_reported(store):
    source = Source(end=END - DAY)
    run(source, store, now=source.end)
    source.end, source.change = END, store.last("GC=F", "1m") - timedelta(hours=2)
    ledger = run(source, store)
    assert ledger.notes["revised"] == 1
    assert [change[:45] for change in ledger.notes["changed"]] == [
        f"1m: 1 have other values since {source.change:%Y-%m-%d %H:%M}"[:45]
    ]
    assert store.read("GC=F", "1m").equals(source.bars())


def test_a_closed_market_is_not_asked(store):
    friday = datetime(2025, 4, 11, 20, 0, tzinfo=UTC)
    source = Source(end=friday, step=timedelta(minutes=1), begin=datetime(2025, 4, 11, 13, 30, tzinfo=UTC))
    stock = Instrument(calendar="NYSE")
    run(source, store, start=source.begin, now=friday, instrument=stock)
    source.asked.clear()
    source.end = friday + timedelta(minutes=30)
    run(source, store, start=source.begin, now=friday + 2 * DAY, instrument=stock)
    assert source.asked == []
    source.end = friday + 3 * DAY
    run(source, store, start=source.begin, now=source.end, instrument=stock)
    assert len(source.asked) == 1


def test_an_earlier_start_fetches_only_what_is_older(store):
    source = Source()
    middle = datetime(2025, 3, 15, tzinfo=UTC)
    run(source, store, start=middle)
    assert store.first("GC=F", "1m") == middle
    source.asked.clear()
    run(source, store)
    assert max(end for _, start, end in source.asked if start < middle) == middle
    assert store.read("GC=F", "1m").equals(source.bars())
    source.asked.clear()
    run(source, store, start=middle)
    assert all(start >= END - 2 * DAY for _, start, _ in source.asked), "a later start fetches nothing older again"


def test_longer_bars_across_a_months_end(store):
    source = Source(native=("1m", "1h"), begin=datetime(2025, 1, 10, 0, 30, tzinfo=UTC))
    run(source, store)
    assert store.read("GC=F", "1h").equals(source.bars("1h"))
    assert datetime(2025, 1, 31, 23, 30, tzinfo=UTC) in store.read("GC=F", "1h")["timestamp"]


def test_nothing_at_all_raises_what_the_source_said(store):
    with pytest.raises(SourceError, match="a dead line"):
        run(Source(fail=lambda *_: True), store)
    assert store.intervals("GC=F") == ()


def test_a_failure_keeps_what_arrived_and_the_next_run_completes(store):
    source = Source(fail=lambda start, _: start < datetime(2025, 3, 1, tzinfo=UTC))
    ledger = run(source, store)
    assert ledger.notes["partial"] is True
    assert "a dead line" in ledger.notes["problems"][0]
    assert store.read("GC=F", "1m").equals(source.bars(start=datetime(2025, 3, 1, tzinfo=UTC)))
    source.fail = None
    assert run(source, store).notes["partial"] is False
    assert store.read("GC=F", "1m").equals(source.bars())


def test_one_interval_may_fail_alone(store):
    source = Source(native=("1m", "1h"))
    source.fail = lambda *_: source.asked[-1][0] == "1m"
    ledger = run(source, store)
    assert store.intervals("GC=F") == ("1h",)
    assert ledger.notes["partial"] is True
    assert ledger.notes["problems"][0].startswith("1m: ")


def test_without_a_network_nothing_more_is_asked(store, monkeypatch):
    source = Source(native=("1m", "15m", "1h"))

    def fetch(symbol, interval, start, end):
        source.asked.append((interval, start, end))
        raise UnreachableError(symbol, found="no way to it", wanted="an answer", mend="check the connection")

    monkeypatch.setattr(source, "fetch", fetch)
    with pytest.raises(UnreachableError, match="check the connection"):
        run(source, store)
    assert len(source.asked) == 1


def test_a_failing_source_later_is_partial_not_fatal(store):
    source = Source(end=END - DAY)
    run(source, store, now=source.end)
    source.end, source.fail = END, lambda *_: True
    ledger = run(source, store)
    assert ledger.notes["partial"] is True
    source.fail = None
    run(source, store)
    assert store.read("GC=F", "1m").equals(source.bars())


def test_a_window_with_problems_is_asked_for_again(store):
    march = datetime(2025, 3, 1, tzinfo=UTC)
    source = Source(complain=lambda start, _: start == march, end=END)
    hidden = Source()
    source.bars = lambda interval, start, end: hidden.bars(interval, start, end)[
        :: 2 if start == march and source.complain else 1
    ]
    assert run(source, store).notes["problems"] == ["1m: half of it"]
    assert store.read("GC=F", "1m").height < hidden.bars().height
    source.complain = None
    assert run(source, store).notes["partial"] is False
    assert store.read("GC=F", "1m").equals(hidden.bars())
    source.asked.clear()
    run(source, store)
    assert all(start != march for _, start, _ in source.asked)


def test_an_ingest_keeps_the_window_that_another_one_beside_it_has_to_ask_again(store):
    """While one fetches, another comes and goes, an hour later by the clock; what it is told has problems."""
    later = END + timedelta(hours=1)
    run(Source(end=END - 3 * DAY), store)
    other = Source(end=later, complain=lambda *_: True)
    source = Source(end=END, fail=lambda *_: run(other, store, now=later) is None)
    run(source, store)
    (troubled,) = other.asked
    for asked_again in (True, False):
        third = Source(end=later)
        run(third, store, now=later)
        assert (troubled in third.asked) is asked_again


class Killed(BaseException):
    """As `kill -9` would: nothing of ours catches it."""


def test_a_kill_loses_at_most_the_window_in_flight(store):
    source = Source()
    source.fail = lambda *_: len(source.asked) == 3 and _kill()
    with pytest.raises(Killed):
        run(source, store)
    windows = len(source.asked)
    kept = store.read("GC=F", "1m").height
    assert kept > 0
    source.fail = None
    run(source, store)
    assert store.read("GC=F", "1m").equals(source.bars())
    again = [window for window in source.asked[windows:] if window in source.asked[: windows - 1]]
    assert len(again) <= 1, "only the newest window overlaps"


def _kill():
    raise Killed


def test_bad_rows_stop_the_ingest_and_keep_the_store(store):
    source = Source(end=END - DAY)
    run(source, store, now=source.end)
    before = store.fingerprint("GC=F")
    source.end = END
    source.bars = lambda *_: pl.DataFrame({"timestamp": ["yesterday"]})
    with pytest.raises(DataError):
        run(source, store)
    assert store.fingerprint("GC=F") == before


def test_a_source_older_than_the_start_says_so(store):
    with pytest.raises(SourceError, match="newest bar"):
        run(Source(), store, start=END + DAY, now=END + 30 * DAY)


def test_progress_that_is_damaged_names_its_file(store):
    run(Source(), store)
    path = store.folder("GC=F", "1m") / "progress.json"
    path.write_text(path.read_text().replace("2025-01", "2025-02"))
    with pytest.raises(DataError, match=r"progress\.json.*damaged.*asked for again"):
        run(Source(), store)


@pytest.mark.parametrize("wrong", [{"retry": None}, {"holes": [1]}, {"retry": [["x", "y"]]}, {"reached": "2025-01-01T00:00:00"}])
def test_progress_of_another_kind_names_its_file(store, wrong):
    run(Source(), store)
    path = store.folder("GC=F", "1m") / "progress.json"
    write_state(path, {**json.loads(path.read_text()), **wrong})
    with pytest.raises(DataError, match=r"progress\.json.*damaged.*asked for again"):
        run(Source(), store)


def test_an_overlap_on_another_scale_stops_the_ingest(store):
    source = Source(end=END - DAY)
    run(source, store, now=source.end)
    before, source.end = store.fingerprint("GC=F"), END
    told = source.bars
    source.bars = lambda *span: told(*span).with_columns(pl.col("open", "high", "low", "close") / 4)
    with pytest.raises(DataError, match=r"times 0\.25: a split or adjustment"):
        run(source, store)
    assert store.fingerprint("GC=F") == before


MINUTE = timedelta(minutes=1)
MONDAY = datetime(2025, 4, 14, tzinfo=UTC)


@dataclass
class Minutes(Source):
    """Three days of minutes; those of `missing` are not told."""

    begin: datetime = MONDAY
    end: datetime = MONDAY + 3 * DAY
    step: timedelta = MINUTE
    missing: tuple[tuple[datetime, datetime], ...] = ()

    def bars(self, interval="1m", start=None, end=None):
        told = super().bars(interval, start, end)
        gone = [pl.col("timestamp").is_between(*span, closed="left") for span in self.missing]
        return told.filter(~pl.any_horizontal(*gone, pl.lit(False)))


@pytest.fixture
def fill(unfilled, monkeypatch):  # noqa: ARG001 - undoes it
    monkeypatch.setattr(module, "HOLES_AT_ONCE", 10)


def take(source, store, day=0, hour=0):
    return run(source, store, start=MONDAY, now=source.end + day * DAY + timedelta(hours=hour))


NIGHT = (MONDAY + timedelta(hours=3), MONDAY + timedelta(hours=5))
NOON = (MONDAY + DAY + timedelta(hours=12), MONDAY + DAY + timedelta(hours=12, minutes=30))


@pytest.mark.usefixtures("fill")
def test_a_hole_is_asked_for_again_once_a_day_until_it_is_filled(store):
    source = Minutes(missing=(NIGHT, NOON))
    assert take(source, store).notes["intervals"]["1m"]["holes"] == 2
    source.asked.clear()
    take(source, store, hour=1)
    assert source.asked == [], "asked on this day"
    take(source, store, day=1)
    assert [span for _, *span in source.asked] == [list(NOON), list(NIGHT)]
    source.missing = (NIGHT,)
    ledger = take(source, store, day=2)
    assert (ledger.rows_out, ledger.notes["changed"]) == (30, ["1m: 30 bars are new inside it"])
    assert store.read("GC=F", "1m").equals(source.bars())
    source.asked.clear()
    take(source, store, day=3)
    assert [span for _, *span in source.asked] == [list(NIGHT)]
    source.asked.clear()
    take(source, store, day=40)
    assert source.asked == [], "no provider has minutes of a month ago"


@pytest.mark.usefixtures("fill")
def test_a_hole_that_cannot_be_filled_is_no_failure(store):
    source = Minutes(missing=(NIGHT, NOON))
    source.fail = lambda start, _: start in (NIGHT[0], NOON[0])
    ledger = take(source, store)
    assert ledger.notes["partial"] is False
    assert ledger.notes["intervals"]["1m"]["holes"] == 1, "the line may be dead"
    assert take(source, store, hour=1).notes["intervals"]["1m"]["holes"] == 1, "then the next one"


@pytest.mark.usefixtures("fill")
def test_no_more_than_ten_holes_at_once(store):
    spans = tuple((MONDAY + hour * timedelta(hours=2), MONDAY + hour * timedelta(hours=2) + 30 * MINUTE) for hour in range(1, 25))
    source = Minutes(missing=spans)
    assert [take(source, store, hour=hour).notes["intervals"]["1m"]["holes"] for hour in range(4)] == [10, 10, 4, 0]


def test_an_unfinished_minute_gives_way_to_its_final_form(store):
    source = Minutes(end=MONDAY + DAY)
    told, last = source.bars, MONDAY + DAY - MINUTE
    half = pl.when(pl.col("timestamp") == last).then(pl.col("volume") / 2).otherwise("volume")
    source.bars = lambda *span: told(*span).with_columns(volume=half)
    take(source, store)
    source.end, source.bars = MONDAY + DAY + 5 * MINUTE, told
    assert take(source, store).notes["revised"] == 1
    assert store.read("GC=F", "1m").equals(told())


def corrected(bars):
    return bars.with_columns(close=pl.when(pl.int_range(pl.len()) == 100).then(pl.col("close") + 1).otherwise("close"))


def rezoned(bars):
    return bars.with_columns(pl.col("timestamp") - timedelta(hours=5))


EDITS = {
    "corrected prices": corrected,
    "a corrected zone": rezoned,
    "rows taken out": lambda bars: bars.filter(pl.int_range(pl.len()) % 7 != 3),
    "an end taken off": lambda bars: bars.head(3_000),
    "a split": lambda bars: bars.with_columns(pl.col("open", "high", "low", "close") / 4, pl.col("volume") * 4),
    "another volume": lambda bars: bars.with_columns(pl.col("volume") + 1),
    "nothing": lambda bars: bars,
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_whatever_is_done_to_a_file_the_store_becomes_like_it_and_says_so(store, edit):
    source = Minutes(whole=True, missing=(NOON,))
    first = source.bars()
    source.bars = lambda _, start, end: first.filter(pl.col("timestamp").is_between(start, end - MINUTE))
    run(source, store, start=MONDAY - DAY, now=END)
    then, now = store.look(), edit(first)
    source.bars = lambda _, start, end: now.filter(pl.col("timestamp").is_between(start, end - MINUTE))
    ledger = run(source, store, start=MONDAY - DAY, now=END)
    assert store.read("GC=F", "1m").equals(now)
    assert store.read("GC=F", "1m", seen_by=then).equals(first)
    assert bool(ledger.notes["changed"]) == (not now.equals(first))
    assert run(source, store, start=MONDAY - DAY, now=END).rows_out == 0


def test_what_a_file_adds_is_told_apart(store, caplog):
    source = Minutes(whole=True, missing=((MONDAY, MONDAY + DAY), NOON))
    take(source, store)
    source.missing, source.end = (), source.end + DAY
    ledger = take(source, store)
    assert "GC=F bars changed since they were stored: 1m: 1,440 bars are new" in caplog.text
    assert ledger.rows_out == 1_440 + 30 + 1_440
    assert ledger.notes["changed"] == [
        "1m: 1,440 bars are new before the stored history; 30 bars are new inside it; 1,440 bars are new after it"
    ]
    assert store.read("GC=F", "1m").equals(source.bars())


@pytest.mark.parametrize("whole", [True, False])
def test_only_a_file_takes_the_interval_away_that_it_no_longer_tells(store, whole):
    """Files declared as of 5 minutes left the 1-minute bars of their first reading in use beside them."""
    take(Minutes(whole=whole), store)
    then, minutes = store.look(), store.read("GC=F", "1m")
    source = Minutes(whole=whole, native=("5m",), step=5 * MINUTE)
    ledger = take(source, store)
    assert store.intervals("GC=F") == (("5m",) if whole else ("1m", "5m"))
    assert store.read("GC=F", "1m").equals(minutes.clear() if whole else minutes)
    assert (store.intervals("GC=F", then), ledger.notes["withdrawn"]) == (("1m",), minutes.height if whole else 0)
    assert store.read("GC=F", "1m", seen_by=then).equals(minutes)
    assert any("the source tells 5m now" in told for told in ledger.notes["changed"]) == whole
    assert take(source, store).rows_out == 0


def test_a_file_seen_from_a_pinned_past_takes_nothing_of_later_away(store):
    source = Minutes(whole=True)
    take(source, store)
    run(source, store, start=MONDAY, now=MONDAY + DAY)
    assert store.read("GC=F", "1m").equals(source.bars())


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 100), st.integers(1, 100), st.integers(0, 6)), min_size=1, max_size=6))
def test_whatever_the_order_of_runs_the_store_holds_what_was_asked(tmp_path_factory, runs):
    """Runs with any start, growing `now`, and a line that dies after some windows; a last good run completes all."""
    store, source, now = RawStore(tmp_path_factory.mktemp("raw")), Source(), BEGIN + DAY
    starts = []
    for begin, passed, patience in runs:
        now = min(now + passed * DAY, END)
        source.end, source.asked = now, []
        source.fail = lambda *_, patience=patience: len(source.asked) > patience
        starts.append(min(BEGIN + begin * DAY, now - DAY))
        try:
            run(source, store, start=starts[-1], now=now)
        except SourceError:
            assert store.intervals("GC=F") == ()
    source.fail, source.end = None, END
    run(source, store, start=min(starts))
    assert store.read("GC=F", "1m").equals(source.bars(start=min(starts)))


@pytest.mark.parametrize(("share", "limit", "stored"), [(3, 0.01, False), (3, 0.5, True), (400, 0.01, True)])
def test_a_source_that_tells_bars_twice_with_other_prices_is_refused_before_anything_is_stored(store, share, limit, stored):
    class Mixed(Source):
        def bars(self, interval="1m", start=None, end=None):
            bars = super().bars(interval, start, end)
            return pl.concat([bars, bars.gather_every(share).with_columns(pl.col("close") + 1)])

    instrument = Instrument(calendar="24/7", limits={"conflicting": limit})
    if stored:
        run(Mixed(), store, instrument=instrument)
        assert store.intervals("GC=F") == ("1m",)
        return
    with pytest.raises(DataError, match=r"GC=F: 1m bars from scripted.*dropped as conflicting.*`limits\.conflicting` of GC=F"):
        run(Mixed(), store, instrument=instrument)
    assert store.intervals("GC=F") == ()


def test_when_a_source_last_answered_up_to_now_is_on_record(store):
    """A dead line moves it no further, nor does an older clock; its reason is a note."""
    source = Source()
    ingest(source, store, "X", ALWAYS, start=BEGIN, now=END)
    assert store.asked("X") == END
    source.fail, source.end = (lambda *_: True), END + DAY
    ledger = ingest(source, store, "X", ALWAYS, start=BEGIN, now=END + DAY)
    assert store.asked("X") == END
    assert "a dead line" in ledger.notes["down"]
    source.fail = None
    ingest(source, store, "X", ALWAYS, start=BEGIN, now=END + DAY)
    store.note_asked("X", END)
    assert store.asked("X") == END + DAY
