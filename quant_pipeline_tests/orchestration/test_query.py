from __future__ import annotations

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


def test_every_table_of_the_lake_is_a_view_and_raw_bars_are_not(house):
    assert set(tables(house)) == TABLES
    assert {name for (name,) in ask(house, "show tables")[1]} == TABLES


def test_every_view_says_whose_its_rows_are(house):
    for name in TABLES:
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
