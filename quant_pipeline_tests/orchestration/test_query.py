from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from quant_pipeline.errors import ConfigError, DataError
from quant_pipeline.orchestration.query import ask, tables

TABLES = {
    "backtest", "barriers", "bars_15m", "bars_1h", "bars_1m", "bundle", "channels_15m", "channels_1h", "drift_report",
    "feature_audit", "feature_dictionary", "features", "fit_audit", "labels", "oof_predictions", "sample_weights", "signals",
    "skill_alarm", "skill_report", "splits",
}  # fmt: skip
OF_FAULTS = {"feature_audit", "fit_audit", "skill_alarm"}
"""Without rows, for an honest training has none."""


@pytest.fixture(scope="module")
def house(trained_home):
    return trained_home.house()


def test_every_table_of_the_lake_is_a_view_and_so_are_raw_bars(house):
    assert set(tables(house)) == TABLES
    assert {name for (name,) in ask(house, "show tables")[1]} == TABLES | {"raw_1m"}


def test_every_view_says_whose_its_rows_are(house):
    for name in (*TABLES, "raw_1m"):
        columns, rows = ask(house, f"from {name} select distinct symbol")
        assert (columns, rows) == (["symbol"], [] if name in OF_FAULTS else [("BTC-USD",)]), name


def test_folds_are_a_column(house):
    _, rows = ask(house, "select distinct fold from oof_predictions order by 1")
    assert [fold for (fold,) in rows] == ["fold_00", "fold_01", "holdout"]


def test_views_hold_what_the_files_hold(house):
    import polars as pl

    lake = house.workplace.lake
    assert ask(house, "select count(*) from labels")[1] == [(pl.read_parquet(lake / "labels" / "BTC-USD.parquet").height,)]
    total = sum(pl.read_parquet(path).height for path in lake.glob("oof_predictions/*/BTC-USD.parquet"))
    assert ask(house, "select count(*) from oof_predictions")[1] == [(total,)]


def test_times_are_utc_and_joins_work(house):
    columns, rows = ask(
        house, "select min(l.decision_at) as first from labels l join features f using (symbol, decision_at) where l.label = 1"
    )
    assert columns == ["first"]
    assert rows[0][0].utcoffset().total_seconds() == 0


PRICES = """
select as_of, close, r.known_at, r.seen_at
from signals s asof join {bars} r on s.symbol = r.symbol and s.as_of >= r.known_at
"""


def test_a_signal_meets_the_price_of_its_moment_in_raw_bars_only(house):
    ((as_of, close, known_at, seen_at),) = ask(house, PRICES.format(bars="raw_1m"))[1]
    assert as_of - known_at < timedelta(minutes=5)
    assert known_at <= seen_at
    newest = house.store.read("BTC-USD", "1m", end=as_of)
    assert (known_at, close) == (newest["timestamp"][-1] + timedelta(minutes=1), newest["close"][-1])
    ((_, _, learned, _),) = ask(house, PRICES.replace("r.seen_at", "1").format(bars="bars_1m"))[1]
    assert as_of - learned > timedelta(days=2)


def test_raw_bars_are_as_they_were_last_told(bare_home):
    """A minute that was told again, one that was withdrawn, one that came back, and another interval."""
    store, house = bare_home.house().store, bare_home.house()
    start = datetime(2026, 10, 31, 23, 58, tzinfo=UTC)

    def tell(day: int, interval: str = "1m", **closes: float) -> None:
        times = [start + timedelta(minutes=int(name[1:])) for name in closes]
        values = {name: list(closes.values()) for name in ("open", "high", "low", "close", "volume")}
        now = datetime(2026, 11, day, tzinfo=UTC)
        store.append("GC=F", interval, pl.DataFrame({"timestamp": times, **values}), now, whole=(start, now))

    tell(2, m0=1.0, m1=2.0, m2=3.0, m3=4.0)
    tell(3, m0=1.0, m1=2.5, m3=4.0)
    tell(4, m0=1.0, m1=2.5, m2=3.5)
    tell(5, "5m", m2=9.0)
    _, rows = ask(house, "select symbol, timestamp, known_at, close, seen_at from raw_1m order by timestamp")
    told = [(symbol, (at - start).seconds // 60, close, seen.day) for symbol, at, _, close, seen in rows]
    assert told == [("GC=F", 0, 1.0, 2), ("GC=F", 1, 2.5, 3), ("GC=F", 2, 3.5, 4)]
    assert all(known - at == timedelta(minutes=1) for _, at, known, _, _ in rows)
    assert [row[3] for row in rows] == store.read("GC=F", "1m")["close"].to_list()
    assert ask(house, "select symbol, close, known_at - timestamp from raw_5m")[1] == [("GC=F", 9.0, timedelta(minutes=5))]
    store.withdraw("GC=F", "5m", datetime(2026, 11, 6, tzinfo=UTC))
    assert ask(house, "from raw_5m")[1] == []


def test_before_the_first_bars_there_is_no_table_of_them(home_of_nothing):
    with pytest.raises(ConfigError, match="raw_1m does not exist"):
        ask(home_of_nothing.house(), "from raw_1m")


def test_damaged_raw_bars_are_named_with_their_mend_and_the_others_answer(home):
    house = home.house()
    path = next(house.workplace.raw.glob("BTC-USD/1m/*.parquet"))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=f"delete the folder {path.parent} and ingest again"):
        ask(house, "select count(*) from raw_1m")
    assert ("raw_1m",) not in ask(house, "show tables")[1]
    assert ask(house, "select count(*) from splits")[1][0][0] > 0


def test_an_empty_lake_answers_too(home_of_nothing):
    assert ask(home_of_nothing.house(), "show tables") == (["name"], [])


def test_a_statement_without_an_answer_gives_none(house):
    assert ask(house, "create table t (x int)")[1] == []


@pytest.mark.parametrize(
    ("query", "told"), [("selekt 1", "selekt"), ("select * from signls", "signals"), ("select nix from labels", "nix")]
)
def test_sql_that_duckdb_refuses_is_told_in_our_words(house, query, told):
    with pytest.raises(ConfigError, match="show tables") as caught:
        ask(house, query)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("name", "file", "mend"),
    [
        ("labels", "labels/BTC-USD.parquet", "quant materialize 'labels/BTC-USD'"),
        ("bars_1h", "bars/1h/BTC-USD.parquet", "quant materialize 'bars/1h/BTC-USD'"),
        ("oof_predictions", "oof_predictions/fold_01/BTC-USD.parquet", "quant materialize 'oof_predictions/BTC-USD/fold_01'"),
        ("signals", "signals/BTC-USD.parquet", "quant predict 'BTC-USD'"),
    ],
)
@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_table_is_named_with_its_mend_and_the_others_answer(home, name, file, mend, damage):
    house = home.house()
    path = house.workplace.lake / file
    content = path.read_bytes()
    flipped = content[:40] + bytes([content[40] ^ 4]) + content[41:]
    path.write_bytes({"flip": flipped, "cut": content[:-200], "empty": b""}[damage])
    with pytest.raises(DataError, match=mend) as told:
        ask(house, f"select count(*) from {name}")  # noqa: S608
    assert str(path) in str(told.value)
    assert (name,) not in ask(house, "show tables")[1]
    assert ask(house, "select count(*) from splits")[1][0][0] > 0
