from datetime import UTC, datetime, timedelta

import hypothesis.strategies as st
import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings

from quant_pipeline.bars.asof import asof_index, asof_join
from quant_pipeline.bars.moments import NEVER
from quant_pipeline.errors import DataError

EPOCH = datetime(2025, 1, 1, tzinfo=UTC)
SMALL = st.integers(-30, 30)  # few distinct moments, so that ties and exact ages are common


def ints(values) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def stamps(name: str, minutes: list[int | None]) -> pl.Series:
    moments = [None if m is None else EPOCH + timedelta(minutes=m) for m in minutes]
    return pl.Series(name, moments, dtype=pl.Datetime("us", "UTC"))


def oracle(at: list[int], known_at: list[int], max_age: int | None) -> list[int]:
    """Look at every row, every time."""
    found = []
    for moment in at:
        rows = [i for i, known in enumerate(known_at) if known <= moment]
        last = rows[-1] if rows else -1
        stale = last >= 0 and max_age is not None and moment - known_at[last] > max_age
        found.append(-1 if stale else last)
    return found


@settings(max_examples=300, deadline=None)
@given(
    at=st.lists(SMALL, max_size=40),
    known_at=st.lists(SMALL, max_size=40),
    max_age=st.none() | st.integers(0, 20),
    tidy=st.booleans(),
)
@example(at=[], known_at=[1], max_age=None, tidy=True)
@example(at=[1], known_at=[], max_age=0, tidy=True)
@example(at=[5, 5, 5], known_at=[5, 5, 5], max_age=0, tidy=True)
@example(at=[9, 3, 9, -9], known_at=[1, 2, 3], max_age=None, tidy=False)
def test_index_equals_brute_force(at, known_at, max_age, tidy):
    at, known_at = sorted(at) if tidy else at, sorted(known_at)
    found = asof_index(ints(at), ints(known_at), max_age)
    assert found.dtype == np.int64
    assert found.tolist() == oracle(at, known_at, max_age)


def test_long_gallops_equal_searchsorted():
    rng = np.random.default_rng(3)
    known_at = np.sort(rng.integers(0, 10_000, 5_000))
    for at in (np.arange(-10, 10_020, 700), np.sort(rng.integers(-5, 10_005, 5_000)), rng.integers(-5, 10_005, 5_000)):
        assert (asof_index(at, known_at) == np.searchsorted(known_at, at, side="right") - 1).all()


@pytest.mark.parametrize(("age", "wanted"), [(599, -1), (600, 0), (601, 0), (None, 0)])
def test_a_row_exactly_as_old_as_allowed_still_counts(age, wanted):
    assert asof_index(ints([1_600]), ints([1_000]), age).tolist() == [wanted]


def test_the_future_is_never_used_and_the_present_is():
    assert asof_index(ints([999, 1_000]), ints([1_000])).tolist() == [-1, 0]


@pytest.mark.parametrize("known_at", [[2, 1], [1, 3, 2], [NEVER], [NEVER, 1]])
def test_unsorted_or_null_known_at_is_refused(known_at):
    with pytest.raises(DataError, match=r"known_at: found row \d null or earlier"):
        asof_index(ints([5]), ints(known_at))


def test_a_negative_age_is_refused():
    with pytest.raises(DataError, match="max_age"):
        asof_index(ints([5]), ints([1]), -1)


def test_a_null_moment_of_use_finds_nothing():
    left = pl.DataFrame([stamps("decision_at", [None, 3])])
    right = pl.DataFrame([stamps("known_at", [1]), pl.Series("x", [7.0])])
    assert asof_join(left, right)["x"].to_list() == [None, 7.0]


def test_a_null_value_stays_null_rather_than_taking_an_older_one():
    left = pl.DataFrame([stamps("decision_at", [1, 2])])
    right = pl.DataFrame([stamps("known_at", [1, 2]), pl.Series("x", [7.0, None])])
    assert asof_join(left, right)["x"].to_list() == [7.0, None]


@settings(max_examples=100, deadline=None)
@given(
    at=st.lists(st.none() | SMALL, max_size=20),
    rows=st.lists(st.tuples(SMALL, st.none() | st.floats(-1, 1)), max_size=20),
    age=st.none() | st.integers(0, 20),
)
def test_join_equals_brute_force_and_keeps_the_left_rows(at, rows, age):
    rows = sorted(rows, key=lambda row: row[0])
    left = pl.DataFrame([stamps("used_at", at), pl.Series("id", range(len(at)), dtype=pl.Int64)])
    right = pl.DataFrame(
        [stamps("known_at", [row[0] for row in rows]), pl.Series("x", [row[1] for row in rows], dtype=pl.Float64)]
    )
    joined = asof_join(left, right, at="used_at", max_age=None if age is None else timedelta(minutes=age))
    assert joined.columns == ["used_at", "id", "x"]
    assert joined.select("used_at", "id").equals(left)
    wanted = [-1 if moment is None else oracle([moment], [row[0] for row in rows], age)[0] for moment in at]
    assert joined["x"].to_list() == [None if i < 0 else rows[i][1] for i in wanted]


def test_a_suffix_brings_known_at_along():
    left = pl.DataFrame([stamps("decision_at", [5]), stamps("timestamp", [0])])
    right = pl.DataFrame([stamps("known_at", [4]), stamps("timestamp", [3]), pl.Series("n", [1], dtype=pl.Int32)])
    joined = asof_join(left, right, suffix="_15m")
    assert joined.columns == ["decision_at", "timestamp", "known_at_15m", "timestamp_15m", "n_15m"]
    assert joined.schema["n_15m"] == pl.Int32
    with pytest.raises(DataError, match="timestamp on both sides"):
        asof_join(left, right)


def test_missing_columns_and_other_clocks_are_refused():
    left, right = pl.DataFrame([stamps("decision_at", [5])]), pl.DataFrame([stamps("known_at", [4])])
    with pytest.raises(DataError, match="also known_at"):
        asof_join(left, right.rename({"known_at": "timestamp"}))
    with pytest.raises(DataError, match="also decision_at"):
        asof_join(left.rename({"decision_at": "at"}), right)
    with pytest.raises(DataError, match=r"'decision_at'.*dtype"):
        asof_join(left.cast(pl.Datetime("us")), right)
