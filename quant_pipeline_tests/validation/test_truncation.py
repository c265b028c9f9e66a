"""The worlds of the fold-truncation audit, on tables small enough to read; `inference/test_fit_audit.py` has its power."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import hypothesis.strategies as st
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings

from quant_pipeline.config.experiment import LabelSettings
from quant_pipeline.config.universe import Costs
from quant_pipeline.errors import DataError
from quant_pipeline.labels.triple_barrier import label_bars
from quant_pipeline.validation.truncation import (
    existence_audit,
    label_audit,
    not_yet_known,
    spoilt,
    trending,
    truncation_audit,
)

AT = datetime(2024, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def bars(seed: int, *, count: int = 240, tick: float = 0.1, every: int = 1) -> pl.DataFrame:
    """RUNG BARS of a walk on a coarse tick, so that ties and gaps through barriers are common; a tenth is missing."""
    random = np.random.default_rng(seed)
    close = 100 + tick * random.integers(-2, 3, count).cumsum()
    opened = np.r_[100, close[:-1]] + tick * random.integers(-1, 2, count)
    high = np.maximum(opened, close) + tick * random.integers(0, 3, count)
    low = np.minimum(opened, close) - tick * random.integers(0, 3, count)
    stamps = pl.datetime_range(AT, AT + (count - 1) * every * MINUTE, every * MINUTE, time_unit="us", eager=True)
    frame = pl.DataFrame({"timestamp": stamps, "open": opened, "high": high, "low": low, "close": close})
    frame = frame.with_columns(known_at=pl.col("timestamp") + every * MINUTE)
    return frame.filter(pl.Series(random.random(count) >= 0.1) | (pl.int_range(count) == 0))


def fives(path: pl.DataFrame) -> pl.DataFrame:
    wide = path.group_by_dynamic("timestamp", every="5m").agg(
        pl.col("open").first(), pl.col("high").max(), pl.col("low").min(), pl.col("close").last()
    )
    return wide.with_columns(known_at=pl.col("timestamp") + 5 * MINUTE)


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), side=st.sampled_from(["long", "two_sided"]), fee=st.sampled_from([0, 1, 20]))
def test_every_label_is_decided_by_the_path_up_to_its_end_and_by_no_shorter_one(seed, side, fee):
    path = bars(seed)
    rules = LabelSettings(tp_atr=1, sl_atr=1, atr_period=3, max_bars=4, side=side)
    labels = label_bars(fives(path), path, rules, Costs(fee_bps=fee))[0]
    every = np.arange(labels.height)
    assert label_audit(labels, path, rules, every).to_dicts() == []
    early = labels.with_columns(pl.max_horizontal("entry_at", pl.col("label_end") - MINUTE).alias("label_end"))
    told = label_audit(early, path, rules, every)
    assert set(told["fault"]) == {"is not decided by label_end"}
    assert told["first_at"].n_unique() > 0.9 * labels.height  # a missing last minute leaves a few decided a minute before


def test_which_rows_exist_is_compared_across_futures():
    path = bars(3)
    primary, rules = fives(path), LabelSettings(tp_atr=1, sl_atr=1, atr_period=3, max_bars=4)
    places = np.array([18, 25, 31])

    def decisions(primary, path):
        return label_bars(primary, path, rules, Costs(fee_bps=1))[0]["decision_at"]

    def moving(primary, path):
        made = label_bars(primary, path, rules, Costs(fee_bps=1))[0]
        return made.filter(pl.col("forward_return").abs() > 1e-4)["decision_at"]

    assert existence_audit(decisions, primary, path, places, before=8, after=9).is_empty()
    assert existence_audit(moving, primary, path, places, before=8, after=9).height == len(places)


def table() -> pl.DataFrame:
    hours = pl.datetime_range(AT, AT + 5 * timedelta(hours=1), "1h", time_unit="us", eager=True)
    return pl.DataFrame({
        "decision_at": hours, "label_end": hours.dt.offset_by("1h"), "horizon_end": hours.dt.offset_by("3h"),
        "label": pl.Series([1, 0, -1, 1, 0, -1], dtype=pl.Int8), "forward_return": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
        "name": list("abcdef"),
    })  # fmt: skip


def test_kept_rows_stay_to_the_bit_and_all_others_change():
    kept = np.array([True, True, False, False, True, False])
    told = spoilt(table(), kept, seed=1)
    assert told.filter(pl.Series(kept)).equals(table().filter(pl.Series(kept)))
    assert not set(told.filter(pl.Series(~kept))["forward_return"]) & set(table()["forward_return"])
    assert told["decision_at"].equals(table()["decision_at"])
    assert told.schema == table().schema


def test_each_column_of_a_label_is_spoilt_from_its_own_moment_on():
    told, honest = not_yet_known(table(), AT + timedelta(hours=3), seed=1), table()
    assert told["label"].ne(honest["label"]).to_list() == [False] * 3 + [True] * 3  # label_end at 4, 5 and 6 o'clock
    assert told["forward_return"].ne(honest["forward_return"]).to_list() == [False] + [True] * 5
    assert told["label_end"].eq(honest["horizon_end"]).to_list() == [False] * 3 + [True] * 3
    assert told["label"].is_in([-1, 0, 1]).all()


def test_the_trend_begins_where_it_is_told_to():
    path = bars(1)
    since = path["timestamp"][100]
    told = trending(path, since)
    assert told[:100].equals(path[:100])
    assert told.height == (path.height + 100) // 2
    assert (told["close"][101:] > path["close"][101 : told.height]).all()


def test_a_part_that_cannot_be_made_without_the_future_is_a_fault():
    def refuses():
        raise DataError("labels", found="none", wanted="one for each", mend="give more")

    (fault,) = truncation_audit({"model": "a"}, refuses, where="fold_00", at=AT).to_dicts()
    assert fault["fault"] == "cannot be made without later rows"
    assert "labels: found none" in fault["found"]


@pytest.mark.parametrize("again", [{"model": "b"}, {}, {"model": "a", "other": "c"}])
def test_another_byte_a_missing_and_an_extra_part_are_told(again):
    told = truncation_audit({"model": "a"}, lambda: again, where="fold_00", at=AT)
    assert told.height == 1
    assert told["where"][0] == ("fold_00: other" if "other" in again else "fold_00: model")
